"""From parameters to the marginalised likelihood: the tasks of an adaptive bank.

Each generates the waveforms of a few sets of parameters and reduces them on the spot;
workers load LALSimulation for it, and cogwheel only for approximants that are its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..executors.store import ArrayHandle, BundleHandle
from ..kernels.coherent_dense import bestfit_lnlike
from ..kernels.distance import DistanceTable, lnlike_marginalized
from ..kernels.extrinsic import for_many_calls, marginalized_lnlike
from ..kernels.extrinsic_filter import (
    FilterData,
    expand_series,
    filter_products,
    mode_norms,
)
from ..kernels.importance import logsumexp
from ..kernels.incoherent import PreparedIncoherent, incoherent_lnlike
from ..kernels.waveforms import linear_free_waveforms
from ..stages.extrinsic_tasks import Pool
from ..waveforms import ModeGenerator, WaveformSet, generate_waveform_set

_LEFT_OUT = 1e-3
"""Share of the likelihood of a waveform's best point, and of a point's best phase, that
the final likelihoods may leave out."""

_NEGLIGIBLE_DROP = 20.0
"""Phases whose likelihood, maximised over distance, is so far below the best [nats] are
never drawn."""


@dataclass(frozen=True)
class WaveformModel:
    """What waveforms are made with, besides their parameters.

    Parameters
    ----------
    approximant : str
    harmonic_modes : tuple of (l, m)
    f_ref : float
        Reference frequency of the spins [Hz].
    way : str
        How waveforms are made, see :mod:`dotpe_exec.waveforms`.
    fbin : ArrayHandle
        Frequencies (n_b,) [Hz].
    """

    approximant: str
    harmonic_modes: tuple[tuple[int, int], ...]
    f_ref: float
    way: str
    fbin: ArrayHandle

    def generator(self) -> ModeGenerator:
        """Return what makes the waveforms."""
        return ModeGenerator(
            self.approximant,
            self.harmonic_modes,
            self.f_ref,
            np.array(self.fbin.load()),
            self.way,
        )


@dataclass(frozen=True)
class Waveforms:
    """Waveforms as a bank keeps them.

    Parameters
    ----------
    amplitudes_impb, phases_impb : (n_i, n_m, 2, n_b) float
        At 1 Mpc and orbital phase 0; zero where there is none.
    ok_i : (n_i,) bool
        Whether there is a waveform for the parameters.
    """

    amplitudes_impb: np.ndarray
    phases_impb: np.ndarray
    ok_i: np.ndarray


@dataclass(frozen=True)
class WaveformTask:
    """Waveforms to make, for ``parameters_ik`` (n_i, 9), columns as ``PARAMETERS``."""

    model: WaveformModel
    parameters_ik: np.ndarray


@dataclass(frozen=True)
class RoughTask:
    """Waveforms whose single-detector likelihoods are wanted; see :class:`WaveformTask`.

    ``prepared`` is a :class:`.PreparedIncoherent`.
    """

    model: WaveformModel
    parameters_ik: np.ndarray
    prepared: BundleHandle


@dataclass(frozen=True)
class Products:
    """What is left of waveforms once their products with the data are made.

    Parameters
    ----------
    products_idcr : (n_i, n_d, 2 * n_m, n_r) complex64
        :func:`.filter_products`.
    norms_ikds : (n_i, n_k, n_d, 3) complex
        :func:`.mode_norms`.
    dt_i : (n_i,) float
        Shifts onto the reference [s].
    ok_i : (n_i,) bool
        Whether there is a waveform for the parameters; zeros where there is none.
    """

    products_idcr: np.ndarray
    norms_ikds: np.ndarray
    dt_i: np.ndarray
    ok_i: np.ndarray

    @property
    def n_bytes(self) -> int:
        """How much memory they take."""
        return self.products_idcr.nbytes + self.norms_ikds.nbytes

    def rows(self, i: np.ndarray) -> Products:
        """Return some of them."""
        return Products(
            self.products_idcr[i], self.norms_ikds[i], self.dt_i[i], self.ok_i[i]
        )


@dataclass(frozen=True)
class LikelihoodTask:
    """Waveforms whose likelihoods over a set of extrinsic samples are wanted.

    Parameters
    ----------
    model, parameters_ik
        See :class:`WaveformTask`.
    filter_data, points : BundleHandle
        Of :class:`.FilterData` and, for the extrinsic samples, :class:`.Pool`.
    products : Products, optional
        Of the waveforms with the same :class:`.FilterData`, if they were kept.
    keep : bool
        Whether the products are wanted, if they have to be made.
    """

    model: WaveformModel
    parameters_ik: np.ndarray
    filter_data: BundleHandle
    points: BundleHandle
    products: Products | None = None
    keep: bool = False


@dataclass(frozen=True)
class FinalTask:
    """Waveforms of the result: likelihoods, sums over them, and draws of their samples.

    Parameters
    ----------
    likelihood : LikelihoodTask
    ln_weight_i : (n_i,) float
        ln of the waveforms' weights, less a constant that keeps sums in range.
    response_dpe : ArrayHandle
        Of the extrinsic samples.
    expand_dre : ArrayHandle
        Their arrival times in the basis of time shifts.
    table : BundleHandle
        Of a :class:`.DistanceTable`.
    uniforms_ijx : (n_i, n_j, 2) float
        Random numbers that choose extrinsic sample and phase of ``n_j`` draws.
    """

    likelihood: LikelihoodTask
    ln_weight_i: np.ndarray
    response_dpe: ArrayHandle
    expand_dre: ArrayHandle
    table: BundleHandle
    uniforms_ijx: np.ndarray


@dataclass(frozen=True)
class Likelihoods:
    """ln likelihoods (n_i,) of waveforms; -inf, and not ``ok_i``, where there is none.

    ``products`` are there if they were asked for and made.
    """

    lnlike_i: np.ndarray
    ok_i: np.ndarray
    products: Products | None = None


@dataclass(frozen=True)
class FinalResult:
    """What a batch of waveforms contributes to the result.

    Parameters
    ----------
    lnlike_i, ok_i : (n_i,)
        As :class:`Likelihoods`.
    dt_i : (n_i,) float
        Shifts onto the reference [s].
    columns_e : (n_e,) float
        Sums over the waveforms of weight times likelihood times weight of each sample.
    squares : float
        Sum of the squares of these terms.
    e_ij, o_ij : (n_i, n_j) int
        Draws from each waveform's conditional: extrinsic sample and phase.
    dh_ij, hh_ij, bestfit_ij, lnlike_ij : (n_i, n_j) float
        Their inner products at 1 Mpc, and ln likelihoods maximised and marginalised over
        distance.
    """

    lnlike_i: np.ndarray
    ok_i: np.ndarray
    dt_i: np.ndarray
    columns_e: np.ndarray
    squares: float
    e_ij: np.ndarray
    o_ij: np.ndarray
    dh_ij: np.ndarray
    hh_ij: np.ndarray
    bestfit_ij: np.ndarray
    lnlike_ij: np.ndarray


def generate(task: WaveformTask) -> Waveforms:
    """Return the waveforms of a task."""
    made = _generate(task.model, task.parameters_ik)
    return Waveforms(made.amplitudes_impb, made.phases_impb, made.ok_i)


def rough_likelihoods(task: RoughTask) -> Likelihoods:
    """Return single-detector likelihoods summed over detectors: an upper bound, nearly."""
    prepared: PreparedIncoherent = task.prepared.load()
    made = _generate(task.model, task.parameters_ik)
    lnlike_i = np.full(len(made.ok_i), -np.inf)
    if made.ok_i.any():
        lnlike_i[made.ok_i] = incoherent_lnlike(
            made.amplitudes_impb[made.ok_i], made.phases_impb[made.ok_i], prepared
        ).sum(axis=0)
    return Likelihoods(np.where(np.isnan(lnlike_i), -np.inf, lnlike_i), made.ok_i)


def likelihoods(task: LikelihoodTask) -> Likelihoods:
    """Return likelihoods marginalised over the extrinsic samples, phase and distance."""
    data: FilterData = task.filter_data.load()
    points: Pool = task.points.load()
    made = _products(task, data)
    lnlike_i = np.full(len(made.ok_i), -np.inf)
    ok = np.flatnonzero(made.ok_i)
    for i, ln_terms_q in zip(ok, _ln_terms(made.rows(ok), data, points), strict=True):
        lnlike_i[i] = logsumexp(ln_terms_q) - np.log(points.n_total)
    keep = task.keep and task.products is None
    return Likelihoods(lnlike_i, made.ok_i, made if keep else None)


def final_likelihoods(task: FinalTask) -> FinalResult:
    """Return likelihoods, and draws from the extrinsic posterior of every waveform."""
    given = task.likelihood
    data: FilterData = given.filter_data.load()
    points: Pool = given.points.load()
    table: DistanceTable = task.table.load()
    response_dpe, expand_dre = task.response_dpe.load(), task.expand_dre.load()
    made = _products(given, data)
    n_i, n_j = task.uniforms_ijx.shape[:2]
    n_e = len(points.ln_ratio_q)
    lnlike_i = np.full(n_i, -np.inf)
    columns_e, squares = np.zeros(n_e), 0.0
    e_ij, o_ij = np.zeros((2, n_i, n_j), dtype=np.int32)
    dh_ij, hh_ij, bestfit_ij, lnlike_ij = np.zeros((4, n_i, n_j))
    ok = np.flatnonzero(made.ok_i)
    terms = _ln_terms(made.rows(ok), data, points, _LEFT_OUT)
    for i, ln_terms_q in zip(ok, terms, strict=True):
        lnlike_i[i] = logsumexp(ln_terms_q) - np.log(points.n_total)
        if lnlike_i[i] == -np.inf:
            continue
        terms_e = np.exp(ln_terms_q + task.ln_weight_i[i])
        columns_e += terms_e
        squares += float(terms_e @ terms_e)
        uniforms_jx = task.uniforms_ijx[i]
        e_j = _choose(ln_terms_q[None], uniforms_jx[:, 0])
        dh_jo, hh_jo = inner_products(
            made.products_idcr[i], made.norms_ikds[i], data,
            response_dpe[:, :, e_j], expand_dre[:, :, e_j],
        )  # fmt: skip
        lnlike_jo = _phases_that_count(_within(dh_jo, hh_jo), hh_jo, table)
        o_j = _choose(lnlike_jo, uniforms_jx[:, 1])
        j = np.arange(n_j)
        e_ij[i], o_ij[i] = e_j, o_j
        dh_ij[i], hh_ij[i] = dh_jo[j, o_j], hh_jo[j, o_j]
        bestfit_ij[i] = bestfit_lnlike(dh_ij[i], hh_ij[i])
        lnlike_ij[i] = lnlike_jo[j, o_j]
    return FinalResult(
        lnlike_i, made.ok_i, made.dt_i, columns_e, squares,
        e_ij, o_ij, dh_ij, hh_ij, bestfit_ij, lnlike_ij,
    )  # fmt: skip


def _generate(model: WaveformModel, parameters_ik: np.ndarray) -> WaveformSet:
    return generate_waveform_set(model.generator(), parameters_ik)


def _products(task: LikelihoodTask, data: FilterData) -> Products:
    """Return the products of a task's waveforms: those given, or made anew."""
    if task.products is not None:
        return task.products
    return waveform_products(task.model, task.parameters_ik, data)


