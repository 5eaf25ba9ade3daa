"""What is compiled, when, and where the compiled code is kept."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core.registry import CPUDispatcher

import dotpe_exec.kernels
from dotpe_exec.banks.config import read_config
from dotpe_exec.kernels.coherent_norms import phase_orders
from dotpe_exec.kernels.distance import DistanceTable, sample_distance

# Begins scripts that run in interpreters of their own: tells what is compiled there.
LISTEN = """
import functools, json, os, pathlib, sys
import numpy as np
from numba.core import event

class Compiled(event.Listener):
    def __init__(self):
        self.names = []

    def on_start(self, item):
        self.names.append(item.data["dispatcher"].py_func.__qualname__)

    def on_end(self, item):
        pass

compiled = Compiled()
event.register("numba:compile", compiled)
"""

COMPILE_THE_SCREENING = """
from dotpe_exec.kernels import coherent, coherent_screen
row = np.ones((1, 2 * coherent.TILE), np.float32)
errors = [np.zeros(coherent.TILE, np.float32)] * 2
phases, marks = np.ones((2, 2, 5), np.float32), np.ones((1, coherent.TILE), bool)
coherent._store(
    np.ones((1, 2), complex), 0, 0, np.array([0, -1]), np.zeros(2, int),
    np.ones((2, 1, 1, 16)), np.zeros((1, 1, 1, 2, 2)),
)
coherent_screen._interpolate(
    np.ones((2, 4, len(row[0])), np.float32), np.zeros((1, 1), np.int32),
    np.ones((1, 1, 8), np.float32), row,
)
coherent_screen._reach(row, row, *errors, np.float32(1), (0,), (), marks)
coherent_screen._reach_at_phases(
    row, row, *errors, *phases, np.float32(1), (0,), (), marks
)
print(json.dumps(compiled.names))
"""

RUN_WITH_TWO_WORKERS = """
def counted(function, folder, payload):
    # Pickled by value: the listener is the worker's own, made with its first task.
    from numba.core import event

    if not hasattr(event, "compiled_here"):
        class Compiled(event.Listener):
            names = []
            def on_start(self, item):
                self.names.append(item.data["dispatcher"].py_func.__qualname__)
            def on_end(self, item):
                pass
        event.compiled_here = Compiled()
        event.register("numba:compile", event.compiled_here)
    result = function(payload)
    path = pathlib.Path(folder, f"worker_{os.getpid()}.json")
    path.write_text(json.dumps(event.compiled_here.names))
    return result

def main(golden, folder):
    from dotpe_exec import run_multicore
    from dotpe_exec.executors.phases import PhaseRunner

    plain_map = PhaseRunner.map

    def counting_map(self, phase, function, *arguments, **options):
        counting = functools.partial(counted, function, str(folder))
        return plain_map(self, phase, counting, *arguments, **options)

    PhaseRunner.map = counting_map
    run_multicore(
        golden / "event.npz", [golden / "bank_0", golden / "bank_1"],
        n_ext=96, n_phi=16, n_t=64, blocksize=128, single_detector_blocksize=128,
        seed=42, mchirp_guess=25.0, par_dic_0=golden / "reference/par_dic_0.json",
        rundir=folder / "run", progress=False, executor="loky", n_procs=2,
    )
    (folder / "parent.json").write_text(json.dumps(compiled.names))

