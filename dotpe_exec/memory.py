"""How much memory the workers of a run need, and what to do where there is less.

What a worker holds, besides the interpreter with NumPy, numba and our kernels
(:data:`BASE_BYTES`), with N = 2 n_m n_b numbers per waveform:

* incoherent phase: single waveforms from mapped files, at most 64 copied (16 N bytes
  each), whatever the batch;
* coherent phase: of one batch the waveforms as they lie in the bank (16 N bytes) and as
  complex numbers (16 N); of the batch before, which is remembered for its other
  extrinsic blocks, the complex ones (16 N); about 8 kB per waveform and mode of
  projections of both; and about 8 kB per extrinsic sample.

Mapped files (bank and store) do not count: all processes share their pages, and the
system takes them back when memory is short.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from .config import ResolvedConfig
from .machine import available_memory

logger = logging.getLogger(__name__)

BASE_BYTES = 75_000_000
_COPIED_WAVEFORMS = 64
_PROJECTION_BYTES = 8_000
_EXTRINSIC_BYTES = 8_000
_SMALLEST_BATCH = 32
# Left for the parent, whose tables are not known before the end, and for others.
_SHARE = 0.8


@dataclass(frozen=True)
class ProblemSize:
    """What the memory of a worker depends on, besides the configuration.

    Parameters
    ----------
    n_m, n_b, n_ext : int
        Number of harmonic modes (azimuthal numbers), frequency bins and extrinsic
        samples.
    """

    n_m: int
    n_b: int
    n_ext: int

    @property
    def numbers_per_waveform(self) -> int:
        """Modes times polarisations times bins."""
        return 2 * self.n_m * self.n_b


def incoherent_worker_bytes(size: ProblemSize) -> int:
    """Return the peak private memory of a worker of the incoherent phase [bytes]."""
    return BASE_BYTES + 16 * _COPIED_WAVEFORMS * size.numbers_per_waveform


def coherent_worker_bytes(size: ProblemSize, i_blocksize: int) -> int:
    """Return the peak private memory of a worker of the coherent phase [bytes]."""
    per_waveform = 48 * size.numbers_per_waveform + _PROJECTION_BYTES * size.n_m
    return BASE_BYTES + i_blocksize * per_waveform + _EXTRINSIC_BYTES * size.n_ext


def worker_bytes(size: ProblemSize, config: ResolvedConfig) -> int:
    """Return the larger of both phases' [bytes]."""
    return max(
        incoherent_worker_bytes(size), coherent_worker_bytes(size, config.i_blocksize)
    )


def fit_memory(
    config: ResolvedConfig, size: ProblemSize, available: int | None = None
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
        of control groups, at most ``config.max_memory_gb``.
    """
    limit = available_memory() if available is None else available
    if config.max_memory_gb is not None:
        limit = min(limit, int(config.max_memory_gb * 1e9))
    limit = int(_SHARE * limit)
    fitted = config
    while (
        fitted.n_procs * worker_bytes(size, fitted) > limit
        and fitted.i_blocksize > _SMALLEST_BATCH
    ):
        half = max(_SMALLEST_BATCH, fitted.i_blocksize // 2)
        fitted = replace(fitted, i_blocksize=half)
    n_procs = max(1, min(fitted.n_procs, limit // worker_bytes(size, fitted)))
    fitted = replace(fitted, n_procs=n_procs)
    if fitted != config:
        logger.warning(
            "memory for %.3g GB of workers: %d waveforms per coherent batch (not %d) in %d "
            "processes (not %d)",
            limit / 1e9,
            fitted.i_blocksize,
            config.i_blocksize,
            fitted.n_procs,
            config.n_procs,
        )
    return fitted
