"""Files that a batch system is given, and giving them: HTCondor, SLURM, LSF.

A job analyses a chunk of the events, serially, in a folder that all nodes see. It may be
ended at any moment: the next attempt goes on from the last step. A job that is told to end
(SIGTERM) leaves with status 143, which each system is told to queue again.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic import atomic_write, make_folder_of
from ..errors import ExecutorError, InputError
from ..validation import positive_integer

if TYPE_CHECKING:
    from .campaign import Campaign

EVICTED = 143
"""Exit status of a job that was told to end (128 + SIGTERM), for the system to requeue."""

_RETRIES = 2  # of jobs in which events failed
_GRACE = 120  # seconds between SIGTERM and the end


@dataclass(frozen=True)
class Site:
    """What a site asks for.

    Parameters
    ----------
    memory_gb : float
        Of a job.
    time : str
        Limit of a job, ``HH:MM:SS``; HTCondor has none.
    disk_gb : float
        Of a job's scratch space (HTCondor).
    account : str
        Accounting tag: ``accounting_group`` of HTCondor, account of SLURM, project of LSF.
    user : str
        ``accounting_group_user`` of HTCondor.
    queue : str
        Partition of SLURM, queue of LSF.
    container : str
        Image in which jobs run.
    setup : str
        Shell commands before the program, for example ``source .venv/bin/activate``.
    python : str
        Interpreter; default: the one that runs now.
    max_jobs : int or None
        How many run at the same time.
    extra : tuple of str
        Further lines of the submit file, or directives, as they are.
    """

    memory_gb: float = 2.0
    time: str = "04:00:00"
    disk_gb: float = 1.0
    account: str = ""
    user: str = ""
    queue: str = ""
    container: str = ""
    setup: str = ""
    python: str = field(default_factory=lambda: sys.executable)
    max_jobs: int | None = None
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.memory_gb > 0 or not self.disk_gb > 0:
            raise InputError("memory and disk of a job must be positive")
        if not re.fullmatch(r"\d+:[0-5]\d:[0-5]\d", self.time):
            raise InputError(f"time is {self.time!r}, expected HH:MM:SS")
        if self.max_jobs is not None:
            positive_integer("max_jobs", self.max_jobs)
        for name in ("account", "user", "queue", "container"):
            if re.search(r"\s", getattr(self, name)):
                raise InputError(f"{name} is {getattr(self, name)!r}, with white space")


def write_jobs(
    campaign: Campaign, system: str, site: Site, events_per_job: int = 1
) -> Path:
    """Write what a batch system is given; return the file that is submitted.

    Parameters
    ----------
    campaign : Campaign
    system : {"htcondor", "slurm", "lsf"}
    site : Site
    events_per_job : int

    Raises
    ------
    InputError
    """
    if system not in _SYSTEMS:
        raise InputError(f"the system is {system!r}, expected {', '.join(_SYSTEMS)}")
    positive_integer("events_per_job", events_per_job)
    n_chunks = -(-len(campaign.names) // events_per_job)
    folder = campaign.files.submit
    make_folder_of(folder / "logs" / "htcondor.log")
    files = _SYSTEMS[system](campaign, site, n_chunks)
    if system == "slurm" and site.container:
        site = _in_container(site)
    for name, command in (
        ("event.sh", f'run {{}} --chunk "$1" --of {n_chunks} --executor serial'),
        ("report.sh", "report {} --n-procs 1"),
    ):
        files[name] = _script(site, command.format(shlex.quote(str(campaign.files.path))))
    for name, text in files.items():
        path = folder / name
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        if name.endswith(".sh"):
            path.chmod(0o755)
    return folder / next(iter(files))


def _in_container(site: Site) -> Site:
    import dataclasses

    python = f"apptainer exec {shlex.quote(site.container)} {site.python}"
    return dataclasses.replace(site, python=python)


def _script(site: Site, command: str) -> str:
    """Return the program of a job; it becomes Python, which gets the signals itself."""
    lines = ["#!/bin/bash", "set -e"]
    lines += [site.setup] if site.setup else []
    lines += [f"exec {site.python} -m dotpe_exec campaign {command} --no-progress", ""]
    return "\n".join(lines)


def _htcondor(campaign: Campaign, site: Site, n_chunks: int) -> dict[str, str]:
    """Return a DAG with a node per chunk, and the report at the end whatever happened."""
    folder = campaign.files.submit
    dag = ["# Submit with: condor_submit_dag campaign.dag"]
    for chunk in range(n_chunks):
        node = f"events_{chunk:05d}"
        dag += [f"JOB {node} event.sub", f'VARS {node} chunk="{chunk}"',
                f"RETRY {node} {_RETRIES} UNLESS-EXIT 2"]  # fmt: skip
        dag += [f"CATEGORY {node} events"] if site.max_jobs else []
    dag += [f"MAXJOBS events {site.max_jobs}"] if site.max_jobs else []
    dag += ["FINAL report report.sub", ""]
    common = {
        "universe": "container" if site.container else "vanilla",
        "container_image": site.container,
        "initialdir": str(campaign.files.path),
        "should_transfer_files": "NO",
        "request_cpus": "1",
        "request_memory": f"{site.memory_gb * 1024:.0f} MB",
        "request_disk": f"{site.disk_gb * 1024:.0f} MB",
        "accounting_group": site.account,
        "accounting_group_user": site.user,
        # Told to end, and given the time to: again in the queue, from the last step.
        "kill_sig": "SIGTERM",
        "job_max_vacate_time": str(_GRACE),
        "on_exit_remove": (
            "!((ExitBySignal =?= True && ExitSignal =?= 15) || "
            f"(ExitBySignal =?= False && ExitCode =?= {EVICTED}))"
        ),
        "log": str(folder / "logs" / "htcondor.log"),
    }

    def submit_file(script: str, arguments: str, logs: str) -> str:
        lines = {
            **common,
            "executable": str(folder / script),
            "arguments": arguments,
            "output": str(folder / "logs" / f"{logs}.out"),
            "error": str(folder / "logs" / f"{logs}.err"),
        }
        text = "".join(f"{key} = {value}\n" for key, value in lines.items() if value)
        return text + "".join(f"{line}\n" for line in site.extra) + "queue\n"

    return {
        "campaign.dag": "\n".join(dag),
        "event.sub": submit_file("event.sh", "$(chunk)", "event_$(chunk)"),
        "report.sub": submit_file("report.sh", "", "report"),
    }


def _slurm(campaign: Campaign, site: Site, n_chunks: int) -> dict[str, str]:
    folder = campaign.files.submit
    at_most = f"%{site.max_jobs}" if site.max_jobs else ""

    def script(directives: list[str], command: str) -> str:
        common = [
            f"--time={site.time}",
            "--ntasks=1",
            "--cpus-per-task=1",
            f"--mem={site.memory_gb * 1024:.0f}M",
            *([f"--account={site.account}"] if site.account else []),
            *([f"--partition={site.queue}"] if site.queue else []),
            *site.extra,
        ]
        lines = [f"#SBATCH {one}" for one in [*directives, *common]]
        return "\n".join(["#!/bin/bash", *lines, "", command, ""])

    requeue = f"""\
