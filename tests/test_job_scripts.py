"""The scripts in docs/cluster.md: checked as text, run with stand-ins, run for real."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from clusters import program
from golden_runs import run_files

from dotpe_exec.cli import main
from dotpe_exec.machine import core_limits

PAGE = Path(__file__).parents[1] / "docs" / "cluster.md"
BIN = Path(sys.executable).parent


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def name_of(script):
    system = "SLURM" if "#SBATCH" in script else "LSF"
    engine = re.search(r"executor (loky|mpi)", script)
    return f"{system} {engine[1] if engine else 'dask'}"


SCRIPTS = {name_of(script): script for script in blocks("bash") if "#!/bin/bash" in script}
EXAMPLES = {
    re.search(r"dask_jobqueue|executorlib|ipyparallel", block)[0]: block
    for block in blocks("python")
}
all_scripts = pytest.mark.parametrize("name", SCRIPTS)


def directives(script):
    """What the header asks for: option (with its dashes) to value."""
    lines = re.findall(r"^#(?:SBATCH|BSUB) (.*)$", script, re.MULTILINE)
    return dict(shlex.split(re.sub(r"^(--[a-z-]+)=", r"\1 ", line)) for line in lines)


def test_every_kind_of_script_is_there():
    assert SCRIPTS.keys() == {
        *("SLURM loky", "LSF loky", "SLURM mpi", "LSF mpi", "SLURM dask")
    }
    assert EXAMPLES.keys() == {"dask_jobqueue", "executorlib", "ipyparallel"}


@all_scripts
def test_scripts_are_bash_and_directives_come_first(name):
    script = SCRIPTS[name]
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = script.splitlines()
    assert lines[0] == "#!/bin/bash"
    n_directives = len(directives(script))
    assert all(
        line.startswith(("#SBATCH ", "#BSUB ")) for line in lines[1 : n_directives + 1]
    )
    assert lines[n_directives + 1] == ""


@all_scripts
def test_one_attempt_runs_after_the_other_and_resumes(name):
    asked = directives(SCRIPTS[name])
    assert "%1" in asked.get("--array", asked.get("-J", ""))
    assert "--resume" in SCRIPTS[name] and "--seed" in SCRIPTS[name]


def test_workers_are_as_many_as_the_scripts_ask_for():
    cores = int(directives(SCRIPTS["SLURM loky"])["--cpus-per-task"])
    assert core_limits({"SLURM_CPUS_PER_TASK": str(cores)})["SLURM"] == cores
    asked = directives(SCRIPTS["LSF loky"])
    assert "span[hosts=1]" in asked["-R"]
    for given in (
        {"LSB_DJOB_NUMPROC": asked["-n"]},
        {"LSB_MCPU_HOSTS": f"{socket.gethostname()} {asked['-n']}"},
    ):
        assert core_limits(given)["LSF"] == int(asked["-n"])


class Node:
    """A folder as the page describes it, where job scripts run as a batch system would.

    ``.venv/bin`` holds the programs, first those given as shell code.
    """

    def __init__(self, folder):
        self.folder = folder
        self.bin = folder / ".venv" / "bin"
        self.bin.mkdir(parents=True)
        (folder / ".venv" / "bin" / "activate").write_text(
            f'export PATH="{self.bin}:{BIN}:$PATH"\n'
        )

    def add(self, **programs):
        for name, code in programs.items():
            path = self.bin / name.replace("_", "-")
            path.write_text(f"#!/bin/bash\n{code}\n")
            path.chmod(0o755)

    def link(self, golden):
        (self.folder / "banks").mkdir()
        (self.folder / "event.npz").symlink_to(golden / "event.npz")
        (self.folder / "banks" / "bbh").symlink_to(golden / "bank_0")

    def run(self, command, **environment):
        return subprocess.run(
            command,
            cwd=self.folder,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("SLURM")},
                "PYTHONPATH": str(PAGE.parents[1]),
                "OMPI_ALLOW_RUN_AS_ROOT": "1",
                "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=900,
        )

    def submit(self, script, n_tasks):
        """Run a job script with the variables of an allocation."""
        return self.run(
            ["bash", "-c", script],
            SLURM_NTASKS=str(n_tasks),
            SLURM_CPUS_PER_TASK="2",
            LSB_DJOB_NUMPROC=str(n_tasks),
            SLURM_JOB_ID="17",
        )


@pytest.fixture
def node(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    return Node(folder)


@all_scripts
def test_commands_of_the_scripts_are_ones_that_exist(name, node):
    note = 'echo "$(printf "%q " {} "$@")" >> calls'
    n_before = 2 if name.endswith("dask") else 0
    wait = f"until [ $(cat calls 2> /dev/null | wc -l) -ge {n_before} ]; do sleep 0.1; done"
    node.add(
        dotpe_exec=f"{wait}; {note.format('dotpe-exec')}",
        python=note.format("python"),
        dask=note.format("dask"),
        mpiexec='[ "$1" = -n ] && [ "$2" = 6 ] && shift 2 && exec "$@"',
        srun='exec "$@"',
    )
    done = node.submit(SCRIPTS[name], 6)
    assert (done.returncode, done.stderr) == (0, "")
    calls = [shlex.split(line) for line in (node.folder / "calls").read_text().splitlines()]
    (run,) = (call[call.index("run") + 1 :] for call in calls if "run" in call)
    context = main.commands["run"].make_context("run", run)
    expected = {"loky": "loky", "mpi": "mpi", "dask": f"{node.folder}/scheduler-17.json"}
    assert context.params["executor"] == expected[name.split()[1]]
    assert context.params["resume"] and context.params["seed"] == 1
    if name.endswith("mpi"):
        assert calls[0][:6] == ["python", "-m", "mpi4py.futures", "-m", "dotpe_exec", "run"]
    if name.endswith("dask"):
        assert sorted(call[1] for call in calls if call[0] == "dask") == [
            *("scheduler", "worker")
        ]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_call_what_exists(name, monkeypatch):
    import inspect

    import dotpe_exec

    calls = []
    signature = inspect.signature(dotpe_exec.run_multicore)
    monkeypatch.setattr(
        dotpe_exec, "run_multicore", lambda *a, **k: calls.append(signature.bind(*a, **k))
    )

    class Anything:
        """Every attribute, call and context is there."""

        def __getattr__(self, name):
            return self

        def __call__(self, *args, **kwargs):
            return self

        def __enter__(self):
            return self

        def __exit__(self, *exc_info):
            pass

    for module in ("dask_jobqueue", "distributed", "executorlib", "ipyparallel"):
        monkeypatch.setitem(sys.modules, module, Anything())
    exec(compile(EXAMPLES[name], PAGE.name, "exec"), {"__name__": "__main__"})
    assert len(calls) == 1
    assert calls[0].arguments["resume"] is True


@pytest.fixture(scope="module")
def serial_files(golden, tmp_path_factory):
    """What the scripts' run writes, by the command line's and by the examples' sizes."""
    folder = tmp_path_factory.mktemp("serial")
    node = Node(folder)
    node.link(golden)
    command = re.search(
        r"dotpe-exec run .*?--resume", SCRIPTS["SLURM loky"].replace("\\\n", ""), re.DOTALL
    )[0]
    serial = command.replace("loky", "serial")
    done = node.run(["bash", "-c", f". .venv/bin/activate; {serial} --n-phi 100 --n-t 128"])
    assert done.returncode == 0, done.stderr
    return run_files(folder / "runs" / "event")


