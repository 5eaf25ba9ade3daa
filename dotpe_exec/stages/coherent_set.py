"""What the coherent stage hands on, and how it is merged from the results of tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..banks.waveforms import WaveformBatch
from ..kernels.coherent_pairs import expand_pairs
from .accepted_set import AcceptedSet
from .coherent_tasks import EXPANDED, CoherentResult
from .discarded_probes import PROBES_PER_WAVEFORM, probe_points
from .threaded_columns import for_ranges

if TYPE_CHECKING:
    from .selection import Survivors


@dataclass(frozen=True)
class Probes:
    """Samples fixed beforehand, to estimate the evidence in what is discarded.

    ``n_e * n_phi / PROBES_PER_WAVEFORM`` samples stand behind each.

    Parameters
    ----------
    i, e, o : (n,) int
        Bank index, extrinsic sample, orbital phase;
        :data:`~dotpe_exec.stages.discarded_probes.PROBES_PER_WAVEFORM` for each survivor.
    d_h, h_h : (n,) float
        Inner products at 1 Mpc.
    inside : (n,) bool
        Whether the sample belongs to the accepted set.
    """

    i: np.ndarray
    e: np.ndarray
    o: np.ndarray
    d_h: np.ndarray
    h_h: np.ndarray
    inside: np.ndarray


@dataclass(frozen=True)
class CoherentSet:
    """The accepted set of one bank, ascending in bestfit_lnlike, then in i, e, o.

    Parameters
    ----------
    i, e, o : (n,) int64, int32, int32
        Index in the bank, extrinsic sample, orbital phase.
    d_h, h_h : (n,) float
        Inner products at 1 Mpc.
    bestfit_lnlike : (n,) float
        0.5 d_h^2 / h_h, or 0 where d_h or h_h is not positive.
    inds : (n_i,) int
        The survivors' indices in the bank.
    dt_linfree : (n_i,) float
        Their shifts onto the reference [s].
    probes : Probes
    n_evaluated : int
        Pairs (i, e) that were evaluated in full. Depends on what was pruned when, so it
        may differ between runs with the same results.
    """

    i: np.ndarray
    e: np.ndarray
    o: np.ndarray
    d_h: np.ndarray
    h_h: np.ndarray
    bestfit_lnlike: np.ndarray
    inds: np.ndarray
    dt_linfree: np.ndarray
    probes: Probes
    n_evaluated: int


class Collector:
    """Merges the results of one bank's tasks."""

    def __init__(
        self,
        bank_id: str,
        survivors: Survivors,
        accepted: AcceptedSet,
        n_e: int,
        n_phi: int,
        seed: int,
    ):
        self.bank_id = bank_id
        self.inds = np.asarray(survivors.inds, dtype=np.int64)
        self.accepted = accepted
        self.n_e, self.n_phi, self.seed = n_e, n_phi, seed
        self.dt_i = np.full(len(self.inds), np.nan)
        self.probe_values_ikc = np.full((len(self.inds), PROBES_PER_WAVEFORM, 3), np.nan)
        self.n_evaluated = 0

    def take(
        self, batch: WaveformBatch, result: CoherentResult, phases_cno: np.ndarray
    ) -> None:
        """Merge the result of one task."""
        samples, pairs, probes = result.samples, result.pairs, result.probes
        self.dt_i[batch.start : batch.stop] = result.dt_i
        self.probe_values_ikc[batch.start + probes.i_p, probes.k_p] = np.stack(
            (probes.dh_p, probes.hh_p, probes.lnlike_p), axis=-1
        )
        self.n_evaluated += pairs.n_evaluated
        inds = self.inds[batch.start : batch.stop]
        code_s = self._code(inds[samples.i_s], samples.e_s, samples.o_s)
        self.accepted.add(samples.lnlike_s, code_s, samples.dh_s, samples.hh_s)
        step = max(EXPANDED // self.n_phi, 1)
        for start in range(0, len(pairs.i_p), step):
            part = slice(start, start + step)
            floor = self.accepted.floor
            use = np.flatnonzero(pairs.maxima_p[part] > floor) + start
            pair_s, o_s, dh_s, hh_s, lnlike_s = expand_pairs(
                pairs.dh_pmc[use], pairs.hh_pr[use], phases_cno, floor
            )
            pair_s = use[pair_s]
            code_s = self._code(inds[pairs.i_p[pair_s]], pairs.e_p[pair_s], o_s)
            self.accepted.add(lnlike_s, code_s, dh_s, hh_s)

    def finish(self, n_threads: int = 1) -> CoherentSet:
        """Return the bank's accepted set and probes."""
        lnlike_s, code_s, dh_s, hh_s = self.accepted.finish(n_threads)
        probes = self._probes(lnlike_s, code_s)
        i_s = np.empty(len(code_s), dtype=np.int64)
        e_s, o_s = np.empty((2, len(code_s)), dtype=np.int32)

        def decode(some: slice) -> None:
            # Not np.divmod, which takes four times as long.
            code = code_s[some]
            rest, i_s[some] = code // self.n_phi, code // (self.n_phi * self.n_e)
            o_s[some], e_s[some] = code - rest * self.n_phi, rest - i_s[some] * self.n_e

        for_ranges(decode, len(code_s), n_threads)
        return CoherentSet(
            i=i_s,
            e=e_s,
            o=o_s,
            d_h=dh_s,
            h_h=hh_s,
            bestfit_lnlike=lnlike_s,
            inds=self.inds,
            dt_linfree=self.dt_i,
            probes=probes,
            n_evaluated=self.n_evaluated,
        )

    def _code(self, i: np.ndarray, e: np.ndarray, o: np.ndarray) -> np.ndarray:
        """Return one number per (i, e, o), in their order."""
        return (i * self.n_e + e) * self.n_phi + o

    def _probes(self, lnlike_s: np.ndarray, code_s: np.ndarray) -> Probes:
        e_ik, o_ik = probe_points(self.seed, self.bank_id, self.inds, self.n_e, self.n_phi)
        i_ik = np.repeat(self.inds[:, None], PROBES_PER_WAVEFORM, axis=1)
        dh_ik, hh_ik, lnlike_ik = np.moveaxis(self.probe_values_ikc, -1, 0)
        inside_ik = np.zeros(lnlike_ik.shape, dtype=bool)
        if len(lnlike_s):
            # The set is the top of the order (lnlike, then code): only at its lowest
            # lnlike does it matter which.
            lowest = code_s[: np.searchsorted(lnlike_s, lnlike_s[0], side="right")]
            tied_ik = (lnlike_ik == lnlike_s[0]) & np.isin(
                self._code(i_ik, e_ik, o_ik), lowest
            )
            inside_ik = (lnlike_ik > lnlike_s[0]) | tied_ik
        return Probes(
            i_ik.ravel(), e_ik.ravel(), o_ik.ravel(), dh_ik.ravel(), hh_ik.ravel(),
            inside_ik.ravel(),
        )  # fmt: skip