# Told to end, before the time limit or by another's priority: end the run, which keeps
# what it has, and queue this job again.
trap 'kill -TERM "$run" 2> /dev/null' TERM
{shlex.quote(str(folder / "event.sh"))} "$SLURM_ARRAY_TASK_ID" &
run=$!
wait "$run"
status=$?
while kill -0 "$run" 2> /dev/null; do
    wait "$run"
    status=$?
done
if [ "$status" -eq {EVICTED} ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status\""""
    name = campaign.settings.name
    logs = folder / "logs"
    return {
        "events.sbatch": script(
            [f"--job-name={_word(name)}", f"--array=0-{n_chunks - 1}{at_most}",
             "--requeue", "--open-mode=append", f"--signal=B:TERM@{_GRACE}",
             f"--output={logs}/event_%a.out"],
            requeue,
        ),
        "report.sbatch": script(
            [f"--job-name={_word(name)}-report", f"--output={logs}/report.out"],
            shlex.quote(str(folder / "report.sh")),
        ),
    }  # fmt: skip


def _lsf(campaign: Campaign, site: Site, n_chunks: int) -> dict[str, str]:
    folder = campaign.files.submit
    hours, minutes, _ = site.time.split(":")
    at_most = f"%{site.max_jobs}" if site.max_jobs else ""
    name = _word(campaign.settings.name)

    def script(directives: list[str], command: str) -> str:
        common = [
            "-n 1",
            f"-W {hours}:{minutes}",
            f'-R "rusage[mem={site.memory_gb * 1024:.0f}M]"',
            *([f"-P {site.account}"] if site.account else []),
            *([f"-q {site.queue}"] if site.queue else []),
            *([f'-app "{site.container}"'] if site.container else []),
            *site.extra,
        ]
        lines = [f"#BSUB {one}" for one in [*directives, *common]]
        return "\n".join(["#!/bin/bash", *lines, "", command, ""])

    logs = folder / "logs"
    event = shlex.quote(str(folder / "event.sh"))
    return {
        "events.bsub": script(
            [f'-J "{name}[1-{n_chunks}]{at_most}"', "-r", f'-Q "{EVICTED}"',
             "-wa TERM", f"-wt {_GRACE // 60}", f"-o {logs}/event_%I.out"],
            f'exec {event} "$((LSB_JOBINDEX - 1))"',
        ),
        "report.bsub": script(
            [f'-J "{name}-report"', f'-w "ended({name})"', f"-o {logs}/report.out"],
            f"exec {shlex.quote(str(folder / 'report.sh'))}",
        ),
    }  # fmt: skip


def _word(name: str) -> str:
    """Return a name of which job names can be made."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name) or "campaign"


_SYSTEMS: Mapping[str, Callable[[Any, Site, int], dict[str, str]]] = {
    "htcondor": _htcondor,
    "slurm": _slurm,
    "lsf": _lsf,
}


def submit_jobs(path: Path) -> str:
    """Submit what :func:`write_jobs` wrote; return what the system said.

    Raises
    ------
    ExecutorError
        The system's program is not here, or refuses the jobs.
    """
    folder = path.parent
    if path.suffix == ".dag":
        return _call(["condor_submit_dag", "-force", path.name], folder)
    if path.suffix == ".sbatch":
        number = _call(["sbatch", "--parsable", path.name], folder).split(";")[0].strip()
        after = f"--dependency=afterany:{number}"
        report = _call(["sbatch", "--parsable", after, "report.sbatch"], folder)
        return f"job array {number}, report {report}"
    said = [_call(["bsub"], folder, folder / name) for name in (path.name, "report.bsub")]
    return "\n".join(said)


def _call(command: list[str], folder: Path, script: Path | None = None) -> str:
    if shutil.which(command[0]) is None:
        raise ExecutorError(
            f"{command[0]} is not on this machine: submit {folder} from one that has it"
        )
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True,
        input=None if script is None else script.read_text(encoding="utf-8"),
    )  # fmt: skip
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().splitlines()
        raise ExecutorError(
            f"{' '.join(command)} ended with status {done.returncode}: "
            f"{reason[-1] if reason else 'no output'}"
        )
    return done.stdout.strip()
