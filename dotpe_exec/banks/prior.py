"""Draw intrinsic parameters for a bank, and weigh them by the prior.

The prior is cogwheel's ``IntrinsicIASPrior``: uniform in the detector-frame component
masses, in the effective spin and (given that) in the spin difference, with in-plane spins
uniform in the disk that the aligned components leave, and an isotropic inclination. In
these variables it is a product of one-dimensional densities:

* mchirp: proportional to mchirp. A bank is drawn from mchirp^alpha instead, and each
  waveform carries ln of the ratio of the two normalised densities.
* ln q in [ln q_min, 0]: proportional to cosh(ln q / 2)^0.4.
* chieff = (s1z + q s2z) / (1 + q): uniform in [-1, 1]; s1z uniform in the interval that
  chieff allows.
* (s1x_n, s1y_n) and (s2x_n, s2y_n): uniform in disks of radius sqrt(1 - sz^2).
* cos(iota): uniform in [-1, 1]. (The prior says this of the angle to the total angular
  momentum, and the azimuths are uniform about it; a distribution of the line of sight that
  is isotropic about one axis is so about all.)

For approximants without precession the in-plane spins are zero (``IntrinsicAlignedSpinIAS``
of cogwheel, with the inclination as above).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..kernels.coordinates import aligned_spins, mass_coordinates, s1z_range
from ..kernels.masses import primary_mass
from ..validation import positive_number
from ..waveforms.parameters import PARAMETERS

LEAST_MCHIRP, MOST_MCHIRP = 1e-3, 1e9
"""Detector-frame chirp masses that a binary may have [solar masses]."""

LEAST_F_REF, MOST_F_REF = 1e-4, 1e5
"""Reference frequencies of the spins that make sense [Hz]."""

LEAST_Q = 1e-3
"""Below it no approximant has waveforms."""

_N_UNIFORMS = 9
_ROWS_AT_ONCE = 2**18
_LNQ_GRID = 2**14 + 1
_EDGE = 1e-9  # what rounding may take a draw beyond an edge


@dataclass(frozen=True)
class Proposal:
    """The distribution that a bank's waveforms are drawn from.

    Parameters
    ----------
    mchirp_range : (float, float)
        Detector-frame chirp mass [solar masses].
    q_min : float
        Smallest mass ratio m2 / m1.
    alpha : float
        Exponent of the chirp mass in the density.
    aligned_spins : bool
        Whether in-plane spins are zero.

    Raises
    ------
    InputError
        The range is empty or not positive, or ``q_min`` is not between 0 and 1.
    """

    mchirp_range: tuple[float, float]
    q_min: float
    alpha: float
    aligned_spins: bool = False

    def __post_init__(self) -> None:
        check_mchirp_range("mchirp_range", self.mchirp_range)
        check_q_min("q_min", self.q_min)
        if not np.isfinite(self.alpha):
            raise InputError(f"alpha is {self.alpha}, expected a finite number")

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return parameters of ``n`` waveforms, (n, 9), columns as ``PARAMETERS``."""
        parameters_ik = np.empty((n, len(PARAMETERS)))
        for start in range(0, n, _ROWS_AT_ONCE):
            part = parameters_ik[start : start + _ROWS_AT_ONCE]
            part[:] = self.transform(rng.random((len(part), _N_UNIFORMS)))
        return parameters_ik

    def transform(self, uniforms_iu: np.ndarray) -> np.ndarray:
        """Return parameters (n, 9) for points (n, 9) of the unit cube."""
        u = iter(uniforms_iu.T)
        mchirp = powerlaw_quantile(next(u), self.mchirp_range, self.alpha)
        q = np.exp(lnq_quantile(next(u), self.q_min))
        m1 = primary_mass(mchirp, q)
        s1z, s2z = aligned_spins(q, 2 * next(u) - 1, next(u))
        iota = np.arccos(2 * next(u) - 1)
        s1x_n, s1y_n = _uniform_in_disk(next(u), next(u), s1z)
        s2x_n, s2y_n = _uniform_in_disk(next(u), next(u), s2z)
        if self.aligned_spins:
            s1x_n = s1y_n = s2x_n = s2y_n = np.zeros(len(q))
        columns = {"m1": m1, "m2": q * m1, "s1z": s1z, "s1x_n": s1x_n, "s1y_n": s1y_n,
                   "s2z": s2z, "s2x_n": s2x_n, "s2y_n": s2y_n, "iota": iota}  # fmt: skip
        return np.stack([columns[name] for name in PARAMETERS], axis=1)

    def log_prior_weights(
        self, parameters_ik: np.ndarray, prior_mchirp_range: tuple[float, float]
    ) -> np.ndarray:
        """Return ln of prior density / proposal density, (n,).

        Both densities are normalised, the prior's over ``prior_mchirp_range``; they
        differ in chirp mass alone.
        """
        m1, m2 = parameters_ik[:, 0], parameters_ik[:, 1]
        ln_mchirp = 0.6 * np.log(m1 * m2) - 0.2 * np.log(m1 + m2)
        return powerlaw_lndensity(ln_mchirp, prior_mchirp_range, 1.0) - powerlaw_lndensity(
            ln_mchirp, self.mchirp_range, self.alpha
        )

    def ln_prob(self, parameters_ik: np.ndarray) -> np.ndarray:
        """Return ln of the density that parameters are drawn with, (n,).

        It is per unit of (m1, m2, spin components, cos iota), without in-plane spins if
        these are zero: the measure of :mod:`dotpe_exec.banks.own_prior`. -inf outside.
        """
        par = dict(zip(PARAMETERS, np.asarray(parameters_ik, dtype=float).T, strict=True))
        m1, m2, s1z, s2z = (par[name] for name in ("m1", "m2", "s1z", "s2z"))
        masses = mass_coordinates(m1, m2)
        q, lnq = m2 / m1, masses["lnq"]
        ln_mchirp = np.log(masses["mchirp"])
        low, high = np.log(self.mchirp_range)
        inside = (ln_mchirp >= low - _EDGE) & (ln_mchirp <= high + _EDGE)
        inside &= (lnq >= np.log(self.q_min) - _EDGE) & (lnq <= _EDGE)
        grid = np.linspace(np.log(self.q_min), 0, _LNQ_GRID)
        density = np.cosh(grid / 2) ** 0.4
        lnq_norm = np.sum(density[1:] + density[:-1]) / 2 * (grid[1] - grid[0])
        # d(mchirp, lnq) / d(m1, m2) = mchirp / (m1 m2)
        ln_prob = powerlaw_lndensity(ln_mchirp, self.mchirp_range, self.alpha)
        ln_prob += 0.4 * np.log(np.cosh(lnq / 2)) - np.log(lnq_norm)
        ln_prob += ln_mchirp - np.log(m1 * m2)
        # 1/2 for chieff and 1 / width for s1z; d(chieff, s1z) / d(s2z, s1z) = q / (1 + q)
        inside &= (np.abs(s1z) <= 1 + _EDGE) & (np.abs(s2z) <= 1 + _EDGE)
        chieff = np.clip((s1z + q * s2z) / (1 + q), -1, 1)
        lowest, highest = s1z_range(q, chieff)
        with np.errstate(divide="ignore", invalid="ignore"):
            ln_prob += np.log(q / (1 + q)) - np.log(2 * (highest - lowest))
            for body, sz in ((1, s1z), (2, s2z)):
                square = par[f"s{body}x_n"] ** 2 + par[f"s{body}y_n"] ** 2
                if self.aligned_spins:
                    inside &= square == 0
                else:
                    inside &= square <= 1 - sz**2 + _EDGE
                    ln_prob -= np.log(np.pi * (1 - sz**2))
        return np.where(inside, ln_prob - np.log(2), -np.inf)


