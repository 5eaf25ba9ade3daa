"""Cogwheel without what only its pictures, downloads and samplers import.

Each test in a process of its own: what it has imported is what is tested.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from golden_runs import arguments_of_run, as_flags

# Packages of which a run loads more than a few modules. Who adds one adds a start-up time.
OF_A_RUN = {
    "cffi", "charset_normalizer", "click", "cloudpickle", "cogwheel", "dateutil",
    "dotpe_exec", "llvmlite", "loky", "numba", "numpy", "pandas", "platformdirs", "psutil",
    "pyarrow", "pycparser", "pytz", "rich", "scipy", "yaml",
}  # fmt: skip

_LOADED = """
import collections, json, sys
counts = collections.Counter(name.partition(".")[0] for name in sys.modules)
counts = {n: k for n, k in counts.items() if n not in sys.stdlib_module_names and k > 4}
modules = {"scipy.signal", "scipy.stats", "IPython"} & sys.modules.keys()
print(json.dumps([sorted(counts), sorted(modules)]))
"""

# Takes the process's own settings of matplotlib for those of a user.
_USES = """
import sys
import matplotlib as mpl
mpl.use("agg")
mpl.rcParams["axes.grid"] = True
import numpy as np
{before}
from dotpe_exec.events import load_event
import dotpe_exec.cogwheel_bridge
event = load_event("GW150914")
late = ("gwpy", "astropy", "scipy.stats", "scipy.signal")
lazy = not any(name in sys.modules for name in late)
from cogwheel import cosmology, data, gw_prior, utils
from cogwheel.likelihood.marginalization import lookup_table
from cogwheel.gw_prior.extrinsic import comoving_to_luminosity_diff_vt_ratio
assert lookup_table.cosmology.z_of_d_luminosity(500.0) > 0.1
assert comoving_to_luminosity_diff_vt_ratio(500.0) == (
    cosmology.comoving_to_luminosity_diff_vt_ratio(500.0)
)
assert utils.get_ipython() is None
event.specgram()
assert data.gwpy.timeseries.TimeSeries.__name__ == "TimeSeries"
from cogwheel.likelihood import likelihood, reference_waveform_finder
from cogwheel.likelihood.marginalization import base, skydict
thresholds = [likelihood.stats.chi.isf(1 / n, 1) for n in (1, 10, 12345, 10**7)]
import scipy.stats, scipy.signal
assert thresholds == [scipy.stats.chi.isf(1 / n, 1) for n in (1, 10, 12345, 10**7)]
assert data.signal.windows.tukey(5, 0.1)[2] == 1
assert base.stats.cauchy.pdf(0.0) == scipy.stats.cauchy.pdf(0.0)
assert skydict.scipy.signal.convolve is scipy.signal.convolve
assert lookup_table.scipy.stats.loguniform is scipy.stats.loguniform
for module in (base.stats, skydict, reference_waveform_finder):
    assert module.qmc.Halton is scipy.stats.qmc.Halton
assert callable(data.gwosc.datasets.event_gps)
import matplotlib.pyplot as plt
fig, axes = plt.subplots()
print(lazy, mpl.rcParams["axes.grid"], type(axes).__module__)
"""


def in_own_process(code: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_a_run_imports_what_it_uses(golden: Path, tmp_path: Path):
    words = as_flags(arguments_of_run(golden, rundir=tmp_path / "run", executor="serial"))
    code = (
        "from dotpe_exec.cli import main\n"
        f"main({['run', *words]!r}, standalone_mode=False)\n{_LOADED}"
    )
    packages, modules = json.loads(in_own_process(code))
    assert modules == []
    loaded = set(packages)
    assert {"cogwheel", "numba", "pandas"} <= loaded  # what is counted is the run
    assert loaded - OF_A_RUN == set()


def test_what_can_wait_comes_when_it_is_used():
    # gwpy would have changed the type of all axes, and cogwheel reset all settings.
    assert in_own_process(_USES.format(before="")) == "True True matplotlib.axes._axes"


def test_cogwheel_that_was_loaded_before_stays_as_it_is():
    lazy, _, axes = in_own_process(_USES.format(before="import cogwheel.posterior")).split()
    assert (lazy, axes) == ("False", "matplotlib.axes._axes")
