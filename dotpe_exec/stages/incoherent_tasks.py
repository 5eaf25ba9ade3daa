"""The task of the incoherent stage: single-detector likelihoods of one batch of waveforms.

Its workers load NumPy, numba and the kernels, and nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..banks.format import WaveformBatch, nonfinite_message
from ..banks.readahead import read_ahead
from ..errors import NonFiniteError
from ..executors.store import BundleHandle
from ..kernels.incoherent import incoherent_lnlike

# Waveforms that are copied at a time where they do not lie in a row in one file: bounds
# a worker's memory whatever the batch size.
_N_COPIED = 64


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
    """Single-detector likelihoods of a batch, (n_d, n_i)."""

    lnlikes_di: np.ndarray


def incoherent_task(task: IncoherentTask) -> IncoherentResult:
    """Compute the likelihoods of one batch.

    Raises
    ------
    NonFiniteError
    """
    prepared = task.prepared.load()
    parts = []
    for part in _in_one_file(task.batch):
        amplitudes_impb, phases_impb = part.read()
        read_ahead(amplitudes_impb)
        read_ahead(phases_impb)
        parts.append(incoherent_lnlike(amplitudes_impb, phases_impb, prepared))
    lnlikes_di = np.concatenate(parts, axis=1)
    bad_i = ~np.isfinite(lnlikes_di).all(axis=0)
    if bad_i.any():
        raise NonFiniteError(
            nonfinite_message(task.batch.bank, task.batch.indices(), bad_i)
        )
    return IncoherentResult(lnlikes_di)


def _in_one_file(batch: WaveformBatch) -> Iterator[WaveformBatch]:
    """Yield parts of a batch that can be read without a copy, or are small.

    The parts do not enter the results: a waveform's likelihoods do not depend on the
    others that are computed with it.
    """
    start = batch.start
    while start < batch.stop:
        if batch.inds is None:
            in_file = batch.bank.blocksize - start % batch.bank.blocksize
            stop = min(start + in_file, batch.stop)
        else:
            stop = min(start + _N_COPIED, batch.stop)
        yield dataclasses.replace(batch, start=start, stop=stop)
        start = stop
