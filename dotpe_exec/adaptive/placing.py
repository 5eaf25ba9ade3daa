"""Extrinsic samples in the form that tasks take, and matched filters around their times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..executors.store import ArrayStore
from ..executors.threads import OneThread
from ..kernels.distance import DistanceTable
from ..kernels.extrinsic import N_TAPS
from ..kernels.extrinsic_filter import FilterData, prepare_filter
from ..stages.extrinsic import ExtrinsicSamples
from ..stages.extrinsic_samples import arrival_times
from ..stages.extrinsic_tasks import Pool

if TYPE_CHECKING:
    from ..stages.reference import Reference

F_SAMPLING = 8192.0
"""Of the matched-filter series between which arrival times are interpolated [Hz]."""

_MARGIN_BINS = 2 * N_TAPS

ROOM_SHARE, ROOM = 0.25, 2e-3
"""How far the time grid extends beyond the arrival times of the samples on both sides: so
many times their range, and seconds. The final samples, drawn afresh, are to lie in it."""


@dataclass(frozen=True)
class Filter:
    """Matched filters on a time grid, and their handle.

    ``n_t`` times from ``t_start`` [s], in steps of 1 / ``F_SAMPLING``.
    """

    data: FilterData
    handle: Any
    t_start: float
    n_t: int

    def bins(self, arrival_ed: np.ndarray) -> np.ndarray:
        """Return arrival times in bins of the grid."""
        return (arrival_ed - self.t_start) * F_SAMPLING

    def covers(self, arrival_ed: np.ndarray) -> bool:
        """Return whether all arrival times are well within the grid."""
        bins_ed = self.bins(arrival_ed)
        least, most = float(bins_ed.min()), float(bins_ed.max())
        return least >= _MARGIN_BINS and most <= self.n_t - 1 - _MARGIN_BINS


@dataclass(frozen=True)
class Placed:
    """Extrinsic samples, and what tasks need of them.

    ``points`` is the handle of a :class:`.Pool`, ``expand_dre`` are the samples' arrival
    times in the filter's basis of time shifts.
    """

    samples: ExtrinsicSamples
    filter: Filter
    points: Any
    expand_dre: np.ndarray


class Placing:
    """Makes :class:`Placed` of extrinsic samples.

    Parameters
    ----------
    reference : Reference
    event_data : cogwheel.data.EventData
    table : DistanceTable
    store : ArrayStore
    n_phi : int
        Orbital phases.
    """

    def __init__(
        self,
        reference: Reference,
        event_data: Any,
        table: DistanceTable,
        store: ArrayStore,
        n_phi: int,
    ):
        self.reference = reference
        self.event_data = event_data
        self.table = table
        self.store = store
        self.n_phi = n_phi

    def place(self, samples: ExtrinsicSamples, before: Placed | None) -> Placed:
        """Return what tasks need for samples; the filter of ``before`` if it serves."""
        arrival_ed = arrival_times(samples.table, self.event_data.detector_names)
        used = None if before is None else before.filter
        if used is None or not used.covers(arrival_ed):
            used = self._filter(arrival_ed)
        bins_ed = used.bins(arrival_ed)
        first_d = np.floor(bins_ed.min(axis=0)).astype(np.int64) - N_TAPS
        n_t = int(np.ceil(np.max(bins_ed - first_d))) + N_TAPS
        first_d = np.minimum(first_d, used.n_t - n_t)
        points = Pool(
            times_qd=(bins_ed - first_d).astype(np.float32),
            response_qdp=np.ascontiguousarray(
                np.moveaxis(samples.response_dpe, -1, 0), dtype=np.float32
            ),
            ln_ratio_q=samples.table["log_prior_weights"].to_numpy(float),
            first_d=first_d,
            n_t=n_t,
            n_total=len(arrival_ed),
        )
        # As shifts from the beginning of the grid.
        data = used.data
        with OneThread():
            expand_dre = np.matmul(
                data.collect_rb * data.start_b.conj(), samples.timeshift_dbe.conj()
            )
        return Placed(samples, used, self.store.put(points), expand_dre)

    def _filter(self, arrival_ed: np.ndarray) -> Filter:
        """Return matched filters on a grid around arrival times."""
        summary = self.reference.summary
        dt = 1 / F_SAMPLING
        first, last = float(arrival_ed.min()), float(arrival_ed.max())
        room = _MARGIN_BINS * dt + ROOM + ROOM_SHARE * (last - first)
        t_start = first - room
        n_t = int(np.ceil((last + room - t_start) / dt)) + 1
        typical_b = np.abs(summary.dh_weights_dmpb).sum(axis=(0, 1, 2))
        with OneThread():
            data = prepare_filter(
                summary,
                typical_b * np.abs(summary.line_fit.h2plus0_b),
                self.table,
                t_start=t_start,
                dt=dt,
                n_t=n_t,
                tcoarse=float(self.event_data.tcoarse),
                n_phi=self.n_phi,
            )
        return Filter(data, self.store.put(data), t_start, n_t)
