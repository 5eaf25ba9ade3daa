"""A phase as a discrete-event simulation: one driver, many workers, messages of tasks.

The driver does what :mod:`dotpe_exec.executors.driver` does, with times instead of work:
it fills what room there is in flight, waits for the message that ends first, reduces its
results, and fills again. Everything that it does itself happens one after the other.
"""

from __future__ import annotations

import heapq
import math
import statistics
from collections import deque
from dataclasses import dataclass

import numpy as np

from dotpe_exec.executors.driver import MAX_TASKS_PER_MESSAGE, TARGET_SECONDS

_IN_FLIGHT_PER_WORKER = 2
_REMEMBERED = 64  # messages by which the driver estimates how long a task takes


@dataclass(frozen=True)
class Overheads:
    """What moving tasks costs; seconds.

    Parameters
    ----------
    message : float
        Driver, per message: putting it into a queue and taking its reply.
    task : float
        Driver, per task: pickling, record, checkpoint; not what its result costs.
    latency : float
        From the driver to a worker, and back.
    spawn : float
        Driver, per worker that it starts.
    """

    message: float
    task: float
    latency: float
    spawn: float


@dataclass(frozen=True)
class PhaseLoad:
    """What a phase asks for; seconds.

    Parameters
    ----------
    tasks : (n,) float
        Worker's time of each task, in the order in which they are submitted.
    reductions : (n,) float
        Driver's time for the result of each.
    begin : float
        Until a worker that the phase starts is ready for its first task.
    load : float
        What a worker's first task takes longer: it loads code and maps arrays.
    n_cold : int
        Workers that are not there yet.
    """

    tasks: np.ndarray
    reductions: np.ndarray
    begin: float = 0.0
    load: float = 0.0
    n_cold: int = 0


@dataclass(frozen=True)
class PhaseOutcome:
    """What a phase took; seconds.

    Parameters
    ----------
    seconds : float
    driver_busy, workers_busy : float
        Time in which the driver, and all workers together, did something.
    n_messages : int
    """

    seconds: float
    driver_busy: float
    workers_busy: float
    n_messages: int


def simulate_phase(phase: PhaseLoad, n_workers: int, overheads: Overheads) -> PhaseOutcome:
    """Run a phase on so many workers, in simulated time.

    Parameters
    ----------
    phase : PhaseLoad
    n_workers : int
    overheads : Overheads
    """
    n_tasks = len(phase.tasks)
    n_cold = min(phase.n_cold, n_workers)
    now = overheads.spawn * n_cold
    busy = now
    # When each worker can take the next message, and whether it has had one.
    workers = [(0.0, k, True) for k in range(n_workers - n_cold)]
    workers += [
        (overheads.spawn * (k + 1) + phase.begin, n_workers + k, True)
        for k in range(n_cold)
    ]
    heapq.heapify(workers)
    replies: list[tuple[float, int, int, int]] = []  # arrival, message, first, last task
    known: deque[float] = deque(maxlen=_REMEMBERED)
    seconds_by_message: dict[int, float] = {}
    submitted = n_messages = 0
    workers_busy = 0.0
    room = _IN_FLIGHT_PER_WORKER * n_workers
    while True:
        while len(replies) < room and submitted < n_tasks:
            first = submitted
            submitted += _message_size(known, n_tasks - first, room)
            spent = overheads.message / 2 + overheads.task * (submitted - first)
            now, busy = now + spent, busy + spent
            free, k, is_new = heapq.heappop(workers)
            work = float(phase.tasks[first:submitted].sum()) + is_new * phase.load
            end = max(free, now + overheads.latency) + work
            heapq.heappush(workers, (end, k, False))
            workers_busy += work
            seconds_by_message[n_messages] = work / (submitted - first)
            arrival = end + overheads.latency
            heapq.heappush(replies, (arrival, n_messages, first, submitted))
            n_messages += 1
        if not replies:
            return PhaseOutcome(now, busy, workers_busy, n_messages)
        arrival, number, first, last = heapq.heappop(replies)
        known.append(seconds_by_message.pop(number))
        spent = overheads.message / 2 + float(phase.reductions[first:last].sum())
        now, busy = max(now, arrival) + spent, busy + spent


def _message_size(known: deque[float], n_left: int, room: int) -> int:
    """Return how many tasks the driver sends together; see its method of this name."""
    if not known:
        return 1
    seconds = max(statistics.median(known), 1e-6)
    share = math.ceil(n_left / room)
    size = max(1, min(int(TARGET_SECONDS / seconds), share, MAX_TASKS_PER_MESSAGE))
    return min(size, n_left)
