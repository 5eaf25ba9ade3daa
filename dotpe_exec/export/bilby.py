"""Results as bilby reads them, ``bilby.result.read_in_result(filename)``."""

from __future__ import annotations

import json
import os
from pathlib import Path

from .._version import __version__
from ..atomic import atomic_write, check_writable
from ..loading import load_run
from ..validation import check_path
from .parameters import ln_evidence, run_parameters

_SAMPLED = (
    "chirp_mass", "mass_ratio", "a_1", "a_2", "tilt_1", "tilt_2", "phi_12", "phi_jl",
    "theta_jn", "luminosity_distance", "ra", "dec", "psi", "phase", "geocent_time",
)  # fmt: skip


def to_bilby(rundir: str | os.PathLike, output: str | os.PathLike) -> Path:
    """Write a run's samples and evidence as a bilby result.

    bilby itself is not needed. The likelihood of DOT-PE is relative to that of noise, so
    ``log_bayes_factor`` is the run's ln evidence; ``log_evidence`` is the same number, with
    ``log_noise_evidence`` of zero.

    Parameters
    ----------
    rundir : path
        Of a finished run.
    output : path
        The ``.json`` file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        ``output`` is empty.
    MissingFileError, RunDirectoryError
        The run is not finished, its samples lack parameters or its event is not kept, or
        the file cannot be written.
    """
    run = load_run(rundir)
    check_path("output", output)
    output = Path(output)
    check_writable(output)
    evidence, error = ln_evidence(run)
    posterior = run_parameters(run)
    content = {
        "label": output.name.removesuffix(".json").removesuffix("_result"),
        "outdir": str(output.parent),
        "sampler": "dotpe-exec",
        "log_evidence": evidence,
        "log_evidence_err": float("nan") if error is None else error,
        "log_noise_evidence": 0.0,
        "log_bayes_factor": evidence,
        "priors": None,
        "posterior": {
            "__dataframe__": True,
            "content": {name: column.tolist() for name, column in posterior.items()},
        },
        "injection_parameters": None,
        "meta_data": {
            "likelihood": {"waveform_approximant": run.approximant},
            "dotpe_exec": {"version": __version__, "summary": run.summary},
        },
        "search_parameter_keys": list(_SAMPLED),
        "fixed_parameter_keys": [],
        "constraint_parameter_keys": [],
        "sampling_time": (run.report or {}).get("seconds"),
        "sampler_kwargs": run.kwargs,
        "use_ratio": True,
    }
    with atomic_write(output) as temporary:
        Path(temporary).write_text(json.dumps(content), encoding="utf-8")
    return output
