"""Jobs for batch systems: checked by HTCondor's own parser, and run with stand-ins."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from requirements import needs

from dotpe_exec.campaign import Analysis, Campaign, Settings
from dotpe_exec.campaign.settings import write_settings
from dotpe_exec.campaign.submit import EVICTED, Site, submit_jobs, write_jobs
from dotpe_exec.cli import main
from dotpe_exec.errors import ExecutorError, InputError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def campaign(tmp_path):
    """Five events, of which no data are there."""
    events = {f"event{k}": {"source": f"/nowhere/{k}.npz"} for k in range(5)}
    settings = Settings("night run", 0, Analysis("run", {"bank_folder": "bank"}), events)
    folder = tmp_path / "with space"
    folder.mkdir()
    write_settings(folder / "campaign.toml", settings)
    return Campaign(folder)


class Programs:
    """Stand-ins for a system's programs, and for Python, first on the path."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        folder.mkdir()
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def add(self, **programs):
        for name, code in programs.items():
            (self.folder / name).write_text(f"#!/bin/bash\n{code}\n")
            (self.folder / name).chmod(0o755)

    def calls(self):
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [shlex.split(line) for line in lines]

    def note(self, name):
        return (
            f'echo "$(printf "%q " {name} "$@")" >> {shlex.quote(str(self.folder))}/calls'
        )


@pytest.fixture
def programs(tmp_path, monkeypatch):
    return Programs(tmp_path / "bin", monkeypatch)


class TestHTCondor:
    @needs("htcondor")
    def test_submit_files_are_read_by_htcondor(self, campaign):
        import htcondor2

        site = Site(account="ligo.dev.o4.cbc.pe.x", user="a.b", memory_gb=1.5,
                    extra=('+MyTag = "x"',))  # fmt: skip
        dag = write_jobs(campaign, "htcondor", site)
        described = htcondor2.Submit((dag.parent / "event.sub").read_text())
        assert described["request_memory"] == "1536 MB"
        assert described["accounting_group"] == "ligo.dev.o4.cbc.pe.x"
        assert described["MY.MyTag"] == '"x"'
        assert described.expand("executable") == str(dag.parent / "event.sh")
        assert str(EVICTED) in described["on_exit_remove"]

    def test_dag_has_every_event_once_and_ends_with_the_report(self, campaign):
        dag = write_jobs(campaign, "htcondor", Site(max_jobs=2), events_per_job=2)
        text = dag.read_text()
        nodes = re.findall(r"^JOB (\S+) event\.sub$", text, re.MULTILINE)
        chunks = re.findall(r'^VARS (\S+) chunk="(\d+)"$', text, re.MULTILINE)
        assert [int(chunk) for _, chunk in chunks] == [0, 1, 2]
        assert [node for node, _ in chunks] == nodes
        assert "FINAL report report.sub" in text and "MAXJOBS events 2" in text
        script = (dag.parent / "event.sh").read_text()
        assert "--of 3" in script and os.access(dag.parent / "event.sh", os.X_OK)

    @needs("htcondor")
    @pytest.mark.parametrize(
        ("ad", "leaves"),
        [
            ({"ExitBySignal": "False", "ExitCode": "0"}, True),
            ({"ExitBySignal": "False", "ExitCode": "1"}, True),
            ({"ExitBySignal": "False", "ExitCode": "143"}, False),
            ({"ExitBySignal": "True", "ExitSignal": "15"}, False),
            ({"ExitBySignal": "True", "ExitSignal": "11"}, True),
        ],
    )
    def test_evicted_jobs_stay_in_the_queue(self, campaign, ad, leaves):
        import classad2

        dag = write_jobs(campaign, "htcondor", Site())
        line = re.search(r"on_exit_remove = (.*)", (dag.parent / "event.sub").read_text())
        job = classad2.ClassAd({key: classad2.ExprTree(value) for key, value in ad.items()})
        job["OnExitRemove"] = classad2.ExprTree(line[1])
        assert bool(job.eval("OnExitRemove")) is leaves

    def test_container_is_a_universe(self, campaign):
        dag = write_jobs(campaign, "htcondor", Site(container="docker://x/y:1"))
        text = (dag.parent / "event.sub").read_text()
        assert "universe = container\ncontainer_image = docker://x/y:1\n" in text

    def test_now_submits_the_dag(self, campaign, programs):
        programs.add(condor_submit_dag=programs.note("condor_submit_dag"))
        write = ["campaign", "submit", str(campaign.files.path), "--to", "htcondor"]
        done = CliRunner().invoke(main, [*write, "--now"])
        assert done.exit_code == 0, done.output
        assert programs.calls() == [["condor_submit_dag", "-force", "campaign.dag"]]


# Runs the array's jobs one after the other, as often as they are put into the queue.
SBATCH = """
{note}
for script; do :; done
if [ "$script" = events.sbatch ]; then
    for k in 0 1 2 3 4; do
        for attempt in 1 2 3; do
            rm -f requeued
            SLURM_ARRAY_TASK_ID=$k SLURM_JOB_ID=7$k bash "$script" || true
            [ -e requeued ] || break
        done
    done
fi
echo "70;cluster"
"""


