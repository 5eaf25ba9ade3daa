"""What an exploration draws: all points, those of the result, how far it has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

HALF_KNOWN = 1500.0
"""Rounds of production are averaged by their size and by how good their mixture may be
expected to be: the square of c / (c + HALF_KNOWN) where c points counted when it was
fitted. What counts in the round itself must not matter: a round that met a rare heavy point
would be held in low esteem for it, and the evidence would be too low: by 1% on average over
four runs of an event with tails, by at most 3%."""


class Prior(Protocol):
    """The prior: a standard normal distribution, or one not much wider anywhere."""

    @property
    def n_dim(self) -> int:
        """Number of dimensions."""

    @property
    def determined(self) -> list[tuple[int, tuple[int, ...]]]:
        """Coordinates that a likelihood says most of, given others, and which others.

        Where there are several, the first are not among the others of the later ones.
        """

    @property
    def mirrors(self) -> Sequence[tuple[int, ...]]:
        """Sets of coordinates whose signs together a likelihood tells worst; in order."""

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``n`` draws, (n, n_dim)."""

    def ln_prior(self, z_ik: np.ndarray) -> np.ndarray:
        """Return ln of the density, (n,)."""


def mirrored(z_ik: np.ndarray, coordinates: Sequence[int]) -> np.ndarray:
    """Return points with the signs of some coordinates changed."""
    mirrored_ik = np.array(z_ik)
    mirrored_ik[:, list(coordinates)] *= -1
    return mirrored_ik


class Density(Protocol):
    """What points are drawn from."""

    def ln_density(self, z_ik: np.ndarray) -> np.ndarray:
        """Return ln of the density, (n,)."""

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``n`` draws, (n, n_dim)."""


@dataclass
class Draws:
    """All points drawn so far.

    Parameters
    ----------
    z_ik : (n, n_dim) float
    lnlike_i : (n,) float
    ln_prior_i : (n,) float
    failed_i : (n,) bool
        Where there is no model: the likelihood is zero there.
    sizes : list of int
        Number of points of each round; the first is the pilot.
    proposals : list of Density
        Of the rounds after the pilot.
    ln_density_ti : list of (n,) float
        ln of the density of each round's proposal at all points.
    """

    z_ik: np.ndarray
    lnlike_i: np.ndarray
    ln_prior_i: np.ndarray
    failed_i: np.ndarray
    sizes: list[int]
    proposals: list[Density] = field(default_factory=list)
    ln_density_ti: list[np.ndarray] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.z_ik)

    def ln_ratio(self) -> np.ndarray:
        """Return ln of prior over the mixture of all proposals, (n,)."""
        shares = np.log(np.array(self.sizes) / len(self))
        ln_mixture_i = np.full(len(self), -np.inf)
        for share, ln_density_i in zip(shares, self.ln_density_ti, strict=True):
            ln_mixture_i = np.logaddexp(ln_mixture_i, share + ln_density_i)
        return self.ln_prior_i - ln_mixture_i

    def produced(self, first: int, known_t: Sequence[float]) -> Produced:
        """Return the points of all rounds from one on, as a result has them.

        Parameters
        ----------
        first : int
            The round.
        known_t : (n_rounds - first,) float
            Points that counted before each of these rounds.
        """
        bounds = np.cumsum([0, *self.sizes])
        start = bounds[first]
        size_t = np.array(self.sizes[first:], dtype=float)
        share_t = size_t * (np.array(known_t) / (np.array(known_t) + HALF_KNOWN)) ** 2
        # Of all points of a round, over the number of points of all rounds.
        ln_share_t = np.log(share_t / np.sum(share_t) * np.sum(size_t) / size_t)
        ln_ratio_i = np.zeros(len(self) - start)
        for t, ln_share in enumerate(ln_share_t, start=first):
            own = slice(bounds[t], bounds[t + 1])
            ln_ratio_i[bounds[t] - start : bounds[t + 1] - start] = (
                self.ln_prior_i[own] - self.ln_density_ti[t][own] + ln_share
            )
        return Produced(
            self.z_ik[start:], self.lnlike_i[start:], ln_ratio_i, self.failed_i[start:]
        )

    def add(self, proposal: Density, z_ik: np.ndarray, prior: Prior) -> None:
        """Add a round's points, their likelihoods still unknown (-inf)."""
        ln_prior_i = prior.ln_prior(z_ik)
        self.ln_density_ti = [
            np.concatenate([known_i, some.ln_density(z_ik) if some else ln_prior_i])
            for known_i, some in zip(
                self.ln_density_ti, [None, *self.proposals], strict=True
            )
        ]
        self.z_ik = np.concatenate([self.z_ik, z_ik])
        self.ln_prior_i = np.concatenate([self.ln_prior_i, ln_prior_i])
        self.lnlike_i = np.concatenate([self.lnlike_i, np.full(len(z_ik), -np.inf)])
        self.failed_i = np.concatenate([self.failed_i, np.zeros(len(z_ik), dtype=bool)])
        self.ln_density_ti.append(proposal.ln_density(self.z_ik))
        self.proposals.append(proposal)
        self.sizes.append(len(z_ik))


@dataclass(frozen=True)
class Produced:
    """Points of the result.

    Parameters
    ----------
    z_ik : (n, n_dim) float
    lnlike_i : (n,) float
    ln_ratio_i : (n,) float
        ln of prior over proposal density; of proposals of several rounds each counts as
        its points do.
    failed_i : (n,) bool
        Where there is no model: the likelihood is zero there.
    """

    z_ik: np.ndarray
    lnlike_i: np.ndarray
    ln_ratio_i: np.ndarray
    failed_i: np.ndarray

    def __len__(self) -> int:
        return len(self.z_ik)

    def ln_weights(self) -> np.ndarray:
        """Return ln of weight times likelihood, (n,)."""
        return self.lnlike_i + self.ln_ratio_i


@dataclass(frozen=True)
class Progress:
    """How far an exploration has come.

    Parameters
    ----------
    part : str
        ``"learning"`` or ``"production"``: what the numbers are of.
    round : int
    n_drawn : int
    n_effective : float
        Of bounded weights, as production counts them towards its target.
    ln_evidence, ln_evidence_error : float
        The error is that of the draws.
    beta : float
        The power of the likelihood to which the round's mixture was fitted.
    n_components : int
        Of the fitted mixture.
    efficiency : float
        Effective number of the round's own points over their number.
    """

    part: str
    round: int
    n_drawn: int
    n_effective: float
    ln_evidence: float
    ln_evidence_error: float
    beta: float
    n_components: int
    efficiency: float
