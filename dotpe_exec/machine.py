"""What the machine offers to this process: cores, caches, memory, libraries.

Limits of whoever shares the machine out are respected: CPU affinity, control groups
(containers, batch systems), and the variables of SLURM and LSF.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import logging
import os
import platform
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import InputError

logger = logging.getLogger(__name__)

_ROOT = Path("/")
MOST_DRIVER_THREADS = 8
"""More than that wait for memory and for each other."""
# A control group without a limit says "max" (version 2) or a number near 2^63.
_UNLIMITED = 1 << 60


def core_limits(
    environment: Mapping[str, str] = os.environ, root: Path = _ROOT
) -> dict[str, int]:
    """Return how many cores this process may use, by who says so.

    Parameters
    ----------
    environment : mapping
        Where the variables of batch systems are read.
    root : Path
        Root of the file system in which ``/proc`` and ``/sys`` lie.

    Returns
    -------
    dict
        Only those that say anything: ``machine``, ``affinity``, ``cgroup``, ``loky``
        (its own count, with ``LOKY_MAX_CPU_COUNT``), ``SLURM``, ``LSF``.
    """
    limits = {"machine": os.cpu_count() or 1}
    if hasattr(os, "sched_getaffinity"):
        limits["affinity"] = len(os.sched_getaffinity(0))
    if (cgroup := _cgroup_cores(root)) is not None:
        limits["cgroup"] = cgroup
    if importlib.util.find_spec("loky") is not None:
        import loky

        try:
            limits["loky"] = loky.cpu_count()
        except ValueError:  # as loky says it, it would end runs that need no loky
            logger.warning(
                "LOKY_MAX_CPU_COUNT is %r, expected a number: it is ignored",
                environment.get("LOKY_MAX_CPU_COUNT"),
            )
    if (slurm := _slurm_cores(environment)) is not None:
        limits["SLURM"] = slurm
    if (lsf := _lsf_cores(environment)) is not None:
        limits["LSF"] = lsf
    return limits


def usable_cores(environment: Mapping[str, str] = os.environ, root: Path = _ROOT) -> int:
    """Return how many cores this process may use, at least 1."""
    return max(1, min(core_limits(environment, root).values()))


def driver_threads(n_workers: int) -> int:
    """Return how many threads the driving process uses after a phase of tasks.

    Its workers are idle then. A serial run stays serial.
    """
    return min(n_workers, usable_cores(), MOST_DRIVER_THREADS)


def _positive(text: str | None) -> int | None:
    try:
        number = int(text or "")
    except ValueError:
        return None
    return number if number > 0 else None


def _slurm_cores(environment: Mapping[str, str]) -> int | None:
    # Without --cpus-per-task the whole allocation on this node is one process's.
    return _positive(environment.get("SLURM_CPUS_PER_TASK")) or _positive(
        environment.get("SLURM_CPUS_ON_NODE")
    )


def _lsf_cores(environment: Mapping[str, str]) -> int | None:
    # "host1 16 host2 8": slots per host of the job.
    words = environment.get("LSB_MCPU_HOSTS", "").split()
    slots = {
        host.partition(".")[0]: n for host, n in zip(words[::2], words[1::2], strict=False)
    }
    here = socket.gethostname().partition(".")[0]
    if here in slots:
        return _positive(slots[here])
    if len(slots) > 1:
        return None
    return _positive(environment.get("LSB_DJOB_NUMPROC"))


def _cgroup_folders(controller: str, root: Path) -> Iterator[tuple[int, Path]]:
    """Yield (version, folder) of this process's control groups, innermost first."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:
            version, mounts = 2, ("sys/fs/cgroup", "sys/fs/cgroup/unified")
        elif controller in controllers.split(","):
            version, mounts = (
                1,
                (f"sys/fs/cgroup/{controllers}", f"sys/fs/cgroup/{controller}"),
            )
        else:
            continue
        for mount in dict.fromkeys(mounts):
            top = root / mount
            # In a container the path may be that of the host: then the top is ours.
            folder = top / path.lstrip("/")
            for candidate in (folder, *folder.parents):
                if candidate.is_dir():
                    yield version, candidate
                if candidate == top:
                    break


def _read_number(path: Path) -> int | None:
    try:
        text = path.read_text().split()
    except OSError:
        return None
    return _positive(text[0]) if text else None


