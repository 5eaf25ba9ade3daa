"""A campaign: its events, their analysis, what is known of each."""

from __future__ import annotations

import dataclasses
import datetime
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..atomic import read_json, to_json, write_json
from ..digests import file_digest
from ..errors import InputError, RunDirectoryError
from ..interrupts import raise_if_terminated, terminations_raise
from ..rundir.files import RunFiles
from ..seeds import generator
from .changes import Changes
from .folder import CampaignFiles
from .mapping import Crashed, map_jobs
from .settings import Settings, read_settings, write_settings
from .tasks import (
    BUSY,
    FAILED,
    FINISHED,
    DataJob,
    EventJob,
    EventOutcome,
    analyse,
    make_data,
)

WAITING, STARTED = "waiting", "started"
STATUSES = (FAILED, STARTED, WAITING, FINISHED)
"""What :meth:`Campaign.status` says of an event; a started one is running or was ended."""


def make(
    folder: str | os.PathLike,
    settings: Settings,
    *,
    executor: Any = None,
    n_procs: int | None = None,
    progress: bool = True,
) -> Campaign:
    """Make a campaign: its folder, ``campaign.toml``, and the data of its events.

    Parameters
    ----------
    folder : path
    settings : Settings
    executor, n_procs, progress
        As :func:`dotpe_exec.run_multicore` takes them, for simulating signals.

    Returns
    -------
    Campaign

    Raises
    ------
    InputError
        Another campaign is in the folder.
    EventError
        The data of no event could be made. Those of which some cannot are ``failed``.
    """
    from .injections import with_distance

    files = CampaignFiles(folder)
    if settings.injections is not None:
        settings = dataclasses.replace(
            settings, injections=with_distance(settings.injections, files.path)
        )
    if files.settings.exists():
        there = read_settings(files.settings)
        changes = Changes()
        if changes.compare(there.name, to_json(there), to_json(settings)):
            raise InputError(
                f"{files.path} holds the campaign {there.name!r} already, which differs in "
                f"{changes.sentence(0)}: choose another folder, or edit {files.settings}"
            )
    try:
        files.make_folders()
    except OSError as error:
        raise RunDirectoryError(f"{files.path} cannot be made: {error}") from error
    write_settings(files.settings, settings)
    campaign = Campaign(folder)
    campaign.make_data(executor=executor, n_procs=n_procs, progress=progress)
    return campaign