def waveform_products(
    model: WaveformModel, parameters_ik: np.ndarray, data: FilterData
) -> Products:
    """Generate waveforms and reduce them to their products with the data."""
    made = _generate(model, parameters_ik)
    n_i, n_m = len(made.ok_i), len(data.m_arr)
    n_d, n_r = len(data.dh_weights_dmpb), data.project_br.shape[1]
    products = Products(
        np.zeros((n_i, n_d, 2 * n_m, n_r), dtype=np.complex64),
        np.zeros((n_i, len(data.cos_ko), n_d, 3), dtype=complex),
        np.zeros(n_i),
        made.ok_i,
    )
    ok = np.flatnonzero(made.ok_i)
    if len(ok):
        h_impb, products.dt_i[ok] = linear_free_waveforms(
            made.amplitudes_impb[ok], made.phases_impb[ok], data.line_fit
        )
        products.products_idcr[ok] = filter_products(h_impb, data)
        products.norms_ikds[ok] = mode_norms(h_impb, data)
    return products


def _ln_terms(
    made: Products, data: FilterData, points: Pool, left_out: float | None = None
) -> Iterator[np.ndarray]:
    """Yield ln of weight times likelihood at each point, (n_q,), of each waveform."""
    series_idtc = expand_series(made.products_idcr, data, points.first_d, points.n_t)
    shares = (
        {} if left_out is None else {"negligible": left_out, "negligible_phases": left_out}
    )
    data = for_many_calls(data)
    # Copies: arrays of the store are read-only.
    times_qd, response_qdp = np.array(points.times_qd), np.array(points.response_qdp)
    ln_ratio_q = np.array(points.ln_ratio_q)
    for series_dtc, norms_kds in zip(series_idtc, made.norms_ikds, strict=True):
        yield ln_ratio_q + marginalized_lnlike(
            series_dtc, norms_kds, times_qd, response_qdp, ln_ratio_q, data, **shares
        )


