"""Numbers that say how far to trust a posterior; :mod:`dotpe_exec.verdict` judges them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels.distance import DistanceTable
from ..kernels.masses import chirp_mass
from ..kernels.pareto import pareto_k
from .results import CombinedPosterior
from .sample_rows import weights

if TYPE_CHECKING:
    import pandas as pd
    from cogwheel.posterior import Posterior

    from .extrinsic_samples import ExtrinsicSamples

EDGE_WIDTH = 0.02
"""Share of a range that counts as its edge."""

PRIOR_LIKE = 2.0
"""Factor between the shares of a posterior and of its prior at an edge, for them to be
called alike."""


def reliability(
    posterior: CombinedPosterior,
    bank_tables: Mapping[str, pd.DataFrame],
    extrinsic: ExtrinsicSamples,
    cogwheel_posterior: Posterior,
    *,
    table: DistanceTable,
    size_limit: int,
    considered: Mapping[str, range | np.ndarray] | None = None,
    log_prior_weights: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Return what the summary says beyond evidence and effective numbers.

    Parameters
    ----------
    posterior : CombinedPosterior
    bank_tables : mapping
        Intrinsic parameters by bank id, one row per waveform.
    extrinsic : ExtrinsicSamples
    cogwheel_posterior : cogwheel.posterior.Posterior
        Holds the reference waveform and its likelihood.
    table : DistanceTable
    size_limit : int
    considered : mapping, optional
        Indices of the waveforms that were considered at all, by bank id; default: all.
    log_prior_weights : mapping, optional
        Of every waveform, by bank id; default: all equal.

    Returns
    -------
    dict
        ``pareto_k`` and ``largest_waveform_share`` of the waveforms' weights; ``edges``
        (see :func:`edge_shares`); ``size_limit_reached``; ``reference_bestfit_lnlike``;
        ``n_proposals``, ``n_proposals_tried``.
    """
    shares = np.concatenate([np.empty(0), *posterior.shares_i])
    sizes = [len(bank) for bank in posterior.banks]
    return {
        "pareto_k": pareto_k(shares, posterior.n_int),
        "largest_waveform_share": float(shares.max(initial=0.0)),
        "edges": edge_shares(posterior, bank_tables, considered, log_prior_weights)
        | distance_edge_share(posterior, table.d_luminosity_max),
        "size_limit_reached": max([*sizes, sum(sizes)]) >= size_limit,
        "reference_bestfit_lnlike": bestfit_lnlike(
            cogwheel_posterior.likelihood, cogwheel_posterior.likelihood.par_dic_0
        ),
        "n_proposals": extrinsic.n_proposals,
        "n_proposals_tried": extrinsic.n_proposals_tried,
    }


def edge_shares(
    posterior: CombinedPosterior,
    bank_tables: Mapping[str, pd.DataFrame],
    considered: Mapping[str, range | np.ndarray] | None = None,
    log_prior_weights: Mapping[str, np.ndarray] | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the weight near the ends of what all banks' waveforms cover together.

    Returns
    -------
    dict
        ``{name: {"value": end of the range, "share": of the weight, "prior_share": of the
        prior, "prior_like": bool}}``, the shares within :data:`EDGE_WIDTH` of the range.
        The upper end of the mass ratio is physical and not among them. A posterior is
        prior-like if at both ends of the chirp masses its share is the prior's within a
        factor of :data:`PRIOR_LIKE`, and at the lowest mass ratio not above the prior's by
        that factor.
    """
    mchirps, ratios, shares, priors = [], [], [], []
    for bank, shares_i in zip(posterior.banks, posterior.shares_i, strict=True):
        table = bank_tables[bank.bank_id]
        m1, m2 = np.asarray(table["m1"]), np.asarray(table["m2"])
        inds = np.asarray((considered or {}).get(bank.bank_id, range(len(m1))), np.int64)
        mchirps.append(chirp_mass(m1, m2)[inds])
        ratios.append((m2 / m1)[inds])
        shares.append(np.pad(shares_i, (0, len(m1) - len(shares_i)))[inds])
        ln_prior = (log_prior_weights or {}).get(bank.bank_id, np.zeros(len(m1)))[inds]
        priors.append(np.exp(ln_prior) / bank.n_int)
    mchirp, ratio, share, prior = map(np.concatenate, (mchirps, ratios, shares, priors))
    prior /= prior.sum() or 1.0
    edges = {}
    for name, value_i, ends in (
        ("mchirp", mchirp, ("lower", "upper")),
        ("q", ratio, ("lower",)),
    ):
        margin = EDGE_WIDTH * np.ptp(value_i)
        at = {
            "lower": value_i < value_i.min() + margin,
            "upper": value_i > value_i.max() - margin,
        }
        share_at = {end: float(share[rows].sum()) for end, rows in at.items()}
        prior_at = {end: float(prior[rows].sum()) for end, rows in at.items()}
        no_more = all(share_at[end] <= PRIOR_LIKE * prior_at[end] for end in ends)
        # A mass ratio is hardly measured, and less weight than the prior's is no sign that
        # the posterior goes on; at one end of the chirp masses it is if the other is empty.
        no_less = name == "q" or all(
            prior_at[end] <= PRIOR_LIKE * share_at[end] for end in ends
        )
        prior_like = no_more and no_less
        for end in ends:
            edges[f"{end}_{name}_edge"] = {
                "value": float(value_i.min() if end == "lower" else value_i.max()),
                "share": share_at[end],
                "prior_share": prior_at[end],
                "prior_like": prior_like,
            }
    return edges


def distance_edge_share(
    posterior: CombinedPosterior, d_luminosity_max: float
) -> dict[str, dict[str, float]]:
    """Return the weight of samples whose best distance is near the prior's largest."""
    share = 0.0
    for k, (bank, rows) in enumerate(zip(posterior.banks, posterior.kept, strict=True)):
        members = bank.coherent_set
        d_h, h_h = members.d_h[rows], members.h_h[rows]
        far = rows[h_h > (1 - EDGE_WIDTH) * d_luminosity_max * np.maximum(d_h, 0.0)]
        share += float(weights(posterior, k, far).sum())
    return {"upper_distance_edge": {"value": float(d_luminosity_max), "share": share}}


def bestfit_lnlike(likelihood: Any, par_dic: Mapping[str, float]) -> float:
    """Return the ln likelihood of a waveform at the distance that fits best.

    ln L = dh / d - hh / (2 d^2) at two distances gives dh and hh.
    """
    at_d, at_2d = (
        float(likelihood.lnlike(dict(par_dic) | {"d_luminosity": d}))
        for d in (par_dic["d_luminosity"], 2 * par_dic["d_luminosity"])
    )
    d_h = 4 * at_2d - at_d
    h_h = 2 * (d_h - at_d)
    return 0.5 * d_h**2 / h_h if d_h > 0 and h_h > 0 else 0.0
