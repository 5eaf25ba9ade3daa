"""Products of waveforms with the data, kept, for points are evaluated again and again."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from ..kernels.extrinsic_filter import FilterData
from .tasks import Products

MAX_BYTES = 300e6
"""Of what is kept: some 5 kB for each waveform."""


class KeptProducts:
    """Products of waveforms with one :class:`.FilterData`, by their parameters.

    Waveforms of a run that was interrupted are known but for their products, which are
    made anew where they are needed: what is known, and counted, is the same with and
    without an interruption.

    Parameters
    ----------
    data : FilterData
    """

    def __init__(self, data: FilterData):
        n_d, n_m, n_p = data.dh_weights_dmpb.shape[:3]
        n_r, n_k = data.project_br.shape[1], len(data.cos_ko)
        n_bytes = n_d * n_m * n_p * n_r * np.dtype(np.complex64).itemsize
        n_bytes += n_k * n_d * 3 * np.dtype(complex).itemsize
        self._most = int(MAX_BYTES / n_bytes)
        self._kept: dict[bytes, tuple[Products, int] | None] = {}

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def has_room(self) -> bool:
        """Whether more should be kept."""
        return len(self._kept) < self._most

    def add(self, parameters_ik: np.ndarray, products: Products | None) -> None:
        """Keep products of waveforms (n, 9), if there are any; the waveforms are known."""
        for i, row in enumerate(parameters_ik):
            if products is not None:
                self._kept[row.tobytes()] = products, i
            else:
                self._kept.setdefault(row.tobytes(), None)

    def knows(self, parameters_ik: np.ndarray) -> bool:
        """Return whether products of all these waveforms were kept, lost or not."""
        return all(row.tobytes() in self._kept for row in parameters_ik)

    def of(self, parameters_ik: np.ndarray) -> Products | None:
        """Return the products of some waveforms, if those of all are at hand."""
        rows = []
        for row in parameters_ik:
            found = self._kept.get(row.tobytes())
            if found is None:
                return None
            products, i = found
            rows.append(products.rows(np.array([i])))
        return Products(
            *(
                np.concatenate([getattr(row, item.name) for row in rows])
                for item in fields(Products)
            )
        )
