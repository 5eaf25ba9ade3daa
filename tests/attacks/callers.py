"""What callers do: phases with known bits, run in whatever process imports this."""

from __future__ import annotations

import functools
import hashlib
import os
import time

import numpy as np
from toy_tasks import Batch, Number, product, results, slow_process_id

from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore


def digest(executor, n_procs=2):
    """The bits of a phase."""
    with ArrayStore() as store, PhaseRunner(store, executor, n_procs=n_procs) as runner:
        handle = store.put(np.random.default_rng(1).normal(size=(96, 96)))
        batches = [Batch(at, at + 4, handle) for at in range(0, 96, 4)]
        found = results(runner, product, batches, tasks_per_message=1)
    return hashlib.sha256(b"".join(one.values.tobytes() for one in found)).hexdigest()


@functools.cache
def serial_digest():
    return digest("serial")


def digest_in_child(executor, n_procs=2):
    """As :func:`digest`, with the time at which it was there."""
    return digest(executor, n_procs), time.time()


def report_digest(connection, executor):
    connection.send(digest_in_child(executor))
    connection.close()


def outcome(executor):
    """The digest, or the error as a caller reads it."""
    try:
        return digest(executor)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def worker_processes(n_procs, n_runs):
    """The worker processes that runs of one thread had, run by run."""
    found = []
    for _ in range(n_runs):
        with ArrayStore() as store, PhaseRunner(store, "loky", n_procs=n_procs) as runner:
            numbers = [Number(n, 0.01) for n in range(4 * n_procs)]
            pids = results(runner, slow_process_id, numbers, tasks_per_message=1)
        found.append(frozenset(pids))
    assert os.getpid() not in set().union(*found)
    return found