def _cgroup_cores(root: Path) -> int | None:
    quotas = []
    for version, folder in _cgroup_folders("cpu", root):
        if version == 2:
            try:
                words = (folder / "cpu.max").read_text().split()
            except OSError:
                continue
            quota, period = [*map(_positive, words), None, None][:2]
        else:
            quota = _read_number(folder / "cpu.cfs_quota_us")
            period = _read_number(folder / "cpu.cfs_period_us")
        if quota and period:
            # Half a core more is still a core to run on.
            quotas.append(max(1, -(-quota // period)))
    return min(quotas, default=None)


def _cgroup_memory(root: Path) -> Iterator[tuple[int, int]]:
    """Yield (limit, what is left of it) of every control group with a limit [bytes]."""
    for version, folder in _cgroup_folders("memory", root):
        names = (
            ("memory.max", "memory.current", "inactive_file")
            if version == 2
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        )
        limit = _read_number(folder / names[0])
        if limit is None or limit > _UNLIMITED:
            continue
        used = _read_number(folder / names[1]) or 0
        # Pages of files count as used but are given back when they are needed.
        used -= _statistic(folder / "memory.stat", names[2])
        yield limit, max(0, limit - max(0, used))


def _statistic(path: Path, name: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        key, _, value = line.partition(" ")
        if key == name:
            return _positive(value) or 0
    return 0


def total_memory(environment: Mapping[str, str] = os.environ, root: Path = _ROOT) -> int:
    """Return the memory that this process and its workers may have in all [bytes]."""
    limits = [limit for limit, _ in _cgroup_memory(root)]
    return min([_physical_memory()[0], *limits, *_slurm_memory(environment)])


def available_memory(
    environment: Mapping[str, str] = os.environ, root: Path = _ROOT
) -> int:
    """Return the memory that can be had now without swapping or being killed [bytes]."""
    left = [left for _, left in _cgroup_memory(root)]
    return min([_physical_memory()[1], *left, *_slurm_memory(environment)])


def _physical_memory() -> tuple[int, int]:
    """Return all and what is available of the machine's memory [bytes]."""
    try:
        import psutil
    except ImportError:  # the benchmarks of phases do without it
        pages = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_AVPHYS_PAGES")
        return pages[0] * os.sysconf("SC_PAGE_SIZE"), pages[1] * os.sysconf("SC_PAGE_SIZE")
    memory = psutil.virtual_memory()
    return memory.total, memory.available


def _slurm_memory(environment: Mapping[str, str]) -> list[int]:
    megabytes = _positive(environment.get("SLURM_MEM_PER_NODE"))
    per_cpu = _positive(environment.get("SLURM_MEM_PER_CPU"))
    n_cpus = _positive(environment.get("SLURM_CPUS_ON_NODE"))
    if megabytes is None and per_cpu and n_cpus:
        megabytes = per_cpu * n_cpus
    return [megabytes << 20] if megabytes else []


@functools.lru_cache(maxsize=1)
def cpu_model() -> str:
    """Return the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model", "cpu model"):
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cache_sizes(root: Path = _ROOT) -> dict[str, int]:
    """Return sizes [bytes] of a core's data caches by level: ``{"L1": ..., "L2": ...}``."""
    sizes: dict[str, int] = {}
    for folder in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            kind = (folder / "type").read_text().strip()
            level = (folder / "level").read_text().strip()
            size = (folder / "size").read_text().strip()
        except OSError:
            continue
        factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(size[-1:], 1)
        number = _positive(size.rstrip("KMG"))
        if kind in ("Data", "Unified") and number:
            sizes[f"L{level}"] = number * factor
    return sizes


def numa_nodes(root: Path = _ROOT) -> dict[str, str]:
    """Return the cores of each NUMA node as Linux lists them, for example ``0-15``."""
    nodes = {}
    for folder in sorted((root / "sys/devices/system/node").glob("node[0-9]*")):
        try:
            nodes[folder.name] = (folder / "cpulist").read_text().strip()
        except OSError:
            continue
    return nodes


def blas_libraries() -> list[str]:
    """Return name, version and kernel of the BLAS libraries that NumPy loaded."""
    import numpy  # noqa: F401 - loads its BLAS
    import threadpoolctl

    found = set()
    for library in threadpoolctl.threadpool_info():
        if library.get("user_api") == "blas":
            parts = (
                library.get(key) for key in ("internal_api", "version", "architecture")
            )
            found.add(" ".join(str(part) for part in parts if part))
    return sorted(found)


def machine_signature() -> str:
    """Return a hash of what a tuned configuration depends on, 16 hexadecimal digits.

    Processor, usable cores, cache sizes, total memory (in GiB) and BLAS library.
    """
    facts = [
        cpu_model(),
        usable_cores(),
        cache_sizes(),
        round(total_memory() / (1 << 30)),
        # NumPy and SciPy may carry two builds of the same library; which of them are
        # loaded depends on what was imported before.
        sorted({library.split()[0] for library in blas_libraries()}),
    ]
    text = json.dumps(facts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def describe_machine() -> dict[str, Any]:
    """Return all of the above, for ``dotpe-exec info`` and ``run_report.json``."""
    return {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu": cpu_model(),
        "usable_cores": usable_cores(),
        "core_limits": core_limits(),
        "caches": cache_sizes(),
        "total_memory": total_memory(),
        "available_memory": available_memory(),
        "blas": blas_libraries(),
        "numa_nodes": numa_nodes(),
        "signature": machine_signature(),
    }


def check_memory_gb(name: str, value: Any) -> float | None:
    """Return an amount of memory [GB] as a float, None if it is None.

    Raises
    ------
    InputError
        It is not a positive number.
    """
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if isinstance(value, bool | str) or not 0 < number < float("inf"):
        raise InputError(f"{name} is {value!r}, expected a positive number of GB")
    return number
