"""Euler angles of IMRPhenomXPHM, as LALSimulation has them.

Those of :mod:`dotpe_exec.kernels.msa_angles` take a tenth of LALSimulation's time. They are
LALSimulation's but for rounding, which some binaries amplify: at frequencies where that is
to be expected, and for all of a binary where it shows in a comparison at a few
frequencies, the angles are taken from LALSimulation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..kernels.angle_rounding import choose_frequencies, compare_angles, put_angles
from ..kernels.cube_roots import cube_root, scaled_cubes
from ..kernels.msa_angles import msa_angles, msa_constants

# Largest estimated error of a waveform over its largest amplitude, from the comparison of
# angles.
_LARGEST_ERROR = 2e-11
# Largest estimated rounding of an angle, as `msa_angles` gives it.
_LARGEST_ROUNDING = 3e-12
_N_COMPARED = 12
# Where all components of both spins are smaller, or masses nearer to each other, the
# constants of the angles amplify rounding.
_SMALL_SPINS = 0.02
_NEARLY_EQUAL = 0.03
# Where masses are nearer to each other, or a spin's component in the plane is smaller,
# LALSimulation's angles alone differ from those with which it twists up.
_EQUAL = 1e-4
_SMALL_IN_PLANE = 0.01


class FastWayError(Exception):
    """The fast way does not give the waveform for these parameters."""


def lal_sequence(frequencies_f: np.ndarray) -> Any:
    """Return frequencies [Hz] as LAL takes them."""
    import lal

    sequence = lal.CreateREAL8Sequence(len(frequencies_f))
    sequence.data = frequencies_f
    return sequence


class EulerAngles:
    """Makes the angles of several modes at fixed frequencies.

    Parameters
    ----------
    m_u : (n_u,) int
        Modes, by their m' in the co-precessing frame.
    f_ref : float
        [Hz]
    fbin_b : (n_b,) float
        [Hz]
    """

    def __init__(self, m_u: np.ndarray, f_ref: float, fbin_b: np.ndarray):
        import lal
        import lalsimulation

        self._f_ref = f_ref
        # The angles of mode m' are those of the (2, 2) mode at 2 f / m'.
        self._shape = len(m_u), len(fbin_b)
        self._f_f = np.tile(fbin_b, len(m_u))
        self._ratio_f = np.repeat(2.0 / m_u, len(fbin_b))
        self._order = np.argsort(self._ratio_f * self._f_f, kind="stable")
        self._from_lal = lalsimulation.SimIMRPhenomXPMSAAngles
        self._options = lal.CreateDict()
        self._msun, self._msun_s = lal.MSUN_SI, lal.MTSUN_SI
        self._light, self._gravity = lal.C_SI, lal.G_SI / lal.C_SI

    def __call__(self, binary: tuple[float, ...], iota: float, n_used: int) -> np.ndarray:
        """Return alpha, epsilon [rad] and cos(beta), (3, n_u, n_b).

        Parameters
        ----------
        binary : tuple of float
            Masses [kg], the first the larger, and spins as LALSimulation takes them.
        iota : float
            Inclination [rad].
        n_used : int
            How many frequencies, from the lowest, are needed; the angles are zero at the
            others.

        Raises
        ------
        FastWayError
            The angles are not those of the expansion.
        """
        if min(math.hypot(*binary[2:4]), math.hypot(*binary[5:7])) < _SMALL_IN_PLANE:
            raise FastWayError("a spin is nearly along the orbit's axis")
        if binary[0] - binary[1] < _EQUAL * (binary[0] + binary[1]):
            raise FastWayError("the masses are equal")
        # Rounded as LALSimulation's, like the constants that follow from it.
        pi_gm = math.pi * (binary[0] + binary[1]) * self._gravity / self._light**2
        m1, m2 = binary[0] / self._msun, binary[1] / self._msun
        v_ref = cube_root(pi_gm * self._f_ref)
        spins = np.array(binary[2:])
        constants, ok = msa_constants(m1, m2, spins[:3], spins[3:], v_ref)
        if not ok:
            raise FastWayError("the expansion of the angles is not used")
        cubes_f = math.pi * ((m1 + m2) * self._msun_s * self._f_f) * self._ratio_f
        own_jf = msa_angles(constants, np.cbrt(cubes_f))
        n_u, n_b = self._shape
        amplified = max(map(abs, binary[2:])) < _SMALL_SPINS
        amplified |= m1 - m2 < _NEARLY_EQUAL * (m1 + m2)
        n_compared = len(cubes_f) if amplified else _N_COMPARED
        choice = self._order, n_b, n_used
        inds, n_compared = choose_frequencies(
            own_jf[3], *choice, _LARGEST_ROUNDING, n_compared
        )
        # What rounding hardly moves may be compared at velocities that differ in it.
        exact_f = own_jf[3, inds] >= _LARGEST_ROUNDING
        given_jf, same_f = self._lal_angles(binary, iota, cubes_f[inds], pi_gm, exact_f)
        alpha, epsilon, error = compare_angles(own_jf, given_jf, inds, n_compared)
        if n_compared and not error < _LARGEST_ERROR:
            # Near equal masses and for small spins the constants amplify rounding.
            inds, _ = choose_frequencies(own_jf[3], *choice, 0.0, _N_COMPARED)
            exact_f = np.ones(len(inds), dtype=bool)
            given_jf, same_f = self._lal_angles(binary, iota, cubes_f[inds], pi_gm, exact_f)
        differs = inds[exact_f & ~same_f]
        if len(differs) and not own_jf[3, differs].max() <= _LARGEST_ERROR:
            raise FastWayError("the angles amplify rounding")
        angles_jf = np.empty((3, len(cubes_f)))
        put_angles(own_jf, alpha, epsilon, given_jf, inds, n_b, n_used, angles_jf)
        return angles_jf.reshape(3, n_u, n_b)

    def _lal_angles(
        self,
        binary: tuple[float, ...],
        iota: float,
        cubes_f: np.ndarray,
        pi_gm: float,
        exact_f: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return LALSimulation's alpha, gamma and cos(beta), (3, n_f).

        The velocities are cbrt(f pi_gm 2 / m) there, and where it twists up they are the
        cube roots of what is given here. Also returned is whether they are the same to
        the bit; if no f has them for one m, one may for another, which is tried where
        they are to be exact.
        """
        angles_jf, same_f = self._lal_angles_of_mode(2, binary, iota, cubes_f, pi_gm)
        for m in (3, 5, 7):
            inds = np.flatnonzero(exact_f & ~same_f)
            if not len(inds):
                break
            angles_jf[:, inds], same_f[inds] = self._lal_angles_of_mode(
                m, binary, iota, cubes_f[inds], pi_gm
            )
        return angles_jf, same_f

    def _lal_angles_of_mode(
        self,
        m: int,
        binary: tuple[float, ...],
        iota: float,
        cubes_f: np.ndarray,
        pi_gm: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        f, same_f = scaled_cubes(cubes_f, pi_gm, 2.0 / m)
        alpha, gamma, cosine = self._from_lal(
            lal_sequence(f), *binary, iota, self._f_ref, m, self._options
        )
        angles_jf = np.empty((3, len(cubes_f)))
        angles_jf[0], angles_jf[1] = alpha.data[1:], gamma.data[1:]
        angles_jf[2] = cosine.data[1:]
        return angles_jf, same_f
