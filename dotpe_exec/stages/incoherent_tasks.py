"""The task of the incoherent stage: single-detector likelihoods of one batch of waveforms.

Its workers load NumPy, numba and the kernels, and nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..banks.waveforms import WaveformBatch, nonfinite_message, waveform_digests
from ..errors import NonFiniteError
from ..executors.store import BundleHandle
from ..kernels.incoherent import incoherent_lnlike

# Waveforms that are read at a time: they fit into the processor's cache, where digests
# and kernel find them, and bound a worker's memory whatever the batch size.
_N_READ = 64


@dataclass(frozen=True)
class IncoherentTask:
    """One batch of waveforms.

    Parameters
    ----------
    batch : WaveformBatch
    prepared : BundleHandle
        Of a PreparedIncoherent.
    """

    batch: WaveformBatch
    prepared: BundleHandle


@dataclass(frozen=True)
class IncoherentResult:
    """What one task found.

    Parameters
    ----------
    lnlikes_di : (n_d, n_i) float
        Single-detector likelihoods.
    digests_i : (n_i,) uint64
        Of the waveforms that were read; empty where they were compared with the bank's.
    """

    lnlikes_di: np.ndarray
    digests_i: np.ndarray


def incoherent_task(task: IncoherentTask) -> IncoherentResult:
    """Compute the likelihoods of one batch.

    Raises
    ------
    NonFiniteError
    """
    prepared = task.prepared.load()
    bank = task.batch.bank
    _read_ahead(task.batch)
    parts, digests = [], [np.empty(0, dtype=np.uint64)]
    for part in _small_parts(task.batch):
        amplitudes_impb, phases_impb = part.read()
        if not bank.digests:
            digests.append(waveform_digests(amplitudes_impb, phases_impb))
        parts.append(incoherent_lnlike(amplitudes_impb, phases_impb, prepared))
    lnlikes_di = np.concatenate(parts, axis=1)
    bad_i = ~np.isfinite(lnlikes_di).all(axis=0)
    if bad_i.any():
        raise NonFiniteError(nonfinite_message(bank, task.batch.indices(), bad_i))
    return IncoherentResult(lnlikes_di, np.concatenate(digests))


def _read_ahead(batch: WaveformBatch) -> None:
    if batch.inds is not None:
        return
    blocksize, start = batch.bank.blocksize, batch.start
    while start < batch.stop:
        stop = min(start - start % blocksize + blocksize, batch.stop)
        batch.bank.read_ahead(start, stop)
        start = stop


def _small_parts(batch: WaveformBatch) -> Iterator[WaveformBatch]:
    """Yield a batch a few waveforms at a time.

    The parts do not enter the results: a waveform's likelihoods do not depend on the
    others that are computed with it.
    """
    for start in range(batch.start, batch.stop, _N_READ):
        yield dataclasses.replace(batch, start=start, stop=min(start + _N_READ, batch.stop))