main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
"""


def run_script(script: str, *arguments: object, **environment: object) -> str:
    """Run a script in an interpreter of its own and return what it prints."""
    inherited = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    changed = {name: str(value) for name, value in environment.items()}
    done = subprocess.run(
        [sys.executable, "-c", LISTEN + script, *map(str, arguments)],
        env={**inherited, "OMP_NUM_THREADS": "1", **changed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


IMPORT_FROM_ELSEWHERE = """
sys.path.insert(0, sys.argv[1])
from dotpe_exec.kernels import trigonometry
assert pathlib.Path(trigonometry.__file__).is_relative_to(sys.argv[1])
assert trigonometry.cos_sin(0.0) == (1.0, 0.0)
print(json.dumps(compiled.names))
"""


def kernel_dispatchers() -> dict[str, CPUDispatcher]:
    found = {}
    for item in pkgutil.iter_modules(dotpe_exec.kernels.__path__):
        module = importlib.import_module(f"dotpe_exec.kernels.{item.name}")
        for name, value in vars(module).items():
            if isinstance(value, CPUDispatcher) and value.__module__ == module.__name__:
                found[f"{item.name}.{name}"] = value
    return found


def test_compiled_code_is_kept_on_disk():
    dispatchers = kernel_dispatchers()
    assert len(dispatchers) > 20
    for name, dispatcher in dispatchers.items():
        inlined = dispatcher.targetoptions.get("inline") == "always"
        kept = type(dispatcher._cache).__name__ == "_KernelCache"
        assert kept or inlined, f"{name} is compiled anew in every process"


def test_constants_do_not_make_variants_of_compiled_functions():
    from dotpe_exec.kernels import distance

    table = DistanceTable(np.zeros(8), np.zeros(8), np.zeros((4, 4)), 1e4)
    sample_distance([5.0, 50.0], [4.0, 36.0], [0.3, 0.7], table)
    for function in (distance._simpson, distance._invert):
        assert len(function.signatures) <= 1


def test_compiled_code_assigns_no_array_to_a_slice(tmp_path):
    # That compiles numba's formatting of an error message: seconds for each function.
    names = json.loads(run_script(COMPILE_THE_SCREENING, NUMBA_CACHE_DIR=tmp_path))
    assert "_reach_at_phases" in names
    assert not [name for name in names if "shape_context" in name]


def test_installation_that_cannot_be_written_keeps_compiled_code_with_the_user(tmp_path):
    package = tmp_path / "installed" / "dotpe_exec"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(dotpe_exec.__path__[0], package, ignore=ignore)
    # A file in the folder's place, which stops even the superuser.
    (package / "kernels" / "__pycache__").write_text("")
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": home, "XDG_CACHE_HOME": home / "cache", "LOCALAPPDATA": home}
    for expected in (["cos_sin"], []):  # the second time it is there
        names = run_script(IMPORT_FROM_ELSEWHERE, package.parent, **environment)
        assert json.loads(names) == expected
    assert list(home.rglob("trigonometry.cos_sin-*.nbi"))


COMPILE_AHEAD = """
from dotpe_exec.kernels.compile_ahead import compile_share
compile_share({n_modes}, {n_orders}, waveforms=True)
print(json.dumps(compiled.names))
"""

MAKE_WAVEFORMS = """
from dotpe_exec.banks.config import approximant_modes
from dotpe_exec.banks.prior import Proposal
from dotpe_exec.waveforms import ModeGenerator, generate_waveform_set
generator = ModeGenerator(
    "IMRPhenomXPHM", tuple(approximant_modes("IMRPhenomXPHM", "test")), 50.0,
    np.geomspace(20.0, 900.0, 24), "fast",
)
rows = Proposal((5.0, 60.0), 0.05, -1.7).draw(20, np.random.default_rng(0))
assert "fast" in generate_waveform_set(generator, rows).ways_i
print(json.dumps([n for n in compiled.names if "<lambda>" not in n]))
"""


@pytest.mark.slow
def test_all_that_a_run_needs_is_compiled_ahead(golden, tmp_path):
    cache = {"NUMBA_CACHE_DIR": tmp_path / "cache"}
    m_arr = read_config(golden / "bank_0/bank_config.json").m_arr
    script = COMPILE_AHEAD.format(n_modes=len(m_arr), n_orders=len(phase_orders(m_arr)))
    ahead = json.loads(run_script(script, **cache))
    # Once: neither read-only nor memory-mapped arrays are another type.
    assert ahead.count("decide") == ahead.count("_reach_at_phases") == 1
    run_script(RUN_WITH_TWO_WORKERS, golden, tmp_path, **cache)
    ours = {name.rpartition(".")[2] for name in kernel_dispatchers()}
    processes = [*tmp_path.glob("worker_*.json"), tmp_path / "parent.json"]
    assert len(processes) > 1
    for path in processes:
        missing = ours & set(json.loads(path.read_text()))
        assert not missing, "add a line for each to kernels/compile_ahead.py"
    assert not ours & set(json.loads(run_script(MAKE_WAVEFORMS, **cache)))


LOAD_WHAT_IS_KEPT = """
from dotpe_exec.kernels import compile_ahead, incoherent_maximum, interpolation
compile_ahead.load_kept(2, 2)
ours = interpolation.interpolate_modes, incoherent_maximum.decide
loaded = [len(each.overloads) for each in ours]
assert not compiled.names
(types,) = [
    types for name, types in compile_ahead.signatures(compile_ahead.INCOHERENT, 2, 2)
    if name == "interpolation.interpolate_modes"
]
interpolation.interpolate_modes.compile(types)
other = types[1:] + types[:1]
assert compile_ahead.is_kept(interpolation.interpolate_modes, types)
assert not compile_ahead.is_kept(interpolation.interpolate_modes, other)
print(json.dumps([loaded, "interpolate_modes" in compiled.names]))
"""


def test_compiled_code_on_disk_is_loaded_and_nothing_compiled_for_that(tmp_path):
    first = json.loads(run_script(LOAD_WHAT_IS_KEPT, NUMBA_CACHE_DIR=tmp_path))
    assert first == [[0, 0], True]  # compiled afterwards, by the script itself
    second = json.loads(run_script(LOAD_WHAT_IS_KEPT, NUMBA_CACHE_DIR=tmp_path))
    assert second == [[1, 0], False]


CALL_WHEN_TOLD = """
from dotpe_exec.kernels.trigonometry import cos_sin
print(cos_sin._cache._claim_path, flush=True)
sys.stdin.readline()
cos_sin(0.0)
print(json.dumps(compiled.names))
"""


def test_what_another_process_compiles_is_waited_for(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    with subprocess.Popen(
        [sys.executable, "-c", LISTEN + CALL_WHEN_TOLD],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        claim = Path(process.stdout.readline().strip())
        with claim.open("w") as file:  # as another process would
            fcntl.flock(file, fcntl.LOCK_EX)
            process.stdin.write("go\n")
            process.stdin.flush()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1.0)
            other = json.loads(run_script(ANOTHER_FUNCTION, NUMBA_CACHE_DIR=tmp_path))
            assert "cube_root" in other  # nobody waits for that one
        assert json.loads(process.stdout.readline()) == ["cos_sin"]
        assert process.wait(60) == 0
    assert not list(tmp_path.rglob("*.lock"))


ANOTHER_FUNCTION = """
from dotpe_exec.kernels.cube_roots import cube_root
cube_root(8.0)
print(json.dumps(compiled.names))
"""

CALL_WITH_A_WRONG_TYPE = """
from numba.core.errors import TypingError
from dotpe_exec.kernels.trigonometry import cos_sin
try:
    cos_sin("0")