N_TASKS = 3
# Stands in for SLURM's: as many copies as the allocation has tasks; ends them when ended.
SRUN = """
trap 'kill $(jobs -p)' TERM
for _ in $(seq "$SLURM_NTASKS"); do "$@" & done
wait
"""


@pytest.mark.slow
@all_scripts
def test_scripts_run_for_real_and_again_at_once(name, node, golden, serial_files):
    node.link(golden)
    node.add(srun=SRUN)
    if (BIN / "ompi_info").exists():
        node.add(mpiexec=f'exec {BIN}/mpiexec --oversubscribe "$@"')
    elif name.endswith("mpi"):
        program("mpiexec")  # or the test fails
    for _ in range(2):  # the second attempt finds it finished
        done = node.submit(SCRIPTS[name], N_TASKS)
        assert done.returncode == 0, done.stderr
        assert run_files(node.folder / "runs" / "event") == serial_files
    assert not list(node.folder.glob("scheduler*"))


# Run job scripts here and now, as a batch system would elsewhere and later.
SBATCH = """
bash "$1" > "job.log" 2>&1 < /dev/null &
echo "Submitted batch job $!"
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run_for_real(name, node, golden, serial_files):
    node.link(golden)
    node.add(sbatch=SBATCH, scancel='kill "$1"')
    code = EXAMPLES[name].replace("=32", "=2").replace("maximum_jobs=8", "maximum_jobs=1")
    (node.folder / "example.py").write_text(code)
    done = node.run(["bash", "-c", ". .venv/bin/activate; python example.py"])
    assert done.returncode == 0, done.stderr
    assert run_files(node.folder / "runs" / "event") == serial_files
