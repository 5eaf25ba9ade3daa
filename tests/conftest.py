"""Fixtures shared by all tests, and the one place that knows where reference data lies.

``DOTPE_EXEC_REFERENCE_DATA`` names a folder with ``golden/hlv`` (see its README) and
``strain``; by default the folder ``shared`` beside the checkout. Tests that need it are
skipped, with the reason, where it is missing.
"""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import filelock
import pytest
from bench_scripts import FOLDERS
from rough_skymaps import roughen

from dotpe_exec.machine import usable_cores

REFERENCE_DATA = Path(
    os.environ.get(
        "DOTPE_EXEC_REFERENCE_DATA", Path(__file__).resolve().parents[2] / "shared"
    )
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker whole folders, and what is left to who ends first.

    So that fixtures of modules and of the session are made by few workers.
    """
    from xdist.scheduler import WorkStealingScheduling

    if config.getoption("dist") != "load":  # somebody asked for another
        return None
    return WorkStealingScheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return half as many again as there are cores: tests of processes mostly wait."""
    return max(3 * usable_cores() // 2, 1)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of the golden three-detector case."""
    folder = REFERENCE_DATA / "golden" / "hlv"
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder} (set DOTPE_EXEC_REFERENCE_DATA)")
    return folder


@pytest.fixture(scope="session")
def strain() -> Path:
    """The folder of public LIGO strain around GW150914."""
    folder = REFERENCE_DATA / "strain"
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder} (set DOTPE_EXEC_REFERENCE_DATA)")
    return folder


@pytest.fixture(scope="module")
def bench() -> Iterator[Callable[[str], ModuleType]]:
    """Import modules of the benchmarks by name, and forget them afterwards."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        for folder in FOLDERS:
            patch.syspath_prepend(str(folder))
        yield importlib.import_module
    for name in set(sys.modules) - before:
        if any((folder / f"{name}.py").exists() for folder in FOLDERS):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """The command line, called in this process, sets up logging: undo it."""
    logger, root = logging.getLogger("dotpe_exec"), logging.getLogger()
    level, handlers = logger.level, list(root.handlers)
    yield
    logger.setLevel(level)
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
    logging.captureWarnings(False)


@pytest.fixture
def rough_skymaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make sky maps in a fraction of the time."""
    roughen(monkeypatch)


def _limit_threads_of_this_process() -> None:
    """Load BLAS so that it uses one thread here; processes that tests start decide anew.

    Beside the other processes of xdist, more threads only wait for each other, which
    doubles the time that some tests take. Tests that need more set their number.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("OPENBLAS_NUM_THREADS", "1")
        for module in ("numpy", "scipy.linalg"):
            importlib.import_module(module)


if "PYTEST_XDIST_WORKER" in os.environ:
    _limit_threads_of_this_process()

MakeOnce = Callable[[str, Callable[[Path], Any]], Path]


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> MakeOnce:
    """Make a folder of a name by a function of its path, once for all processes of xdist.

    Nobody may change what is in it.
    """
    root = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        root = root.parent

    def made(name: str, make: Callable[[Path], Any]) -> Path:
        place = root / "made_once" / name
        place.mkdir(parents=True, exist_ok=True)
        folder, done = place / name, place / "done"
        with filelock.FileLock(place / "lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # somebody failed at it
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def finished(golden: Path, make_once: MakeOnce) -> Path:
    """The run directory of a finished run of the reference case, not to be changed."""
    from golden_runs import arguments_of_run

    from dotpe_exec import run

    return make_once(
        "golden", lambda folder: run(**arguments_of_run(golden, rundir=folder))
    )
