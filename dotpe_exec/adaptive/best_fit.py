"""Waveforms of an exploration at the extrinsic parameters that fit them best: tasks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..executors.store import ArrayHandle
from ..kernels.coherent_dense import bestfit_lnlike
from ..kernels.extrinsic_filter import FilterData
from .tasks import LikelihoodTask, inner_products, waveform_products


@dataclass(frozen=True)
class BestFitTask:
    """Waveforms whose best extrinsic samples are wanted.

    Parameters
    ----------
    likelihood : LikelihoodTask
    response_dpe, expand_dre : ArrayHandle
        As in :class:`.FinalTask`.
    """

    likelihood: LikelihoodTask
    response_dpe: ArrayHandle
    expand_dre: ArrayHandle


@dataclass(frozen=True)
class BestFits:
    """The best of all extrinsic samples and phases for each waveform.

    Parameters
    ----------
    lnlike_i : (n_i,) float
        ln likelihoods, maximised over distance; -inf where there is no waveform.
    e_i : (n_i,) int
        Extrinsic samples.
    dt_i : (n_i,) float
        Shifts onto the reference [s].
    """

    lnlike_i: np.ndarray
    e_i: np.ndarray
    dt_i: np.ndarray


def best_fits(task: BestFitTask) -> BestFits:
    """Return the best extrinsic sample of each waveform of a task."""
    given = task.likelihood
    data: FilterData = given.filter_data.load()
    response_dpe, expand_dre = task.response_dpe.load(), task.expand_dre.load()
    made = waveform_products(given.model, given.parameters_ik, data)
    n_i = len(made.ok_i)
    found = BestFits(np.full(n_i, -np.inf), np.zeros(n_i, dtype=np.int64), made.dt_i)
    for i in np.flatnonzero(made.ok_i):
        dh_eo, hh_eo = inner_products(
            made.products_idcr[i], made.norms_ikds[i], data, response_dpe, expand_dre
        )
        lnlike_e = bestfit_lnlike(dh_eo, hh_eo).max(axis=1)
        found.e_i[i] = np.argmax(lnlike_e)
        found.lnlike_i[i] = lnlike_e[found.e_i[i]]
    return found
