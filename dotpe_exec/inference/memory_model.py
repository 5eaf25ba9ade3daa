"""How much memory a run needs, and what to do where there is less.

What a worker holds at most, besides the interpreter with NumPy, numba and our kernels
(:data:`BASE_BYTES`), with N = 2 n_m n_b numbers per waveform:

* incoherent phase: single waveforms from mapped files, at most 64 copied (16 N bytes
  each), whatever the batch; and about 100 bytes per arrival time;
* extrinsic phases: about 650 bytes for each of the 2^15 points of a proposal, or about
  24 n_m + 12 n_d + 40 bytes per point of the pool (128 per extrinsic sample, at least
  2^16) and 32 waveforms with their time series;
* coherent phase: of one batch the waveforms as they lie in the bank (16 N bytes) and as
  complex numbers (16 N); of the batch before, which is remembered for its other
  extrinsic blocks, the complex ones (16 N); about 8 kB per waveform and mode of
  projections of both; and about 8 kB per extrinsic sample.

The main process holds about :data:`PARENT_BYTES`, most of it LAL and the event, and

* 64 n_d n_b bytes (time shifts) per extrinsic sample, and about 500 per point of the pool
  they are drawn from;
* 64 n_d n_b bytes (time shifts) per arrival time; 160 n_m bytes per orbital phase.

Mapped files (bank and store) do not count: all processes share their pages, and the
system takes them back when memory is short.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from ..config import ResolvedConfig
from ..errors import InputError
from ..machine import available_memory
from ..stages.extrinsic import POOL_POINTS_PER_SAMPLE, POOL_SIZE
from ..stages.extrinsic_scoring import MAX_PROPOSAL_POINTS, SCREEN_BATCH

logger = logging.getLogger(__name__)

BASE_BYTES = 75_000_000
PARENT_BYTES = 700_000_000
_COPIED_WAVEFORMS = 64
_PROPOSAL_POINT_BYTES = 650
_SERIES_TIMES = 1150
_PROJECTION_BYTES = 8_000
_EXTRINSIC_BYTES = 8_000
_PARENT_POINT_BYTES = 500
_SMALLEST_BATCH = 32
# Left for tables whose size is not known before the end, and for other processes.
_SHARE = 0.8


@dataclass(frozen=True)
class ProblemSize:
    """What the memory of a run depends on, besides the configuration.

    Parameters
    ----------
    n_m, n_b, n_ext : int
        Number of harmonic modes (azimuthal numbers), frequency bins and extrinsic
        samples.
    n_d, n_phi, n_phi_incoherent, n_t : int
        Number of detectors, orbital phases of both stages, and arrival times.
    n_waveforms : int, optional
        Largest number of candidates of a bank; no batch is larger.
    extrinsic_drawn : bool
        Whether extrinsic samples are drawn, not read from a file.
    """

    n_m: int
    n_b: int
    n_ext: int
    n_d: int = 3
    n_phi: int = 100
    n_phi_incoherent: int = 100
    n_t: int = 128
    n_waveforms: int | None = None
    extrinsic_drawn: bool = True

    @property
    def numbers_per_waveform(self) -> int:
        """Modes times polarisations times bins."""
        return 2 * self.n_m * self.n_b

    @property
    def n_pool(self) -> int:
        """Points from which extrinsic samples are drawn."""
        if not self.extrinsic_drawn:
            return 0
        return max(POOL_SIZE, POOL_POINTS_PER_SAMPLE * self.n_ext)


def incoherent_worker_bytes(size: ProblemSize) -> int:
    """Return the peak private memory of a worker of the incoherent phase [bytes]."""
    copies = 16 * _COPIED_WAVEFORMS * size.numbers_per_waveform
    return BASE_BYTES + copies + 100 * size.n_t


def extrinsic_worker_bytes(size: ProblemSize) -> int:
    """Return the peak private memory of a worker of the extrinsic phases [bytes]."""
    if not size.extrinsic_drawn:
        return BASE_BYTES
    series = 16 * size.n_d * size.n_m * _SERIES_TIMES
    waveforms = SCREEN_BATCH * (48 * size.numbers_per_waveform + series)
    points = size.n_pool * (24 * size.n_m + 12 * size.n_d + 40)
    return BASE_BYTES + max(_PROPOSAL_POINT_BYTES * MAX_PROPOSAL_POINTS, waveforms + points)


def coherent_worker_bytes(size: ProblemSize, i_blocksize: int) -> int:
    """Return the peak private memory of a worker of the coherent phase [bytes]."""
    n_i = i_blocksize if size.n_waveforms is None else min(i_blocksize, size.n_waveforms)
    per_waveform = 48 * size.numbers_per_waveform + _PROJECTION_BYTES * size.n_m
    return BASE_BYTES + n_i * per_waveform + _EXTRINSIC_BYTES * size.n_ext


def worker_bytes(size: ProblemSize, i_blocksize: int) -> int:
    """Return the largest of all phases' [bytes]."""
    return max(worker_bytes_by_phase(size, i_blocksize).values())