class Campaign:
    """The campaign in a folder.

    Parameters
    ----------
    folder : path

    Attributes
    ----------
    files : CampaignFiles
    settings : Settings

    Raises
    ------
    MissingFileError
        There is none.
    InputError
        Its ``campaign.toml`` cannot be used.
    """

    def __init__(self, folder: str | os.PathLike):
        self.files = CampaignFiles(folder)
        self.settings: Settings = read_settings(self.files.settings)

    def __repr__(self) -> str:
        return f"Campaign({str(self.files.path)!r})"

    @property
    def names(self) -> list[str]:
        """Names of all events."""
        return self.settings.names()

    # Data of the events

    def make_data(
        self,
        names: Iterable[str] | None = None,
        *,
        redo: bool = False,
        executor: Any = None,
        n_procs: int | None = None,
        progress: bool = True,
    ) -> None:
        """Make the data of events that are not there yet.

        An event whose data cannot be made is noted as failed.

        Raises
        ------
        InputError
            Data were made with other settings, and ``redo`` is false.
        """
        self._make_folders()
        selected = self._selected(names)
        changes = Changes()
        wanted = {name: self._origin(name) for name in selected}
        jobs, replaced = [], set()
        for name, origin in wanted.items():
            made = _read(self.files.origin(name))
            same = made is not None and not changes.compare(name, made, to_json(origin))
            if not same or not self.files.event(name).is_file():
                jobs.append(self._data_job(name))
            if made is not None and not same:
                replaced.add(name)
        if changes and not redo:
            raise InputError(self._changed(changes))
        if len(jobs) <= 4:
            executor = "serial"  # done before workers are ready
        with terminations_raise():
            for job, result in map_jobs(
                "data of events", make_data, jobs, executor=executor, n_procs=n_procs,
                progress=progress,
            ):  # fmt: skip
                outcome = _settled(job.name, result)
                if outcome.status == FINISHED:
                    write_json(self.files.origin(job.name), wanted[job.name])
                    # Another driver may have analysed the event by now.
                    if job.name in replaced or self.state(job.name) == FAILED:
                        self.files.outcome(job.name).unlink(missing_ok=True)
                else:
                    write_json(self.files.outcome(job.name), outcome)

    def _origin(self, name: str) -> dict[str, Any]:
        """Return what an event's data depend on."""
        if name in self.settings.events:
            return {"source": self.settings.events[name]["source"]}
        assert self.settings.injections is not None
        content = to_json(self.settings.injections)
        del content["n"]
        return {"injections": content}

    def _data_job(self, name: str) -> DataJob:
        event = self.settings.events.get(name)
        return DataJob(
            name,
            str(self.files.event(name)),
            str(self.files.path),
            source=event["source"] if event else "",
            injections=None if event else self.settings.injections,
        )

    # Analyses

    def job(self, name: str) -> EventJob:
        """Return the analysis of one event."""
        analysis = self.settings.event_analysis(name)
        arguments = analysis.call_arguments(self.files.path)
        if arguments.get("seed") is None:
            arguments["seed"] = int(
                generator(self.settings.seed, "campaign", name).integers(2**31)
            )
        injected = name not in self.settings.events
        return EventJob(
            name,
            str(self.files.event(name)),
            str(self.files.rundir(name)),
            analysis.method,
            arguments,
            limits=self.settings.injections if injected else None,
        )

    def run(
        self,
        names: Iterable[str] | None = None,
        *,
        executor: Any = None,
        n_procs: int | None = None,
        redo: bool = False,
        progress: bool = True,
    ) -> dict[str, int]:
        """Analyse all events that are not finished, each serially in a worker.

        An analysis that was ended goes on from its last step; one that failed is tried
        again. Several calls at the same time, on any hosts that see the folder, share the
        work: what one is at, the others leave alone.

        Parameters
        ----------
        names : iterable of str, optional
            Only these events.
        executor : optional
            As :func:`dotpe_exec.run_multicore` takes it; its workers analyse events.
        n_procs : int, optional
            How many events at a time.
        redo : bool
            Analyse again what was analysed with other settings, which is refused otherwise.
        progress : bool

        Returns
        -------
        dict
            Number of events by status, as :meth:`status` has them.

        Raises
        ------
        InputError
            ``campaign.toml`` changed since events were analysed; the message says what and
            which events it concerns.
        ExecutorError
            Workers cannot be used.
        """
        selected = self._selected(names)
        self.make_data(
            selected, redo=redo, executor=executor, n_procs=n_procs, progress=progress
        )
        jobs = []
        changes = Changes()
        records = {}
        for name in selected:
            if not self.files.event(name).is_file():
                continue  # its data could not be made, which is noted
            job = self.job(name)
            records[name] = self._record(job)
            before = _read(self.files.job(name))
            changed = before is not None and changes.compare(
                name, before, to_json(records[name])
            )
            if changed or self.state(name) != FINISHED:
                jobs.append(dataclasses.replace(job, overwrite=changed))
        if changes and not redo:
            raise InputError(self._changed(changes))
        for job in jobs:
            if job.overwrite:  # here, so that an attempt that is ended can be resumed
                self.forget(job.name)
            write_json(self.files.job(job.name), records[job.name])
        jobs = [dataclasses.replace(job, overwrite=False) for job in jobs]
        with terminations_raise():
            for job, result in map_jobs(
                "events", analyse, jobs, executor=executor, n_procs=n_procs,
                progress=progress,
            ):  # fmt: skip
                outcome = _settled(job.name, result)
                if outcome.status != BUSY:
                    write_json(self.files.outcome(job.name), outcome)
                raise_if_terminated()
        return self.counts()

    def _record(self, job: EventJob) -> dict[str, Any]:
        """Return what the result of an analysis depends on."""
        return {
            "method": job.method,
            **job.arguments,
            "event data": file_digest(job.event_file),
        }

    def forget(self, name: str) -> None:
        """Remove the results of an event; its data stay."""
        self.files.outcome(name).unlink(missing_ok=True)
        self.files.page(name).unlink(missing_ok=True)
        shutil.rmtree(self.files.rundir(name), ignore_errors=True)

    def _changed(self, changes: Changes) -> str:
        return (
            f"{self.files.settings} changed since events were analysed: "
            f"{changes.sentence(len(self.names))}; undo that, or give redo to do these "
            "events again"
        )

    # What is known

    def state(self, name: str) -> str:
        """Return one of :data:`STATUSES`."""
        outcome = _read(self.files.outcome(name))
        if outcome is not None and outcome.get("status") in (FINISHED, FAILED):
            return str(outcome["status"])
        return STARTED if RunFiles(self.files.rundir(name)).path.is_dir() else WAITING

    def status(self) -> dict[str, str]:
        """Return the state of every event."""
        return {name: self.state(name) for name in self.names}

    def counts(self) -> dict[str, int]:
        """Return how many events are in which state."""
        states = list(self.status().values())
        return {status: states.count(status) for status in STATUSES if status in states}

    def outcome(self, name: str) -> Mapping[str, Any] | None:
        """Return how the analysis of an event ended, None where it did not."""
        return _read(self.files.outcome(name))

    def table(self) -> Any:
        """Return the table of all events, a :class:`pandas.DataFrame`."""
        from .table import events_table

        return events_table(self)

    def report(
        self,
        *,
        pages: bool = True,
        executor: Any = None,
        n_procs: int | None = None,
        progress: bool = True,
    ) -> Path:
        """Write the table (CSV and Parquet), the page, and a page for each event.

        Parameters
        ----------
        pages : bool
            Whether to write pages of single events that are not there yet.
        executor, n_procs, progress
            As for :meth:`run`.

        Returns
        -------
        Path
            The page.
        """
        from .page import write_report

        self._make_folders()
        return write_report(
            self, pages=pages, executor=executor, n_procs=n_procs, progress=progress
        )

    def _make_folders(self) -> None:
        try:
            self.files.make_folders()
        except OSError as error:
            raise RunDirectoryError(f"{self.files.path} cannot be made: {error}") from error

    def _selected(self, names: Iterable[str] | None) -> Sequence[str]:
        known = self.names
        if names is None:
            return known
        selected = list(names)
        if unknown := [name for name in selected if name not in set(known)]:
            raise InputError(f"the campaign has no event {unknown[0]!r}")
        return selected


def _settled(name: str, result: EventOutcome | Crashed) -> EventOutcome:
    """Return the outcome of a job, and when it was."""
    if isinstance(result, Crashed):
        result = EventOutcome(name, FAILED, result.sentence)
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return dataclasses.replace(result, values={**result.values, "ended": now})


def _read(path: Path) -> dict[str, Any] | None:
    """Return a small record; None where there is none, or a damaged one."""
    try:
        content = read_json(path)
    except RunDirectoryError:
        return None
    return content if isinstance(content, dict) else None
