"""What is compiled, when, and where the compiled code is kept."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import shutil
import subprocess
import sys

import numpy as np
import pytest
from numba.core.registry import CPUDispatcher

import dotpe_exec.kernels
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


@pytest.mark.slow
def test_workers_find_all_compiled_code_in_the_cache(golden, tmp_path):
    run_script(RUN_WITH_TWO_WORKERS, golden, tmp_path, NUMBA_CACHE_DIR=tmp_path / "cache")
    workers = list(tmp_path.glob("worker_*.json"))
    assert workers
    for path in workers:
        assert json.loads(path.read_text()) == []
    by_parent = json.loads((tmp_path / "parent.json").read_text())
    for name in ("decide", "_reach_at_phases", "_pair_values", "_marginalized_lnlike"):
        # Once: neither read-only nor memory-mapped arrays are another type.
        assert by_parent.count(name) == 1


USE_A_KERNEL = """
from dotpe_exec.kernels.distance import DistanceTable, sample_distance
table = DistanceTable(np.zeros(8), np.zeros(8), np.zeros((4, 4)), 1e4)
print(sample_distance([5.0, 50.0], [4.0, 36.0], [0.3, 0.7], table).tolist())
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
    assert "_sample_distance" in compiled
    files = {path: path.read_bytes() for path in cache.rglob("*.nb?")}
    for name in names:
        for path, content in files.items():
            path.write_bytes(DAMAGES[name](content))
        result, compiled = used_kernel(cache)
        assert result == expected, name
        assert "_sample_distance" in compiled, name
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
    assert names == [] or "_sample_distance" in names  # beside the package, or nowhere
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