except TypingError:
    print(json.dumps([str(p) for p in pathlib.Path(sys.argv[1]).rglob("*.lock")]))
"""


def test_function_that_cannot_be_compiled_keeps_nobody_waiting(tmp_path):
    found = run_script(CALL_WITH_A_WRONG_TYPE, tmp_path, NUMBA_CACHE_DIR=tmp_path)
    assert json.loads(found) == []


USE_A_KERNEL = """
from dotpe_exec.kernels.trigonometry import cos_sin
print(cos_sin(0.5))
print(json.dumps(compiled.names))
"""


def used_kernel(cache) -> tuple[str, list[str]]:
    result, names = run_script(USE_A_KERNEL, NUMBA_CACHE_DIR=cache).splitlines()
    return result, json.loads(names)


def flip(content: bytes, at: float) -> bytes:
    at = int(at * len(content))
    return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]


# The cut ones each let every later process fail; some flipped bits end it.
DAMAGES = {
    "emptied": lambda content: b"",
    "flipped early": lambda content: flip(content, 0.1),
    "truncated": lambda content: content[: len(content) // 2],
    "last byte lost": lambda content: content[:-1],
    "zeroed": lambda content: bytes(len(content)),
    "flipped late": lambda content: flip(content, 0.7),
    "flipped checksum": lambda content: flip(content, 0.9999),
}


def damage_and_use(cache, names):
    expected, compiled = used_kernel(cache)
    assert "cos_sin" in compiled
    files = {path: path.read_bytes() for path in cache.rglob("*.nb?")}
    for name in names:
        for path, content in files.items():
            path.write_bytes(DAMAGES[name](content))
        result, compiled = used_kernel(cache)
        assert result == expected, name
        assert "cos_sin" in compiled, name
    assert used_kernel(cache) == (expected, [])


def test_damaged_compiled_code_is_compiled_anew(tmp_path):
    damage_and_use(tmp_path, list(DAMAGES)[:2])


@pytest.mark.slow
def test_compiled_code_damaged_in_other_ways_is_compiled_anew(tmp_path):
    damage_and_use(tmp_path, list(DAMAGES)[2:])


def test_compiled_code_that_others_can_write_is_not_used(tmp_path):
    cache = tmp_path / "cache"
    used_kernel(cache)
    for folder in (cache, *(path for path in cache.iterdir() if path.is_dir())):
        folder.chmod(0o777)
    _, names = used_kernel(cache)
    assert names == [] or "cos_sin" in names  # beside the package, or nowhere
    assert not list(cache.rglob("*.tmp*"))


def test_installation_without_any_place_for_compiled_code_works(tmp_path):
    package = tmp_path / "installed" / "dotpe_exec"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(dotpe_exec.__path__[0], package, ignore=ignore)
    (package / "kernels" / "__pycache__").write_text("")
    nowhere = tmp_path / "home"
    nowhere.write_text("")  # a file in the folder's place stops even the superuser
    environment = {"HOME": nowhere, "XDG_CACHE_HOME": nowhere / "cache"}
    for _ in range(2):
        names = run_script(IMPORT_FROM_ELSEWHERE, package.parent, **environment)
        assert json.loads(names) == ["cos_sin"]


WITHOUT_A_HOME = """
import os, pwd
def nobody(*_):
    raise KeyError("no such user")
pwd.getpwuid = nobody
os.environ.pop("HOME", None)
os.environ.pop("XDG_CACHE_HOME", None)
sys.path.insert(0, sys.argv[1])
from dotpe_exec.kernels import trigonometry
from dotpe_exec.cache_folder import user_cache_folder
from dotpe_exec.config import get_shared_config_cache_path
trigonometry.cos_sin(0.0)
assert get_shared_config_cache_path().is_absolute()
assert user_cache_folder().is_absolute()
print(json.dumps(os.listdir()))
"""


def test_process_without_a_home_leaves_no_folder_named_tilde(tmp_path, monkeypatch):
    package = tmp_path / "installed" / "dotpe_exec"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(dotpe_exec.__path__[0], package, ignore=ignore)
    (package / "kernels" / "__pycache__").write_text("")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    found = run_script(WITHOUT_A_HOME, package.parent, TMPDIR=tmp_path)
    assert json.loads(found) == []
