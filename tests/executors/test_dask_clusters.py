"""Dask: clusters of ours and of the caller, workers that come, go and die."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import dask.config
import distributed
import numpy as np
import psutil
import pytest
from clusters import (
    DaskHosts,
    assert_same,
    assert_same_as_serial,
    each_result,
    payloads,
    python_path,
)
from distributed.comm.core import CommClosedError
from toy_tasks import Number, process_id, product, results, square
from waiting import wait_for_the_end_of, wait_until

from dotpe_exec.errors import ExecutorError
from dotpe_exec.executors import dask as dask_executor
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore


@pytest.fixture
def cluster():
    """A cluster whose workers are threads, which come and go at once."""
    # Profiling can stop this process for good, see `dask_local`.
    with (
        dask.config.set({"distributed.worker.profile.enabled": False}),
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as made,
    ):
        yield made


def test_client_is_used_and_left_open(cluster, store):
    with distributed.Client(cluster) as client:
        runner = PhaseRunner(store, client)
        assert_same_as_serial(runner)
        runner.close(kill=True)
        assert client.submit(abs, -1).result() == 1


def test_workers_of_a_local_cluster_are_not_profiled(tmp_path):
    def callbacks(dask_worker):
        return list(dask_worker.periodic_callbacks)

    with PhaseRunner(ArrayStore(tmp_path), "dask", n_procs=1) as runner:
        (found,) = runner.executor._client.run(callbacks).values()
    assert "heartbeat" in found and "profile" not in found


@pytest.mark.slow
def test_workers_that_join_are_used_and_those_that_leave_cost_nothing(cluster, store):
    with distributed.Client(cluster) as client, PhaseRunner(store, client) as runner:
        given = [Number(n, 0.05) for n in range(120)]
        found, in_flight = {}, set()
        for number, index, result in each_result(runner, square, given):
            found[index] = result
            in_flight.add(runner.executor.max_in_flight)
            if number == 5:
                cluster.scale(4)
            if number == 70:
                cluster.scale(1)
        assert [found[n] for n in range(120)] == [n**2 for n in range(120)]
        assert max(in_flight) == 8, "four workers were seen"
        assert in_flight >= {2, 8}


@pytest.mark.slow
def test_adaptive_cluster_grows_with_the_work_and_shrinks_after_it(cluster, store):
    cluster.adapt(minimum=1, maximum=3, interval="50ms", target_duration="20ms")
    with distributed.Client(cluster) as client, PhaseRunner(store, client) as runner:
        numbers = [Number(n, 0.05) for n in range(1000)]
        with contextlib.closing(each_result(runner, square, numbers)) as found:
            for _, index, result in found:
                assert result == index**2
                if runner.executor.n_workers == 3:
                    break
        assert runner.executor.n_workers == 3
        wait_until(lambda: len(client.nthreads()) == 1)
        assert_same_as_serial(runner)


# Without a guard: what starts the cluster must not run this script again.
SCRIPT = """
import os, sys
from clusters import each_result
from toy_tasks import Number, process_id, square, threads_in_use, results
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore

print("started", flush=True)
with PhaseRunner(ArrayStore(sys.argv[1]), "dask", n_procs=2) as runner:
    assert runner.executor.n_workers == 2
    (pid,) = results(runner, process_id, [0])
    for counts in results(runner, threads_in_use, [0, 1], tasks_per_message=1):
        assert set(counts.values()) == {1}
    found = {}
    for number, index, result in each_result(
        runner, lambda n: n.value**2, [Number(n) for n in range(30)]
    ):
        found[index] = result
        if number == 3:
            os.kill(pid, 9)
    assert found == {n: n**2 for n in range(30)}
print("ended", flush=True)
"""


def test_killed_worker_is_replaced_and_the_callers_script_runs_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "scratch")],
        env={**os.environ, "PYTHONPATH": python_path()},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["started", "ended"]


def test_ending_a_run_early_ends_every_process_of_its_cluster(tmp_path):
    with (
        contextlib.suppress(KeyboardInterrupt),
        PhaseRunner(ArrayStore(tmp_path), "dask", n_procs=1) as runner,
    ):
        for _, _, pid in each_result(runner, process_id, range(1)):
            worker = psutil.Process(pid)
            above = [worker, *worker.parents()]
            at = above.index(psutil.Process())
        raise KeyboardInterrupt
    assert at >= 2, "a worker, and the process that holds the cluster"
    wait_for_the_end_of([process.pid for process in above[:at]])


STRANGER = """
import json, os, socket, sys, urllib.request
from distributed import Client, Security