def worker_bytes_by_phase(size: ProblemSize, i_blocksize: int) -> dict[str, int]:
    """Return the peak private memory of a worker in each phase [bytes]."""
    extrinsic = ("proposals", "parent scores", "screening", "scout scores", "scores")
    return {
        "incoherent": incoherent_worker_bytes(size),
        **dict.fromkeys(extrinsic, extrinsic_worker_bytes(size)),
        "coherent": coherent_worker_bytes(size, i_blocksize),
    }


def parent_bytes(size: ProblemSize) -> dict[str, int]:
    """Return what the main process holds beyond :data:`PARENT_BYTES` [bytes].

    Returns
    -------
    dict
        By the parameter that it grows with. A rough figure: enough to refuse what cannot
        be.
    """
    per_shift = 64 * size.n_d * size.n_b
    return {
        "n_ext": per_shift * size.n_ext + _PARENT_POINT_BYTES * size.n_pool,
        "n_t": per_shift * size.n_t,
        "n_phi": 160 * size.n_m * size.n_phi,
        "n_phi_incoherent": 160 * size.n_m * size.n_phi_incoherent,
    }


def fit_memory(
    config: ResolvedConfig,
    size: ProblemSize,
    available: int | None = None,
    *,
    keep_sizes: bool = False,
) -> ResolvedConfig:
    """Return a configuration whose workers fit into the memory.

    The batch of the coherent phase is halved first, down to 32 waveforms; then there are
    fewer workers, at least one. What is changed is said in one log line.

    Parameters
    ----------
    config : ResolvedConfig
    size : ProblemSize
    available : int, optional
        Memory for all processes [bytes]; by default what is free now within the limits
        of control groups and batch systems.
    keep_sizes : bool
        Change the number of workers only: a resumed run keeps its batch sizes.

    Raises
    ------
    InputError
        The main process and one worker with the smallest batches need more than there is,
        or more than ``config.max_memory_gb``.
    """
    free = available_memory() if available is None else available
    smallest = config.i_blocksize
    if not keep_sizes:
        smallest = min(smallest, _SMALLEST_BATCH)
    parent = sum(parent_bytes(size).values())
    _refuse_too_little(config, size, free, parent + worker_bytes(size, smallest))

    limit = int(_SHARE * free) - parent
    if config.max_memory_gb is not None:
        limit = min(limit, int(config.max_memory_gb * 1e9) - PARENT_BYTES - parent)
    i_blocksize = config.i_blocksize
    while (
        config.n_procs * worker_bytes(size, i_blocksize) > limit and i_blocksize > smallest
    ):
        i_blocksize = max(smallest, i_blocksize // 2)
    n_procs = max(1, min(config.n_procs, limit // worker_bytes(size, i_blocksize)))
    if (n_procs, i_blocksize) == (config.n_procs, config.i_blocksize):
        return config
    logger.warning(
        "memory for %.3g GB of workers: %d waveforms per coherent batch (not %d) in %d "
        "processes (not %d)",
        max(limit, 0) / 1e9,
        i_blocksize,
        config.i_blocksize,
        n_procs,
        config.n_procs,
    )
    changed = {
        name: "memory"
        for name, value in (("n_procs", n_procs), ("i_blocksize", i_blocksize))
        if value != getattr(config, name)
    }
    return replace(
        config,
        n_procs=n_procs,
        i_blocksize=i_blocksize,
        sources={**config.sources, **changed},
    )


def refuse_too_large(config: ResolvedConfig, size: ProblemSize) -> None:
    """Refuse a problem of which not even the least part fits into the memory.

    Raises
    ------
    InputError
        As of :func:`fit_memory`.
    """
    needed = sum(parent_bytes(size).values())
    needed += worker_bytes(size, min(config.i_blocksize, _SMALLEST_BATCH))
    _refuse_too_little(config, size, available_memory(), needed)


def largest_n_ext(config: ResolvedConfig, size: ProblemSize, most: int) -> int:
    """Return how many extrinsic samples fit: ``size.n_ext``, doubled up to ``most``."""
    n_ext = size.n_ext
    while 2 * n_ext <= most:
        try:
            refuse_too_large(config, replace(size, n_ext=2 * n_ext))
        except InputError:
            break
        n_ext *= 2
    return n_ext


def _refuse_too_little(
    config: ResolvedConfig, size: ProblemSize, free: int, needed: int
) -> None:
    """Raise if not even the least that a run can do fits."""
    if needed > free:
        by_parameter = parent_bytes(size)
        name = max(by_parameter, key=lambda name: by_parameter[name])
        blamed = f"{name} is {getattr(size, name)}: " if by_parameter[name] > free else ""
        raise InputError(
            f"{blamed}with one process and the smallest batches this run needs about "
            f"{needed / 1e9:.2g} GB more memory, available are {free / 1e9:.2g} GB"
        )
    cap = config.max_memory_gb
    if cap is not None and PARENT_BYTES + needed > cap * 1e9:
        raise InputError(
            f"max_memory_gb is {cap:g}, expected at least "
            f"{(PARENT_BYTES + needed) / 1e9:.2g}: what the main process and one worker "
            "with the smallest batches need"
        )
