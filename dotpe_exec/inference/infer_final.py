"""The final likelihoods of a run without a bank."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..adaptive.draws import Produced
from ..adaptive.likelihood import EventLikelihood
from ..adaptive.results import carrying, evidence_sums, thin
from ..adaptive.tasks import FinalResult
from ..errors import SelectionError
from ..kernels.importance import logsumexp
from ..kernels.weights import effective_number_of_ln
from ..seeds import generator
from ..stages.evidence import evidence_error
from ..stages.extrinsic import ExtrinsicSamples
from .infer_arguments import InferArguments

N_DRAWS = 4
"""Samples of extrinsic parameters and phase drawn from each waveform's conditional."""

LEFT_OUT = 5e-4
"""Share of the evidence, by the exploring likelihoods, of waveforms whose final likelihood
is not computed."""


N_EXT, N_EXT_MOST = 1024, 8192
"""Extrinsic samples to begin with, and at most, unless ``n_ext`` says how many."""

AIM = 0.02
"""What they may contribute to the error of ln evidence, where no ``n_ext`` is given: with
as much from the waveforms the error is below 0.03."""


def final_likelihoods(
    arguments: InferArguments,
    produced: Produced,
    likelihood: EventLikelihood,
    *,
    n_ext: int,
    n_ext_most: int,
    say: Callable[[str], None],
) -> Final:
    """Compute final likelihoods with as many extrinsic samples as they take.

    Where ``n_ext`` of them contribute more than ``AIM`` to the error of ln evidence, more
    are drawn: not added to those that are there, whose error decided about it, but all
    afresh.

    Parameters
    ----------
    arguments, produced, likelihood
        As for :class:`Final`.
    n_ext, n_ext_most : int
        Extrinsic samples to begin with, and at most.
    say : callable
        Is told when more are drawn.
    """
    while True:
        final = Final(arguments, produced, likelihood, n_ext)
        if n_ext >= n_ext_most:
            return final
        error = final.extrinsic_error()
        if not error > AIM:
            return final
        # The error falls as the root of their number.
        wanted = n_ext * min((error / AIM) ** 2, n_ext_most / n_ext)
        n_ext = min(n_ext_most, 2 ** int(np.ceil(np.log2(max(wanted, n_ext + 1)))))
        say(
            f"the extrinsic samples contribute {error:.3f} to the error of ln Z: "
            f"{n_ext} are drawn afresh"
        )


class Final:
    """The final likelihoods of all waveforms that carry weight.

    Waveforms that could not be generated, or that the prior excludes, are left out of the
    bank, and the weights of the others lowered by ln of the fraction that is left: they
    count as likelihood zero.
    """

    def __init__(
        self,
        arguments: InferArguments,
        produced: Produced,
        likelihood: EventLikelihood,
        n_ext: int,
    ):
        self.valid = np.flatnonzero(~produced.failed_i & (produced.ln_ratio_i > -np.inf))
        self.n_int = len(self.valid)
        self.log_prior_weights = produced.ln_ratio_i[self.valid] + np.log(
            self.n_int / len(produced)
        )
        self.explored = produced.lnlike_i[self.valid]
        contributions = self.explored + self.log_prior_weights
        if not np.max(contributions, initial=-np.inf) > -np.inf:
            raise SelectionError(
                f"none of the {len(produced)} waveforms drawn for the result has any "
                "likelihood; give a larger max_waveforms"
            )
        carriers = carrying(contributions, LEFT_OUT)
        others = np.ones(self.n_int, dtype=bool)
        others[carriers] = False
        self.ln_discarded = logsumexp(contributions[others])
        assert arguments.seed is not None
        rng = generator(arguments.seed, "explorer", "thin", len(produced))
        kept, ln_stand_in = thin(contributions[carriers], rng)
        self.inds = carriers[kept]
        self.ln_weight_i = self.log_prior_weights[self.inds] + ln_stand_in
        self.extrinsic: ExtrinsicSamples
        self.result: FinalResult
        self.extrinsic, self.result, self.ln_scale = likelihood.final(
            produced.z_ik[self.valid[self.inds]],
            self.explored[self.inds],
            self.ln_weight_i,
            n_ext=n_ext,
            n_draws=N_DRAWS,
        )
        self.n_effective = effective_number_of_ln(self.ln_contributions())

    def extrinsic_error(self) -> float:
        """Return what the extrinsic samples contribute to the error of ln evidence."""
        sums = evidence_sums(
            self.result,
            ln_weight_i=self.ln_weight_i,
            ln_scale=self.ln_scale,
            n_int=self.n_int,
        )
        error = evidence_error(sums, self.extrinsic.expected_counts_e)
        return np.inf if error is None else error.extrinsic

    def ln_contributions(self) -> np.ndarray:
        """Return ln of weight times likelihood of all waveforms, (n_int,)."""
        ln_i = np.full(self.n_int, -np.inf)
        ln_i[self.inds] = self.ln_weight_i + self.result.lnlike_i
        return ln_i

    def information(self) -> float:
        """Return the Kullback-Leibler divergence of posterior from prior [nats]."""
        ln_i = self.ln_contributions()[self.inds]
        total = logsumexp(ln_i)
        share_i = np.exp(ln_i - total)
        ln_evidence = total - np.log(self.n_int)
        used = share_i > 0
        return float(share_i[used] @ (self.result.lnlike_i[used] - ln_evidence))
