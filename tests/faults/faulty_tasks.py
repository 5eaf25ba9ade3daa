"""Tasks that do what tasks must not do."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Trap:
    """Fails the first ``times`` times that it runs; counts in a file."""

    value: int
    counter: str = ""
    times: int = 0
    seconds: float = 0.0

    def springs(self) -> bool:
        if not self.times:
            return False
        with Path(self.counter).open("a") as file:
            file.write("x")
        return Path(self.counter).stat().st_size <= self.times

    def result(self) -> np.ndarray:
        time.sleep(self.seconds)
        return np.sin(np.arange(self.value, self.value + 50.0))


def kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def killed_during(trap: Trap) -> np.ndarray:
    result = trap.result()
    if trap.springs():
        kill_me()
    return result


@dataclass(frozen=True)
class InTurn(Trap):
    """A trap that springs when the one ``before`` it is done, never beside it."""

    done: str = ""
    before: str = ""


def killed_in_turn(trap: InTurn) -> np.ndarray:
    """Die, and no other task with traps dies or is in a worker that is dying meanwhile.

    Where the trap before has not run to its end when this one begins, it still is to
    spring, or did and the executor has yet to notice. That ends this worker too, for which
    this task waits, as a bystander: it comes again when the other is done.
    """
    if trap.before and not Path(trap.before).exists():
        time.sleep(600)
    result = killed_during(trap)
    if trap.done:
        Path(trap.done).touch()
    return result


def killed_after(trap: Trap) -> np.ndarray:
    """Die when the result is on its way, or just was."""
    if trap.springs():
        threading.Timer(0.01, kill_me).start()
    return trap.result()


def exits(trap: Trap) -> np.ndarray:
    if trap.springs():
        os._exit(7)
    return trap.result()


def segfaults(trap: Trap) -> np.ndarray:
    if trap.springs():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), signal.SIGSEGV)
    return trap.result()


def killed_while_sending(trap: Trap) -> np.ndarray:
    """Die in the middle of writing a large result into the pipe."""
    if trap.springs():
        main = threading.main_thread().ident

        def wait_and_kill():
            while True:
                frame = sys._current_frames()[main]
                while frame is not None:
                    if frame.f_code.co_name in ("_send", "_send_bytes"):
                        kill_me()
                    frame = frame.f_back

        threading.Thread(target=wait_and_kill, daemon=True).start()
        return np.zeros(50_000_000)
    return trap.result()


def out_of_memory(trap: Trap) -> np.ndarray:
    if trap.springs():
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
        return np.ones(1 << 30)
    return trap.result()


def strangled(trap: Trap) -> np.ndarray:
    """Leave the worker no memory at all, for anything."""
    if trap.springs():
        resource.setrlimit(resource.RLIMIT_AS, (1 << 20, resource.RLIM_INFINITY))
        return np.zeros(1 << 20)
    return trap.result()


class Unpicklable(ValueError):
    def __init__(self, message):
        super().__init__(message)
        self.lock = threading.Lock()


class OneWay(ValueError):
    """Pickles, and cannot be unpickled: its arguments are not those of __init__."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def raises_unpicklable(trap: Trap) -> None:
    raise Unpicklable("holds a lock")


def raises_one_way(trap: Trap) -> None:
    raise OneWay("here", "there")


def returns_unpicklable(trap: Trap) -> object:
    return threading.Lock()
