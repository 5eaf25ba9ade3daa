"""Coordinates in which the prior is a standard normal distribution.

The prior is that of :mod:`dotpe_exec.banks.prior` (cogwheel's ``IntrinsicIASPrior``). Its
sampling coordinates, each uniform in its own distribution function, become normal
deviates; the in-plane spins, which are uniform in a disk (its radius by ``cums1r_s1z`` or
``cums2r_s2z``, its azimuth ``phi_jl_hat`` or ``phi12``), become two normal deviates each,
so that there is neither an edge nor a seam where an azimuth begins anew:

====  ==========================================================================
z     stands for
====  ==========================================================================
0     chirp mass
1     ln of the mass ratio
2     effective spin
3     s1z at given effective spin (``cumchidiff``)
4     cosine of the inclination of the total angular momentum (``costheta_jn``)
5, 6  in-plane spin of the heavier body, azimuth ``phi_jl_hat``
7, 8  in-plane spin of the lighter body, azimuth ``phi12``
====  ==========================================================================

Without precession there are only the first five.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..banks.prior import Proposal, lnq_quantile, powerlaw_quantile
from ..kernels.coordinates import (
    aligned_spin_coordinates,
    aligned_spins,
    inclination_and_inplane_spins,
    mass_coordinates,
    precession_angles,
)
from ..kernels.masses import primary_mass
from ..waveforms.parameters import PARAMETERS

_LN_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True)
class PriorCoordinates:
    """The map from normal deviates to intrinsic parameters.

    Parameters
    ----------
    mchirp_range : (float, float)
        Detector-frame chirp mass [solar masses].
    q_min : float
        Smallest mass ratio m2 / m1.
    f_ref : float
        Reference frequency of the spins [Hz].
    aligned_spins : bool
        Whether in-plane spins are zero.

    Raises
    ------
    InputError
        The range is empty or not positive, or ``q_min`` is not between 0 and 1.
    """

    mchirp_range: tuple[float, float]
    q_min: float
    f_ref: float
    aligned_spins: bool = False

    def __post_init__(self) -> None:
        Proposal(self.mchirp_range, self.q_min, 1.0)  # checks both

    @property
    def n_dim(self) -> int:
        """Number of coordinates: 9, or 5 without precession."""
        return 5 if self.aligned_spins else 9

    @property
    def determined(self) -> list[tuple[int, tuple[int, ...]]]:
        """Coordinates that the data say most of, given others, and which others.

        The chirp mass given all others; the effective spin given all but the chirp mass.
        Those that matter most come first.
        """
        others = tuple(range(3, self.n_dim))
        return [(0, (1, 2, *others)), (2, (1, *others))]

    @property
    def mirrors(self) -> list[tuple[int, ...]]:
        """Orbits seen from above and from below; in-plane spins turned by half a circle.

        And both. The sign of the cosine of the inclination changes, or both components of
        the heavier body's in-plane spin, from which the lighter one's azimuth is counted.
        """
        return [(4,)] if self.aligned_spins else [(4,), (4, 5, 6), (5, 6)]

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``n`` draws from the prior, (n, n_dim)."""
        return rng.standard_normal((n, self.n_dim))

    def ln_prior(self, z_ik: np.ndarray) -> np.ndarray:
        """Return ln of the prior density of the coordinates, (n,)."""
        return -0.5 * np.einsum("ik,ik->i", z_ik, z_ik) - 0.5 * self.n_dim * _LN_2PI

    def parameters(self, z_ik: np.ndarray) -> np.ndarray:
        """Return parameters (n, 9), columns as ``PARAMETERS``."""
        from scipy.special import ndtr

        u = ndtr(z_ik[:, :5]).T
        mchirp = powerlaw_quantile(u[0], self.mchirp_range, 1.0)
        q = np.exp(lnq_quantile(u[1], self.q_min))
        m1 = primary_mass(mchirp, q)
        s1z, s2z = aligned_spins(q, 2 * u[2] - 1, u[3])
        columns = {"m1": m1, "m2": q * m1, "s1z": s1z, "s2z": s2z}
        if self.aligned_spins:
            zero = np.zeros(len(q))
            columns |= dict.fromkeys(("s1x_n", "s1y_n", "s2x_n", "s2y_n"), zero)
            columns["iota"] = np.arccos(2 * u[4] - 1)
        else:
            s1_inplane, phi_jl_hat = _disk(z_ik[:, 5], z_ik[:, 6], s1z)
            s2_inplane, phi12 = _disk(z_ik[:, 7], z_ik[:, 8], s2z)
            columns |= inclination_and_inplane_spins(
                m1, columns["m2"], (s1z, s2z), (s1_inplane, s2_inplane),
                costheta_jn=2 * u[4] - 1, phi_jl_hat=phi_jl_hat, phi12=phi12,
                f_ref=self.f_ref,
            )  # fmt: skip
        return np.stack([columns[name] for name in PARAMETERS], axis=1)

    def of_parameters(self, parameters_ik: np.ndarray) -> np.ndarray:
        """Return the coordinates (n, n_dim) of parameters; NaN outside of the prior.

        The inverse of :meth:`parameters`, to about 1e-6 at the edges of the prior.
        """
        from scipy.special import ndtri

        par = dict(zip(PARAMETERS, np.asarray(parameters_ik, dtype=float).T, strict=True))
        m1, m2 = par["m1"], par["m2"]
        masses = mass_coordinates(m1, m2)
        low, high = self.mchirp_range
        spins = aligned_spin_coordinates(m1, m2, par["s1z"], par["s2z"])
        uniform = [
            (masses["mchirp"] ** 2 - low**2) / (high**2 - low**2),
            _lnq_uniform(masses["lnq"], self.q_min),
            (1 + spins["chieff"]) / 2,
            spins["cumchidiff"],
            (1 + np.cos(par["iota"])) / 2,
        ]
        disks = []
        if not self.aligned_spins:
            all_spins = tuple(
                par[name] for name in ("s1x_n", "s1y_n", "s1z", "s2x_n", "s2y_n", "s2z")
            )
            angles = precession_angles(m1, m2, all_spins, par["iota"], self.f_ref)
            uniform[4] = (1 + angles["costheta_jn"]) / 2
            for body, azimuth in ((1, "phi_jl_hat"), (2, "phi12")):
                sx, sy, sz = (par[f"s{body}{end}"] for end in ("x_n", "y_n", "z"))
                with np.errstate(divide="ignore", invalid="ignore"):
                    share = np.minimum((sx**2 + sy**2) / (1 - sz**2), 1 - 1e-12)
                    radius = np.sqrt(-2 * np.log1p(-share))
                disks += [
                    radius * np.cos(angles[azimuth]),
                    radius * np.sin(angles[azimuth]),
                ]
        with np.errstate(invalid="ignore"):
            inside = [np.where((u > -1e-9) & (u < 1 + 1e-9), u, np.nan) for u in uniform]
        normal = [ndtri(np.clip(u, 1e-12, 1 - 1e-12)) for u in inside]
        return np.stack([*normal, *disks], axis=1)

    def mchirp_quantiles(self, z_ik: np.ndarray) -> np.ndarray:
        """Return the chirp masses' quantiles in the prior, (n,)."""
        from scipy.special import ndtr

        return ndtr(z_ik[:, 0])


def _lnq_uniform(lnq: np.ndarray, q_min: float) -> np.ndarray:
    """Return quantiles of ln mass ratios: the inverse of :func:`.lnq_quantile`."""
    u = np.linspace(0, 1, 2**12 + 1)
    outside = (lnq < np.log(q_min) - 1e-9) | (lnq > 1e-9)
    return np.where(outside, np.nan, np.interp(lnq, lnq_quantile(u, q_min), u))


def _disk(x: np.ndarray, y: np.ndarray, sz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return length and azimuth of an in-plane spin: uniform in its disk."""
    share = -np.expm1(-0.5 * (x**2 + y**2))
    return np.sqrt(share * (1 - sz**2)), np.arctan2(y, x)
