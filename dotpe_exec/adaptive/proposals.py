"""What a round of an exploration is drawn from, fitted to all points so far.

A mixture of Gaussians after curvature is taken off, the same with wider components and as
seen in a mirror, mixtures fitted to the likelihood to lower powers, straightened and not,
and the prior itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..kernels.draws import systematic_draw
from ..kernels.mixture import combine, fit_mixture, standard_normal
from ..kernels.shear import ShearedMixture, fit_shear
from ..kernels.weights import bounded_effective_number, effective_number_of_ln
from .draws import Density, Draws, Prior, mirrored

COMPONENTS_PER_ROOT, MAX_COMPONENTS = 0.4, 32
"""Components of a mixture: so many times the square root of the points that count."""

MIRRORED_SHARE, PRIOR_SHARE = 0.04, 0.02
"""Of a round's points, what is drawn from the fitted mixture as seen in mirrors (where a
few per cent of the posterior may be that no point has met), and from the prior."""

TEMPERED = ((0.5, 0.12, True), (0.5, 0.08, False), (0.3, 0.06, True), (0.3, 0.04, False))
"""Powers of the likelihood, for what share of a round's points a mixture is fitted to it,
and whether curvature is taken off before. The mixture fitted to the whole has tails that
are much too light: single points in them would decide. Of five finished explorations, the
efficiency of a mixture fitted to half of the points, on the other half, was 1 to 6% with
the first power alone where it went worst, and 2 to 28% with both. Where points scatter
widely, polynomials may lead astray: with all four instead of two with curvature off, the
efficiency of three explorations was 5.7 and 13.5% instead of 3.7 and 9.6% in one, and the
same within a twentieth in the others."""

WIDTHS = ((1.0, 0.35), (1.4, 0.25), (2.5, 0.04))
"""How much wider than fitted the mixture's components are, and for what share of a round's
points. Shares are not critical: in eight explorations that had learnt, 3.8% of the
posterior, as other runs had found it, had weights above e^4 times the mean, and 4.5% with
0.57 of the points from components as wide as fitted, at the same efficiency (by a script
that is not kept)."""


@dataclass(frozen=True)
class Mirrored:
    """A density with the signs of some coordinates changed.

    Parameters
    ----------
    density : Density
    coordinates : tuple of int
    """

    density: Density
    coordinates: tuple[int, ...]

    def ln_density(self, z_ik: np.ndarray) -> np.ndarray:
        """Return ln of the density, (n,)."""
        return self.density.ln_density(mirrored(z_ik, self.coordinates))

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``n`` draws, (n, n_dim)."""
        return mirrored(self.density.draw(n, rng), self.coordinates)


@dataclass(frozen=True)
class MixedProposal:
    """A mixture of densities.

    Parameters
    ----------
    parts : sequence of (float, Density)
        Each with its share; they sum to one.
    """

    parts: Sequence[tuple[float, Density]]

    def ln_density(self, z_ik: np.ndarray) -> np.ndarray:
        """Return ln of the density, (n,)."""
        ln_i = np.full(len(z_ik), -np.inf)
        for share, density in self.parts:
            ln_i = np.logaddexp(ln_i, np.log(share) + density.ln_density(z_ik))
        return ln_i

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``n`` draws, (n, n_dim), shared out among the parts systematically."""
        share_p = np.array([share for share, _ in self.parts])
        part_i = systematic_draw(n * share_p / share_p.sum(), rng.random())
        counts_p = np.bincount(part_i, minlength=len(self.parts))
        return np.concatenate(
            [
                density.draw(int(count), rng)
                for count, (_, density) in zip(counts_p, self.parts, strict=True)
                if count  # of a few points some parts have none
            ]
        )


def propose(
    draws: Draws,
    prior: Prior,
    ln_weight_i: np.ndarray,
    beta: float,
    rng: Callable[[str], np.random.Generator],
) -> tuple[MixedProposal, int]:
    """Fit a proposal to weighted points.

    Parameters
    ----------
    draws : Draws
        All points so far.
    prior : Prior
    ln_weight_i : (n,) float
        ln of their weights: to what the fitted mixture is to be like.
    beta : float
        The power of the likelihood in them.
    rng : callable
        From what is fitted to a random generator.

    Returns
    -------
    proposal : MixedProposal
    n_components : int
        Of the mixture fitted to the weights as they are.
    """
    fitted = _fit(draws, prior, ln_weight_i, beta, rng("fit"))
    known_i = np.where(draws.lnlike_i > -np.inf, draws.lnlike_i, 0.0)
    tempered = [
        (
            share,
            _fit(
                draws,
                prior,
                ln_weight_i - (1 - power) * beta * known_i,
                beta,
                rng(f"fit to the power {power:g}"),
                straightened=straightened,
            ),
        )
        for power, share, straightened in TEMPERED
    ]
    narrow, shear = fitted.mixture, fitted.shear
    share = sum(part for _, part in WIDTHS)
    widths = combine([(part / share, narrow.widened(by)) for by, part in WIDTHS])
    proposal = MixedProposal(
        [
            (share, ShearedMixture(widths, shear)),
            *[
                (MIRRORED_SHARE / len(prior.mirrors), Mirrored(fitted, mirror))
                for mirror in prior.mirrors
            ],
            *tempered,
            (PRIOR_SHARE, standard_normal(prior.n_dim)),
        ]
    )
    return proposal, len(narrow.share_c)


def _fit(
    draws: Draws,
    prior: Prior,
    ln_weight_i: np.ndarray,
    beta: float,
    rng: np.random.Generator,
    *,
    straightened: bool = True,
) -> ShearedMixture:
    counting = effective_number_of_ln(ln_weight_i)
    if beta == 1.0:  # truncated weights may be of many more points
        counting = max(counting, bounded_effective_number(ln_weight_i))
    n_c = int(np.clip(COMPONENTS_PER_ROOT * np.sqrt(counting), 1, MAX_COMPONENTS))
    weight_i = np.exp(ln_weight_i - np.max(ln_weight_i))
    weight_i[weight_i < 1e-9] = 0.0
    shear = fit_shear(draws.z_ik, weight_i, prior.determined if straightened else ())
    return ShearedMixture(
        fit_mixture(shear.straight(draws.z_ik), weight_i, n_c, rng), shear
    )