tls, listening = sys.argv[1], json.loads(sys.argv[2])
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
for address, security in [
    (tls.replace("tls://", "tcp://"), None),
    (tls, Security.temporary()),
]:
    try:
        Client(address, security=security, timeout=1)
    except OSError as error:
        print("refused", type(error).__name__)
    else:
        print("let in")
for port in listening:
    for page in ("", "info/main/workers.html", "json/counts.json", "metrics"):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}") as found:
                print("told", port, page, found.read(100))
        except OSError:
            pass
"""


def test_local_cluster_is_closed_to_everybody_else(tmp_path):
    """Also to other users of the same host, where the tests may become one."""
    with PhaseRunner(ArrayStore(tmp_path), "dask", n_procs=1) as runner:
        assert_same_as_serial(runner)
        local = runner.executor._local
        (above, *workers) = [
            child
            for child in psutil.Process().children(recursive=True)
            if any("dask_local" in word or "spawn_main" in word for word in child.cmdline())
        ]
        ports = [
            connection.laddr
            for process in (above, *workers)
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        ]
        assert ports and {port.ip for port in ports} == {"127.0.0.1"}
        assert Path(local._scratch).stat().st_mode & 0o077 == 0
        stranger = subprocess.run(
            [
                *(sys.executable, "-c", STRANGER, local.address),
                json.dumps([port.port for port in ports]),
            ],
            env={**os.environ, "PYTHONPATH": python_path()},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert stranger.returncode == 0, stranger.stderr
        said = stranger.stdout.split("\n")
        assert [line.split()[0] for line in said if line] == ["refused"] * 2, said
        assert_same_as_serial(runner)
    assert not Path(local._scratch).exists()


def test_no_scheduler_is_a_clear_error(monkeypatch, store):
    monkeypatch.setattr(dask_executor, "CONNECT_SECONDS", 0.5)
    with pytest.raises(ExecutorError, match=r"no dask scheduler.*127\.0\.0\.1:1"):
        PhaseRunner(store, "tcp://127.0.0.1:1")


def test_address_in_dasks_own_configuration_is_used(cluster, store):
    import dask

    with (
        dask.config.set({"scheduler-address": cluster.scheduler_address}),
        PhaseRunner(store, "dask", n_procs=7) as runner,
    ):
        assert runner.executor.n_workers == 1
        assert_same_as_serial(runner)


def seen(folder):
    return Path(folder).is_dir()


def test_hosts_without_the_folder_get_arrays_once_and_may_die_with_them(tmp_path):
    """One host, whose arrays are lost with it; another, which joins later and goes on."""
    with (
        DaskHosts(tmp_path, tmp_path / "scratch") as hosts,
        ArrayStore(hosts.scratch) as store,
        PhaseRunner(store, str(hosts.file)) as runner,
    ):
        hosts.start("127.0.0.2")
        batches = payloads(store, size=96, step=1)
        client = runner.executor._client
        found = {}
        for number, index, result in each_result(runner, product, batches):
            found[index] = result
            if number == 10:
                assert not any(client.run(seen, str(store.folder)).values())
                hosts.start("127.0.0.3")
                wait_until(lambda: len(client.nthreads()) == 2)
                hosts.kill("127.0.0.2")
        assert_same(
            [found[n] for n in range(len(batches))],
            results(PhaseRunner(store), product, batches),
        )
        (address,) = client.nthreads()
        assert address.startswith("tcp://127.0.0.3")
        before = dict(runner.executor._scattered)
        assert len(before) == 1
        results(runner, product, batches)
        assert runner.executor._scattered == before, "nothing travelled twice"


def test_lost_scheduler_is_a_clear_error(tmp_path, store):
    with DaskHosts(tmp_path, store.folder.parent) as hosts:
        hosts.start("127.0.0.2")
        runner = PhaseRunner(store, str(hosts.file))
        with pytest.raises(ExecutorError, match=r"scheduler at tcp.* was lost; resume"):
            for number, _, _ in each_result(
                runner, square, [Number(n, 0.02) for n in range(200)]
            ):
                if number == 5:
                    hosts.kill("scheduler")
        runner.close(kill=True)


@pytest.mark.parametrize("step", ["scatter", "submit"])
def test_scheduler_that_is_lost_while_a_call_is_sent_is_the_same_error(
    cluster, store, monkeypatch, step
):
    def lost(*args, **kwargs):
        raise CommClosedError("in <TCP (closed)>: Stream is closed")

    with distributed.Client(cluster, set_as_default=False) as client:
        runner = PhaseRunner(store, client)
        monkeypatch.setattr(client, step, lost)
        path = store.put(np.arange(4.0)).path
        with pytest.raises(ExecutorError, match=r"scheduler at .* was lost; resume"):
            runner.executor._send(abs, (1,), (path,), "")


class EndedCall:
    """A dask future whose call ended in one way while its status says another."""

    def __init__(self, status, outcome):
        self.status, self.outcome, self.is_cancelled = status, outcome, False
        self.client = SimpleNamespace(status="running")
        self.seconds = []

    def result(self, timeout):
        self.seconds.append(timeout)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def add_done_callback(self, function):
        self.finish = lambda: function(self)

    def cancel(self):
        self.is_cancelled = True


@pytest.mark.parametrize("status", ["finished", "lost", "pending"])
def test_result_is_a_result_whatever_the_status_says_by_then(status):
    ended = EndedCall(status, 42)
    future = dask_executor._concurrent_future(ended)
    assert not future.done()
    ended.finish()
    assert future.result(timeout=0) == 42


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()], ids=repr)
def test_error_of_a_call_is_the_futures(error):
    ended = EndedCall("error", error)
    future = dask_executor._concurrent_future(ended)
    ended.finish()
    assert future.exception(timeout=0) is error


@pytest.mark.parametrize(
    "error", [concurrent.futures.CancelledError, asyncio.CancelledError]
)
def test_call_that_dask_gave_up_is_cancelled(error):
    ended = EndedCall("cancelled", error())
    future = dask_executor._concurrent_future(ended)
    ended.finish()
    assert future.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(timeout=0)


@pytest.mark.parametrize("status", ["closing", "closed", "connecting"])
def test_result_that_a_closed_client_never_fetches_is_not_waited_for(status):
    """The thread that waited for it kept the process from ending."""
    ended = EndedCall("finished", TimeoutError())
    ended.client.status = status
    future = dask_executor._concurrent_future(ended)
    ended.finish()
    assert future.cancelled()


def test_result_that_takes_its_time_is_waited_for():
    class Large(EndedCall):
        def result(self, timeout):
            super().result(timeout)
            if timeout < 10:
                raise TimeoutError
            return self.outcome

    ended = Large("finished", 42)
    future = dask_executor._concurrent_future(ended)
    ended.finish()
    assert future.result(timeout=0) == 42
    assert ended.seconds == [2, 4, 8, 16]


@pytest.mark.parametrize("status", ["closed", "connecting"])
def test_result_whose_connection_broke_is_lost_with_the_scheduler(status):
    class Broken(EndedCall):
        def result(self, timeout):
            if len(self.seconds) == 3:
                self.client.status = status  # noticed late
            return super().result(timeout)

    ended = Broken("finished", CommClosedError("in gather"))
    future = dask_executor._concurrent_future(ended)
    ended.finish()
    assert future.cancelled()
    assert len(ended.seconds) == 4


def test_result_whose_connection_broke_is_asked_for_again():
    class Broken(EndedCall):
        def result(self, timeout):
            super().result(timeout)
            if len(self.seconds) < 3:
                raise CommClosedError
            return self.outcome

    ended = Broken("finished", 42)
    future = dask_executor._concurrent_future(ended)
    ended.finish()
    assert future.result(timeout=0) == 42


def test_connection_that_stays_broken_is_the_error(monkeypatch):
    monkeypatch.setattr(dask_executor, "CONNECT_SECONDS", 0.3)
    error = CommClosedError("in gather")
    ended = EndedCall("finished", error)
    future = dask_executor._concurrent_future(ended)
    ended.finish()
    assert future.exception(timeout=0) is error
    assert len(ended.seconds) > 1


@pytest.mark.parametrize("error", [TimeoutError("its"), OSError("its")], ids=repr)
def test_time_out_or_broken_file_of_a_call_is_its_error(error):
    ended = EndedCall("error", error)
    future = dask_executor._concurrent_future(ended)
    ended.finish()
    assert future.exception(timeout=0) is error


@pytest.mark.parametrize(("status", "reaches"), [("pending", True), ("finished", False)])
def test_cancelling_reaches_dask_while_the_call_is_there(status, reaches):
    ended = EndedCall(status, 42)
    future = dask_executor._concurrent_future(ended)
    assert future.cancel()
    assert ended.is_cancelled is reaches
    ended.finish()  # too late, and no error
    assert future.cancelled()