def check_mchirp_range(name: str, mchirp_range: tuple[float, float]) -> None:
    """Refuse a range of chirp masses that is not ascending, or of no binary's."""
    low, high = mchirp_range
    if not LEAST_MCHIRP <= low < high <= MOST_MCHIRP:
        raise InputError(
            f"{name} is {low} to {high}, expected two positive chirp masses in ascending "
            f"order, between {LEAST_MCHIRP:g} and {MOST_MCHIRP:g} [solar masses]"
        )


def check_f_ref(name: str, f_ref: Any) -> float:
    """Return a reference frequency as a number, or refuse it."""
    f_ref = positive_number(name, f_ref)
    if not LEAST_F_REF <= f_ref <= MOST_F_REF:
        raise InputError(
            f"{name} is {f_ref:g}, expected a frequency between {LEAST_F_REF:g} and "
            f"{MOST_F_REF:g} [Hz]"
        )
    return f_ref


def check_q_min(name: str, q_min: float) -> None:
    """Refuse a smallest mass ratio with which there are no binaries, or one alone."""
    if not LEAST_Q <= q_min < 1:
        raise InputError(f"{name} is {q_min}, expected a number between {LEAST_Q:g} and 1")


def powerlaw_quantile(
    u: np.ndarray | float, bounds: tuple[float, float], alpha: float
) -> np.ndarray:
    """Return quantiles of the density proportional to x^alpha between bounds."""
    low, high = bounds
    k, ln_ratio = alpha + 1, np.log(high / low)
    ln_x = u * ln_ratio if k == 0 else np.log1p(u * np.expm1(k * ln_ratio)) / k
    return np.clip(low * np.exp(ln_x), low, high)


def powerlaw_lndensity(
    ln_x: np.ndarray, bounds: tuple[float, float], alpha: float
) -> np.ndarray:
    """Return ln of the normalised density proportional to x^alpha, inside bounds."""
    low, high = bounds
    k, ln_ratio = alpha + 1, np.log(high / low)
    ln_norm = np.log(ln_ratio) if k == 0 else np.log(np.expm1(k * ln_ratio) / k)
    return alpha * ln_x - (k * np.log(low) + ln_norm)


def lnq_quantile(u: np.ndarray, q_min: float) -> np.ndarray:
    """Return quantiles of the density proportional to cosh(ln q / 2)^0.4.

    The density varies by less than a factor of two over any sensible range, so linear
    interpolation of its integral on a fine grid is good to 1e-8.
    """
    lnq = np.linspace(np.log(q_min), 0, _LNQ_GRID)
    density = np.cosh(lnq / 2) ** 0.4
    cumulative = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    return np.interp(u, cumulative / cumulative[-1], lnq)


def _uniform_in_disk(
    u_radius: np.ndarray, u_azimuth: np.ndarray, sz: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    radius = np.sqrt(u_radius * (1 - sz**2))
    azimuth = 2 * np.pi * u_azimuth
    return radius * np.cos(azimuth), radius * np.sin(azimuth)