class TestSlurm:
    def test_scripts_are_bash_with_directives_first(self, campaign):
        site = Site(account="proj", queue="short", max_jobs=3, time="01:30:00",
                    extra=("--constraint=avx2",))  # fmt: skip
        path = write_jobs(campaign, "slurm", site)
        for name in (path.name, "report.sbatch", "event.sh", "report.sh"):
            checked = subprocess.run(["bash", "-n", path.parent / name],
                                     capture_output=True, text=True)  # fmt: skip
            assert (checked.returncode, checked.stderr) == (0, "")
        lines = path.read_text().splitlines()
        directives = [line for line in lines if line.startswith("#SBATCH ")]
        assert lines[1 : len(directives) + 1] == directives
        for part in ("--array=0-4%3", "--time=01:30:00", "--account=proj", "--mem=2048M",
                     "--partition=short", "--requeue", "--constraint=avx2",
                     "--job-name=night_run"):  # fmt: skip
            assert f"#SBATCH {part}" in directives

    def test_evicted_jobs_are_queued_again_and_all_events_are_run(
        self, campaign, programs, tmp_path
    ):
        python = f"""
{programs.note("python")}
if [[ "$*" == *"--chunk 3"* ]] && [ ! -e {tmp_path}/evicted ]; then
    touch {tmp_path}/evicted; exit {EVICTED}
fi"""
        programs.add(python=python, sbatch=SBATCH.format(note=programs.note("sbatch")),
                     scontrol=f"{programs.note('scontrol')}; touch requeued")  # fmt: skip
        site = Site(python="python")
        said = submit_jobs(write_jobs(campaign, "slurm", site))
        calls = programs.calls()
        chunks = [call[call.index("--chunk") + 1] for call in calls if "--chunk" in call]
        assert chunks == ["0", "1", "2", "3", "3", "4"]
        assert ["scontrol", "requeue", "73"] in calls
        assert calls[-1][:3] == ["sbatch", "--parsable", "--dependency=afterany:70"]
        assert said == "job array 70, report 70;cluster"

    def test_job_that_is_told_to_end_ends_its_program_first(self, campaign, programs):
        ended = programs.folder / "ended"
        program = f"""
trap 'sleep 0.3; touch {shlex.quote(str(ended))}; exit {EVICTED}' TERM
touch {shlex.quote(str(programs.folder))}/running
while :; do sleep 0.1; done"""
        programs.add(python=program, scontrol=programs.note("scontrol"))
        path = write_jobs(campaign, "slurm", Site(python="python"))
        job = subprocess.Popen(
            ["bash", path], env={**os.environ, "SLURM_ARRAY_TASK_ID": "0",
                                 "SLURM_JOB_ID": "70"},
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while not (programs.folder / "running").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=30) == EVICTED
        assert ended.exists()
        assert programs.calls() == [["scontrol", "requeue", "70"]]


class TestLsf:
    def test_array_and_report(self, campaign, programs):
        programs.add(bsub=f"{programs.note('bsub')}; cat >> {programs.folder}/given")
        path = write_jobs(campaign, "lsf", Site(account="p", queue="q"), events_per_job=2)
        submit_jobs(path)
        given = (programs.folder / "given").read_text()
        assert '#BSUB -J "night_run[1-3]"' in given and f'#BSUB -Q "{EVICTED}"' in given
        assert "#BSUB -P p" in given and "#BSUB -q q" in given and "#BSUB -W 04:00" in given
        assert '-w "ended(night_run)"' in given

    def test_jobs_are_the_parts(self, campaign, programs):
        programs.add(python=programs.note("python"))
        path = write_jobs(campaign, "lsf", Site(python="python"))
        for index in (1, 5):
            subprocess.run(["bash", path], check=True,
                           env={**os.environ, "LSB_JOBINDEX": str(index)})  # fmt: skip
        calls = programs.calls()
        assert [call[call.index("--chunk") + 1] for call in calls] == ["0", "4"]
        context = (
            main.commands["campaign"]
            .commands["run"]
            .make_context("run", calls[0][calls[0].index("run") + 1 :])
        )
        assert context.params["folder"] == campaign.files.path
        assert context.params["n_chunks"] == 5


def test_scripts_run_for_real(campaign):
    """Their program is this one, and the failed events are its exit status."""
    path = write_jobs(campaign, "htcondor", Site(python=sys.executable))
    done = subprocess.run(
        [path.parent / "event.sh", "2"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == 1
    assert campaign.state("event2") == "failed"
    assert campaign.state("event1") == "waiting"
    assert "there is no file /nowhere/2.npz" in campaign.outcome("event2")["sentence"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"time": "4h"}, "expected HH:MM:SS"),
        ({"memory_gb": 0.0}, "must be positive"),
        ({"account": "a b"}, "white space"),
        ({"max_jobs": 0}, "max_jobs is 0"),
    ],
)
def test_nonsense_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(Site(), **wrong)


def test_missing_program_is_named(campaign, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExecutorError, match="sbatch is not on this machine"):
        submit_jobs(write_jobs(campaign, "slurm", Site()))


def test_refused_jobs_say_why(campaign, programs):
    programs.add(sbatch="echo 'invalid account' >&2; exit 1")
    with pytest.raises(ExecutorError, match="status 1: invalid account"):
        submit_jobs(write_jobs(campaign, "slurm", Site()))
