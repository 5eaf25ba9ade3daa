"""Jobs that do what a test needs, in workers."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    name: str
    seconds: float = 0.0
    kills: int = 0
    folder: str = ""


def work(job: Job) -> str:
    """Note the attempt; kill this worker on the first ``kills`` of them."""
    if job.folder:
        marks = Path(job.folder)
        attempt = len(list(marks.glob(f"{job.name}-*")))
        (marks / f"{job.name}-{attempt}").touch()
        if attempt < job.kills:
            time.sleep(job.seconds)
            os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(job.seconds)
    return f"{job.name} done"
