"""What the machine grants: affinity, control groups, batch systems."""

from __future__ import annotations

import json
import os
import socket

import pytest

from dotpe_exec import machine
from dotpe_exec.config import resolve_config
from dotpe_exec.errors import InputError
from dotpe_exec.inference.memory_model import ProblemSize, fit_memory, worker_bytes

GIB = 1 << 30


def make(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_affinity_limits_cores():
    limits = machine.core_limits(environment={})
    if hasattr(os, "sched_getaffinity"):
        assert limits["affinity"] == len(os.sched_getaffinity(0))
    assert 1 <= machine.usable_cores() <= limits["machine"]


def test_restricted_affinity_is_seen(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert machine.usable_cores() == 1


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURM_CPUS_PER_TASK": "12", "SLURM_CPUS_ON_NODE": "48"}, {"SLURM": 12}),
        ({"SLURM_CPUS_ON_NODE": "48"}, {"SLURM": 48}),
        ({"SLURM_CPUS_PER_TASK": "many"}, {}),
        ({"LSB_MCPU_HOSTS": f"other 4 {socket.gethostname()} 16"}, {"LSF": 16}),
        ({"LSB_DJOB_NUMPROC": "8"}, {"LSF": 8}),
        ({"LSB_DJOB_NUMPROC": "8", "LSB_MCPU_HOSTS": "a 4 b 4"}, {}),
        ({"LSB_DJOB_NUMPROC": "-1"}, {}),
    ],
)
def test_batch_systems_say_how_many_cores(environment, expected, tmp_path):
    limits = machine.core_limits(environment, tmp_path)
    assert {k: v for k, v in limits.items() if k in ("SLURM", "LSF")} == expected


def test_usable_cores_is_the_least_of_all(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert machine.usable_cores() == 1


@pytest.mark.parametrize(
    ("cores", "n_workers", "n_threads"), [(16, 1, 1), (16, 4, 4), (2, 4, 2), (64, 32, 8)]
)
def test_driver_uses_no_more_threads_than_workers_cores_or_memory_serve(
    monkeypatch, cores, n_workers, n_threads
):
    monkeypatch.setattr(machine, "usable_cores", lambda: cores)
    assert machine.driver_threads(n_workers) == n_threads


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        (
            {"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": "250000 100000"},
            3,
        ),
        (
            {"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": "max 100000"},
            None,
        ),
        (
            {
                "proc/self/cgroup": "0::/job/step\n",
                "sys/fs/cgroup/job/step/cpu.max": "max 100000",
                "sys/fs/cgroup/job/cpu.max": "400000 100000",
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/abc\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            1,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            None,
        ),
        ({"proc/self/cgroup": "nonsense\n"}, None),
        ({}, None),
    ],
    ids=["v2", "v2 none", "v2 parent", "v1 container", "v1 none", "nonsense", "no cgroups"],
)
def test_control_group_limits_cores(tmp_path, files, cores):
    assert machine.core_limits({}, make(tmp_path, files)).get("cgroup") == cores


HERE = socket.gethostname()
V2 = {"proc/self/cgroup": "0::/job\n"}
QUOTA_8 = V2 | {"sys/fs/cgroup/job/cpu.max": "800000 100000"}


