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
from .threaded_columns import ROWS_AT_A_TIME

if TYPE_CHECKING:
    import pandas as pd
    from cogwheel.posterior import Posterior

    from .extrinsic_samples import ExtrinsicSamples

EDGE_WIDTH = 0.02
"""Share of a range that counts as its edge."""

N_STRIPS = 20
"""Strips of a range in which the density of the posterior is compared."""


def reliability(
    posterior: CombinedPosterior,
    bank_tables: Mapping[str, pd.DataFrame],
    extrinsic: ExtrinsicSamples,
    cogwheel_posterior: Posterior,
    *,
    table: DistanceTable,
    size_limit: int,
    considered: Mapping[str, range | np.ndarray] | None = None,
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
        "edges": edge_shares(posterior, bank_tables, considered)
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
) -> dict[str, dict[str, Any]]:
    """Return the weight near the ends of what all banks' waveforms cover together.

    A posterior that goes on beyond a range has either much weight at its end, or is as
    dense there as elsewhere.

    Returns
    -------
    dict
        ``{name: {"value": end of the range, "share": of the weight within EDGE_WIDTH of
        the range, "density": of the weight in the last of N_STRIPS strips over that of the
        densest, "density_error": its standard deviation}}``. The upper end of the mass
        ratio is physical and not among them.
    """
    mchirps, ratios, shares = [], [], []
    for bank, shares_i in zip(posterior.banks, posterior.shares_i, strict=True):
        table = bank_tables[bank.bank_id]
        m1, m2 = np.asarray(table["m1"]), np.asarray(table["m2"])
        inds = np.asarray((considered or {}).get(bank.bank_id, range(len(m1))), np.int64)
        mchirps.append(chirp_mass(m1, m2)[inds])
        ratios.append((m2 / m1)[inds])
        shares.append(np.pad(shares_i, (0, len(m1) - len(shares_i)))[inds])
    mchirp, ratio, share = map(np.concatenate, (mchirps, ratios, shares))
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
        for end in ends:
            density, error = _edge_density(value_i, share, end)
            edges[f"{end}_{name}_edge"] = {
                "value": float(value_i.min() if end == "lower" else value_i.max()),
                "share": float(share[at[end]].sum()),
                "density": density,
                "density_error": error,
            }
    return edges


def _edge_density(
    value_i: np.ndarray, share_i: np.ndarray, end: str
) -> tuple[float, float]:
    """Return the density in the last strip over that in the densest, and its error.

    The error is that of sums over independent waveforms.
    """
    if not np.ptp(value_i) > 0:
        return 0.0, 0.0
    sums_s, _ = np.histogram(value_i, N_STRIPS, weights=share_i)
    squares_s, _ = np.histogram(value_i, N_STRIPS, weights=share_i**2)
    last, densest = 0 if end == "lower" else N_STRIPS - 1, int(np.argmax(sums_s))
    if not sums_s[last] > 0:
        return 0.0, 0.0
    density = sums_s[last] / sums_s[densest]
    relative_s = squares_s[[last, densest]] / sums_s[[last, densest]] ** 2
    return float(density), float(density * np.sqrt(relative_s.sum()))


def distance_edge_share(
    posterior: CombinedPosterior, d_luminosity_max: float
) -> dict[str, dict[str, float]]:
    """Return the weight of samples whose best distance is near the prior's largest."""
    share = 0.0
    for k, (bank, kept) in enumerate(zip(posterior.banks, posterior.kept, strict=True)):
        members = bank.coherent_set
        for start in range(0, len(kept), ROWS_AT_A_TIME):
            rows = kept[start : start + ROWS_AT_A_TIME]
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
