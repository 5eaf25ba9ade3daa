"""What runs in workers: make the data of one event, analyse one event."""

from __future__ import annotations

import filecmp
import gc
import os
import re
import resource
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from ..atomic import TEMPORARY_PREFIX, sync_folder
from ..errors import DotpeExecError, RunDirectoryError
from ..freed_memory import return_freed_memory, return_large_arrays
from ..interrupts import raise_if_terminated
from ..warned import collected_warnings
from .settings import Injections, analysis_function, injection_number

FINISHED, FAILED, BUSY = "finished", "failed", "busy"

# Campaigns draw a fixed number of samples: repeated ones do no harm to a P-P test.
_HARMLESS = re.compile(r"\d+ samples are drawn from a posterior").match


@dataclass(frozen=True)
class DataJob:
    """Where the data of an event come from, and where they go.

    Parameters
    ----------
    name : str
    target : str
        The event file to write.
    folder : str
        Of the campaign: relative paths are seen from there.
    source : str
        Event file, name of a bundled or a published event; empty for an injection.
    injections : Injections or None
    """

    name: str
    target: str
    folder: str
    source: str = ""
    injections: Injections | None = None


@dataclass(frozen=True)
class EventJob:
    """An event, and how it is analysed.

    Parameters
    ----------
    name : str
    event_file, rundir : str
    method : str
        :data:`~dotpe_exec.campaign.settings.METHODS`
    arguments : dict
        All keywords but those that say where and how to run.
    overwrite : bool
        Replace what another analysis left in the run directory.
    limits : Injections or None
        Those that the event is one of.
    campaign_pid : int
        Of the process whose campaign it is.
    """

    name: str
    event_file: str
    rundir: str
    method: str
    arguments: Mapping[str, Any]
    overwrite: bool = False
    limits: Injections | None = None
    campaign_pid: int = field(default_factory=os.getpid)


@dataclass(frozen=True)
class EventOutcome:
    """What became of a job.

    Parameters
    ----------
    name : str
    status : {"finished", "failed", "busy"}
        Busy: another process is at it.
    sentence : str
        Why it failed.
    seconds : float
    values : dict
        Numbers of the analysis, see :func:`~dotpe_exec.campaign.evaluate.evaluate`.
    trace : str
        Traceback of an error that is not one of this package's.
    memory_gb : float
        Most memory that the worker's process ever held, with what it shares [GB].
    cpu_seconds : float
        Of the worker's process meanwhile.
    """

    name: str
    status: str
    sentence: str = ""
    seconds: float = 0.0
    values: dict[str, Any] = field(default_factory=dict)
    trace: str = ""
    memory_gb: float = 0.0
    cpu_seconds: float = 0.0


def make_data(job: DataJob) -> EventOutcome:
    """Write the data of an event."""
    return outcome_of(job.name, lambda: _make_data(job))


def _make_data(job: DataJob) -> dict[str, Any]:
    folder = Path(job.folder)
    if job.injections is not None:
        from .injections import simulate

        event = simulate(job.injections, injection_number(job.name), folder)
    else:
        event = _sourced(job.source, folder)
    _save_unless_there(event, Path(job.target))
    return {}


def _save_unless_there(event: Any, target: Path) -> None:
    """Write an event, but not where another driver of the campaign wrote the same.

    A run that reads the file takes one that was replaced for one that changed.
    """
    from ..events import save_event

    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=target.parent) as folder:
        made = Path(folder) / target.name
        save_event(event, made)
        try:
            os.link(made, target)
        except OSError:  # there is one, or there are no links
            if not (target.is_file() and filecmp.cmp(made, target, shallow=False)):
                made.replace(target)
        sync_folder(target.parent)


def _sourced(source: str, folder: Path) -> Any:
    """Return an event by its file, or by the name of a bundled or published one."""
    from ..events import bundled_events, fetch_event, load_event

    path = folder / source
    is_path = path.suffix == ".npz" or os.sep in source
    if path.is_file() or source in bundled_events() or is_path:
        return load_event(source if source in bundled_events() else path)
    return fetch_event(source)


def analyse(job: EventJob) -> EventOutcome:
    """Analyse one event, serially, going on where an earlier attempt ended."""
    if os.getpid() != job.campaign_pid:
        _end_when_told()
        return_large_arrays()
    outcome = outcome_of(job.name, lambda: _analyse(job))
    _give_memory_back()
    return outcome


def _give_memory_back() -> None:
    """Return what an event needed to the system: the next has its peak elsewhere."""
    import pyarrow

    gc.collect()
    pyarrow.default_memory_pool().release_unused()
    return_freed_memory()


def _end_when_told() -> None:
    """Let SIGTERM end this worker, as it would outside of a run.

    A run takes it for its own end, and the campaign would for the event's; a worker that is
    gone is replaced, and its event goes on.
    """

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, end)


def _analyse(job: EventJob) -> dict[str, Any]:
    from .evaluate import evaluate

    function = analysis_function(job.method)
    rundir = function(
        job.event_file,
        rundir=job.rundir,
        executor="serial",
        progress=False,
        resume=not job.overwrite,
        overwrite=job.overwrite,
        **job.arguments,
    )
    return evaluate(Path(rundir), job.limits)


def outcome_of(name: str, work: Callable[[], dict[str, Any]]) -> EventOutcome:
    """Do what may fail, whatever the reason: one event must not stop the others."""
    began, cpu_began = time.perf_counter(), time.process_time()
    status, sentence, trace, values = FINISHED, "", "", {}
    with collected_warnings() as caught:
        try:
            values = work()
        except DotpeExecError as error:
            in_use = isinstance(error, RunDirectoryError) and " is in use " in str(error)
            status, sentence = (BUSY if in_use else FAILED), str(error)
        except Exception as error:
            status, sentence = FAILED, f"{type(error).__name__}: {error}"
            trace = traceback.format_exc()
    if status != FINISHED:
        raise_if_terminated()  # that was the end of this process, not the event's fault
    values = values | {"warnings": sorted({one for one in caught if not _HARMLESS(one)})}
    return EventOutcome(
        name,
        status,
        sentence.splitlines()[0] if sentence else "",
        time.perf_counter() - began,
        values,
        trace,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        time.process_time() - cpu_began,
    )
