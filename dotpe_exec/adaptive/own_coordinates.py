"""Coordinates for a prior of one's own.

They are those of the default prior, so that proposals need no change; the prior's density
in them is the default's, a standard normal, times the ratio of the two priors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..banks.own_prior import OwnPrior
from ..banks.prior import Proposal
from ..errors import InputError
from .coordinates import PriorCoordinates


@dataclass(frozen=True)
class OwnCoordinates(PriorCoordinates):
    """The map from normal deviates to parameters, with another prior.

    What the prior has outside of ``mchirp_range`` and below ``q_min`` is left out, and its
    density is not normalised anew: the evidence is the part within.

    Parameters
    ----------
    own : OwnPrior
    """

    own: OwnPrior | None = None

    def ln_prior(self, z_ik: np.ndarray) -> np.ndarray:
        """Return ln of the prior density of the coordinates, (n,)."""
        assert self.own is not None
        parameters_ik = self.parameters(z_ik)
        default = Proposal(self.mchirp_range, self.q_min, 1.0, self.aligned_spins)
        ln_default_i = default.ln_prob(parameters_ik)
        inside = np.isfinite(ln_default_i)  # rounding at an edge may say no
        ln_ratio_i = np.full(len(z_ik), -np.inf)
        ln_ratio_i[inside] = self.own.ln_prob(parameters_ik[inside]) - ln_default_i[inside]
        return super().ln_prior(z_ik) + ln_ratio_i

    def pilot(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return coordinates of draws, and ln of prior over the density of the draws.

        Raises
        ------
        InputError
            Hardly any lie within the ranges.
        """
        assert self.own is not None
        parameters_ik = self.own.draw(n, rng)
        ln_weight_i = self.own.log_prior_weights(parameters_ik)
        z_ik = self.of_parameters(parameters_ik)
        used = np.isfinite(z_ik).all(axis=1) & (ln_weight_i > -np.inf)
        used[used] = self.ln_prior(z_ik[used]) > -np.inf
        if np.count_nonzero(used) < min(n, 100):
            raise InputError(
                f"prior: {np.count_nonzero(used)} of {n} draws lie within mchirp_range "
                f"{self.mchirp_range[0]:g} to {self.mchirp_range[1]:g} and above q_min "
                f"{self.q_min:g}, expected 100 at least: choose ranges that fit the prior"
            )
        return z_ik[used], ln_weight_i[used]