def inner_products(
    products_dcr: np.ndarray,
    norms_kds: np.ndarray,
    data: FilterData,
    response_dpj: np.ndarray,
    expand_drj: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (d|h) and (h|h) of a waveform, (n_j, n_phi) each.

    At the very arrival times, not interpolated between those of the time series.
    """
    n_d, n_j = len(expand_drj), expand_drj.shape[2]
    dh_dmpj = np.matmul(products_dcr, expand_drj).reshape(n_d, -1, 2, n_j)
    dh_jm = np.einsum("dmpj,dpj->jm", dh_dmpj, response_dpj)
    plus_dj, cross_dj = response_dpj[:, 0], response_dpj[:, 1]
    squares_dsj = np.stack([plus_dj**2, plus_dj * cross_dj, cross_dj**2], axis=1)
    hh_jk = np.einsum("kds,dsj->jk", norms_kds, squares_dsj)
    phasor_ko = data.cos_ko + 1j * data.sin_ko
    dh_jo = (dh_jm @ phasor_ko[np.asarray(data.m_arr)].conj()).real
    return dh_jo, (hh_jk @ phasor_ko).real


def _phases_that_count(
    dh_jo: np.ndarray, hh_jo: np.ndarray, table: DistanceTable
) -> np.ndarray:
    """Return ln likelihoods marginalised over distance, -inf at negligible phases."""
    bestfit_jo = bestfit_lnlike(dh_jo, hh_jo)
    counts_jo = bestfit_jo > bestfit_jo.max(axis=1, keepdims=True) - _NEGLIGIBLE_DROP
    lnlike_jo = np.full(dh_jo.shape, -np.inf)
    lnlike_jo[counts_jo] = lnlike_marginalized(dh_jo[counts_jo], hh_jo[counts_jo], table)
    return lnlike_jo


def _within(dh: np.ndarray, hh: np.ndarray) -> np.ndarray:
    """Return (d|h), not below where the table of distances ends: ten sigma."""
    return np.maximum(dh, -10 * np.sqrt(np.maximum(hh, 0.0)))


def _choose(ln_terms_jq: np.ndarray, uniform_j: np.ndarray) -> np.ndarray:
    """Return indices drawn by exp(ln_terms), one for each row or uniform number."""
    terms_jq = np.exp(ln_terms_jq - ln_terms_jq.max(axis=1, keepdims=True))
    cumulative_jq = np.cumsum(terms_jq, axis=1)
    marks_j = uniform_j * cumulative_jq[:, -1]
    return np.minimum(
        (cumulative_jq <= marks_j[:, None]).sum(axis=1), terms_jq.shape[1] - 1
    )