@pytest.mark.parametrize(
    ("affinity", "environment", "files", "cores"),
    [
        # A workstation, nothing set.
        (64, {}, {}, 64),
        # taskset, numactl, or a batch system that binds.
        (12, {}, {}, 12),
        # A container with a quota, in one with whole and one with half cores.
        (64, {}, QUOTA_8, 8),
        (64, {}, V2 | {"sys/fs/cgroup/job/cpu.max": "50000 100000"}, 1),
        # SLURM: sbatch --cpus-per-task 16, on a node of which 32 are allocated.
        (64, {"SLURM_CPUS_PER_TASK": "16", "SLURM_CPUS_ON_NODE": "32"}, {}, 16),
        # sbatch --ntasks 32, one process in the script.
        (64, {"SLURM_CPUS_ON_NODE": "32", "SLURM_NTASKS": "32"}, {}, 32),
        # SLURM with binding, or with a control group, that is narrower than it says.
        (4, {"SLURM_CPUS_PER_TASK": "16"}, {}, 4),
        (64, {"SLURM_CPUS_PER_TASK": "16"}, QUOTA_8, 8),
        # LSF: bsub -n 20 on one host; on two hosts; of hosts that are not this one.
        (64, {"LSB_DJOB_NUMPROC": "20", "LSB_MCPU_HOSTS": f"{HERE} 20"}, {}, 20),
        (64, {"LSB_DJOB_NUMPROC": "28", "LSB_MCPU_HOSTS": f"a 8 {HERE}.domain 20"}, {}, 20),
        (64, {"LSB_DJOB_NUMPROC": "28", "LSB_MCPU_HOSTS": "a 8 b 20"}, {}, 64),
        # What is no number is nobody's word.
        (64, {"SLURM_CPUS_PER_TASK": "", "LSB_DJOB_NUMPROC": "x"}, {}, 64),
        (64, {"SLURM_CPUS_PER_TASK": "0"}, {}, 64),
        # More than there are.
        (64, {"SLURM_CPUS_PER_TASK": "1000"}, {}, 64),
    ],
)
def test_usable_cores_in_all_surroundings(
    affinity, environment, files, cores, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(
        os, "sched_getaffinity", lambda pid: set(range(affinity)), raising=False
    )
    monkeypatch.setattr("loky.cpu_count", lambda: 64)
    assert machine.usable_cores(environment, make(tmp_path, files)) == cores


@pytest.mark.parametrize(
    "files",
    [
        {
            "proc/self/cgroup": "0::/job\n",
            "sys/fs/cgroup/job/memory.max": str(3 * GIB // 1000),
            "sys/fs/cgroup/job/memory.current": str(2 * GIB // 1000),
            "sys/fs/cgroup/job/memory.stat": f"anon 1\ninactive_file {GIB // 1000}\n",
        },
        {
            "proc/self/cgroup": "9:memory:/somewhere/else\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(3 * GIB // 1000),
            "sys/fs/cgroup/memory/memory.usage_in_bytes": str(2 * GIB // 1000),
            "sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {GIB // 1000}\n",
        },
    ],
    ids=["v2", "v1"],
)
def test_control_group_limits_memory_but_pages_of_files_are_free(tmp_path, files):
    root = make(tmp_path, files)
    assert machine.total_memory({}, root) == 3 * GIB // 1000
    assert machine.available_memory({}, root) == pytest.approx(2 * GIB // 1000, abs=2)


def test_no_control_group_means_all_memory(tmp_path):
    import psutil

    files = {
        "proc/self/cgroup": "9:memory:/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
    }
    assert machine.total_memory({}, make(tmp_path, files)) == psutil.virtual_memory().total


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_MEM_PER_NODE": "100"},
        {"SLURM_MEM_PER_CPU": "25", "SLURM_CPUS_ON_NODE": "4"},
        # Per node wins: SLURM sets one or the other.
        {
            "SLURM_MEM_PER_NODE": "100",
            "SLURM_MEM_PER_CPU": "1",
            "SLURM_CPUS_ON_NODE": "4",
        },
    ],
)
def test_slurm_limits_memory(environment, tmp_path):
    assert machine.total_memory(environment, tmp_path) == 100 << 20


def test_run_in_a_small_control_group_has_smaller_batches_and_fewer_workers(
    tmp_path, monkeypatch
):
    limit = 2 * 10**9
    root = make(
        tmp_path,
        V2
        | {
            "sys/fs/cgroup/job/memory.max": str(limit),
            "sys/fs/cgroup/job/memory.current": str(limit // 4),
        },
    )
    available = machine.available_memory({}, root)
    assert available == limit - limit // 4
    monkeypatch.setattr(
        "dotpe_exec.inference.memory_model.available_memory", lambda: available
    )
    size = ProblemSize(n_m=4, n_b=378, n_ext=512)
    fitted = fit_memory(resolve_config(n_procs=32), size)
    assert fitted.i_blocksize < 512 and 1 <= fitted.n_procs < 32
    assert fitted.n_procs * worker_bytes(size, fitted.i_blocksize) < available


def test_caches_and_nodes_are_read(tmp_path):
    base = "sys/devices/system/cpu/cpu0/cache"
    root = make(
        tmp_path,
        {
            f"{base}/index0/type": "Data\n",
            f"{base}/index0/level": "1\n",
            f"{base}/index0/size": "48K\n",
            f"{base}/index1/type": "Instruction\n",
            f"{base}/index1/level": "1\n",
            f"{base}/index1/size": "32K\n",
            f"{base}/index3/type": "Unified\n",
            f"{base}/index3/level": "3\n",
            f"{base}/index3/size": "2M\n",
            "sys/devices/system/node/node0/cpulist": "0-7\n",
            "sys/devices/system/node/node1/cpulist": "8-15\n",
        },
    )
    assert machine.cache_sizes(root) == {"L1": 48 << 10, "L3": 2 << 20}
    assert machine.numa_nodes(root) == {"node0": "0-7", "node1": "8-15"}


def test_signature_changes_with_what_tuning_depends_on(monkeypatch):
    reference = machine.machine_signature()
    assert reference == machine.machine_signature()
    assert len(reference) == 16 and int(reference, 16) >= 0
    signatures = {reference}
    for name, value in [
        ("cpu_model", lambda: "Another CPU"),
        ("usable_cores", lambda: 97),
        ("cache_sizes", lambda: {"L1": 1}),
        ("total_memory", lambda: 5 * GIB),
        ("blas_libraries", lambda: ["mkl 2024"]),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(machine, name, value)
            signatures.add(machine.machine_signature())
    assert len(signatures) == 6


def test_description_is_json_and_complete():
    described = json.loads(json.dumps(machine.describe_machine()))
    assert described["usable_cores"] >= 1
    assert described["blas"] and described["cpu"]
    assert 0 < described["available_memory"] <= described["total_memory"]


@pytest.mark.parametrize("value", [0, -1, "much", float("nan"), float("inf"), True, "4"])
def test_amounts_of_memory_are_checked(value):
    with pytest.raises(InputError, match=r"max_memory_gb is .* positive number of GB"):
        machine.check_memory_gb("max_memory_gb", value)


def test_what_loky_cannot_read_is_ignored(monkeypatch, caplog):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "abc")
    limits = machine.core_limits()
    assert "loky" not in limits and limits["machine"] >= 1
    assert "LOKY_MAX_CPU_COUNT is 'abc', expected a number" in caplog.text
