"""The optional engines, where they are installed, with real workers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from toy_tasks import Batch, Number, product, results, square, threads_in_use

from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore


def payloads(store):
    handle = store.put(np.random.default_rng(1).normal(size=(64, 64)))
    return [Batch(at, at + 8, handle) for at in range(0, 64, 8)]


def assert_same_as_serial(runner):
    batches = payloads(runner.store)
    found = results(runner, product, batches, tasks_per_message=2)
    expected = results(PhaseRunner(runner.store), product, batches)
    for one, other in zip(found, expected, strict=True):
        assert one.values.tobytes() == other.values.tobytes()


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as made:
        yield made


def test_dask_client_is_used_and_left_open(cluster, store):
    from distributed import Client

    with Client(cluster) as client:
        runner = PhaseRunner(store, client)
        assert runner.executor.n_workers == 2
        assert_same_as_serial(runner)
        runner.close(kill=True)
        assert client.submit(abs, -1).result() == 1


def test_dask_scheduler_address(cluster, store):
    with PhaseRunner(store, cluster.scheduler_address) as runner:
        assert runner.executor.owned
        assert_same_as_serial(runner)
        for counts in results(runner, threads_in_use, range(4), tasks_per_message=1):
            assert set(counts.values()) == {1}


def test_dask_by_name_makes_and_ends_a_cluster(tmp_path):
    pytest.importorskip("distributed")
    with PhaseRunner(ArrayStore(tmp_path), "dask", n_procs=2) as runner:
        assert runner.executor.n_workers == 2
        assert_same_as_serial(runner)
        assert results(runner, square, [Number(3)]) == [9]


MPI_SCRIPT = """
import sys
from test_clusters import assert_same_as_serial
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore

if __name__ == "__main__":
    with PhaseRunner(ArrayStore(sys.argv[1]), "mpi") as runner:
        assert runner.executor.n_workers == 2, runner.executor.n_workers
        assert_same_as_serial(runner)
    print("same")
"""


def test_mpi_ranks(tmp_path):
    pytest.importorskip("mpi4py")
    mpiexec = shutil.which("mpiexec")
    if mpiexec is None:
        pytest.skip("no mpiexec on the path")
    script = tmp_path / "script.py"
    script.write_text(MPI_SCRIPT)
    path = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [
            *(mpiexec, "-n", "3", sys.executable, "-m", "mpi4py.futures"),
            *(str(script), str(tmp_path / "scratch")),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "same" in done.stdout
