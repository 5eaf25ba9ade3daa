"""IMRPhenomXPHM by azimuthal number, several times as fast as one mode at a time.

LALSimulation gives each co-precessing mode once; the Euler angles, most of its time, come
from :mod:`dotpe_exec.kernels.msa_angles`, and :mod:`dotpe_exec.kernels.twist` rotates the
modes. The values are LALSimulation's to 1e-10 of the largest amplitude. To make sure of
that, the angles of each waveform are compared with LALSimulation's at a few frequencies;
if the rounding of their constants shows, the waveform is not made here. Where the angles
amplify the rounding of their argument, the value is LALSimulation's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..kernels.msa_angles import compare_angles, msa_angles, msa_constants
from ..kernels.twist import polar_unwrapped, twist_up, wigner_coefficients
from .direct import Source, generate_modes

#: Approximants made here with the modes that they have.
FAST_MODES = {
    "IMRPhenomXPHM": ((2, 2), (2, 1), (3, 3), (3, 2), (4, 4)),
    "IMRPhenomXP": ((2, 2),),
}

# Largest estimated error of a waveform over its largest amplitude, from the comparison of
# angles.
_LARGEST_ERROR = 2e-11
# Largest estimated rounding of an angle, as `msa_angles` gives it.
_LARGEST_ROUNDING = 3e-12
# Beyond this share of frequencies, LALSimulation is as fast.
_MOST_REPLACED = 0.25
_N_COMPARED = 12
_SMALL_SPINS = 0.02
"""Where both spins are smaller, rounding in the constants of the angles is amplified."""
# M f above which the model is zero.
_MF_CUT = 0.3


class FastWayError(Exception):
    """The fast way does not give the waveform for these parameters."""


def has_fast_way(
    approximant: str,
    harmonic_modes: tuple[tuple[int, int], ...],
    lal_options: tuple[tuple[str, int], ...],
) -> bool:
    """Return whether waveforms can be made here: default options, known modes."""
    known = FAST_MODES.get(approximant, ())
    return not lal_options and all(mode in known for mode in harmonic_modes)


class FastGenerator:
    """Makes waveforms at fixed frequencies.

    Parameters
    ----------
    approximant : str
        Of ``FAST_MODES``.
    harmonic_modes : tuple of (l, m)
    f_ref : float
        [Hz]
    fbin_b : (n_b,) float
        [Hz]
    """

    def __init__(
        self,
        approximant: str,
        harmonic_modes: tuple[tuple[int, int], ...],
        f_ref: float,
        fbin_b: np.ndarray,
    ):
        import lal
        import lalsimulation

        self.approximant, self.harmonic_modes = approximant, harmonic_modes
        self.f_ref, self.fbin_b = f_ref, np.ascontiguousarray(fbin_b, dtype=float)
        m_u = list(dict.fromkeys(m for _, m in harmonic_modes))
        self._m_u = np.array(m_u)
        self._ell_l = np.array([ell for ell, _ in harmonic_modes])
        self._u_l = np.array([m_u.index(m) for _, m in harmonic_modes])
        self._wigner_lmk = np.array(
            [wigner_coefficients(ell, m) for ell, m in harmonic_modes]
        )
        self._harmonic_lmk = np.array(
            [wigner_coefficients(ell, 2) for ell, _ in harmonic_modes]
        )
        # The angles of mode m' are those of the (2, 2) mode at 2 f / m'.
        f_ub = 2.0 / self._m_u[:, None] * self.fbin_b
        ends = f_ub.min(), f_ub.max()
        f_compared = np.append(np.geomspace(*ends, _N_COMPARED), f_ref)
        order = np.argsort(f_compared, kind="stable")
        self._f_compared = f_compared[order]
        self._reference = int(np.flatnonzero(order == _N_COMPARED)[0])
        self._f_all = np.tile(self.fbin_b, len(m_u))
        self._ratio_all = np.repeat(2.0 / self._m_u, len(self.fbin_b))

        self._lalsimulation = lalsimulation
        self._msun, self._megaparsec = lal.MSUN_SI, 1e6 * lal.PC_SI
        self._msun_s = lal.MTSUN_SI
        self._light, self._gravity = lal.C_SI, lal.G_SI / lal.C_SI
        self._frequencies = _sequence(self.fbin_b)
        self._compared = _sequence(self._f_compared)
        self._options = lal.CreateDict()
        self._coprecessing = lal.CreateDict()
        lalsimulation.SimInspiralWaveformParamsInsertPhenomXPHMPrecModes(
            self._coprecessing, 1
        )
        # LALSimulation computes constants in the first call of this function that others
        # use without a check.
        heavy, light = 40 * self._msun, 30 * self._msun
        self._lalsimulation.SimIMRPhenomXPHMFrequencySequenceOneMode(
            _sequence(np.array([20.0, 40.0])),
            2,
            -2,
            *(heavy, light, 0.1, 0.0, 0.1, 0.0, 0.1, 0.1),
            *(self._megaparsec, 0.0, 0.0, 20.0),
            self._coprecessing,
        )

    def __call__(self, par: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
        """Return amplitudes and phases (n_m, 2, n_b) of a waveform.

        Parameters
        ----------
        par : dict of float
            As ``PARAMETERS``.

        Raises
        ------
        FastWayError
            These parameters need another way.
        """
        if par["m1"] < par["m2"]:
            raise FastWayError("the second mass is the larger")
        total = par["m1"] + par["m2"]
        spin1 = np.array([par["s1x_n"], par["s1y_n"], par["s1z"]])
        spin2 = np.array([par["s2x_n"], par["s2y_n"], par["s2z"]])
        if max(spin1 @ spin1, spin2 @ spin2) < _SMALL_SPINS**2:
            raise FastWayError("both spins are small")
        binary = (par["m1"] * self._msun, par["m2"] * self._msun, *spin1, *spin2)
        # Rounded as LALSimulation's, like the constants that follow from it.
        pi_gm = math.pi * (binary[0] + binary[1]) * self._gravity / self._light**2
        constants, ok = msa_constants(
            par["m1"],
            par["m2"],
            spin1,
            spin2,
            math.cbrt(pi_gm * self.f_ref),
        )
        if not ok:
            raise FastWayError("the expansion of the angles is not used")
        f_cut = _MF_CUT / (total * self._msun_s)
        # Cubes of the velocities, rounded as where LALSimulation twists up, and as where
        # it gives the angles alone.
        cubes = math.pi * (total * self._msun_s * self._f_all) * self._ratio_all
        v = np.cbrt(np.concatenate([cubes, self._f_compared * pi_gm]))
        angles = np.empty((4, len(v)))
        msa_angles(constants, v, np.log(v), angles[0], angles[1], angles[2], angles[3])
        n_compared = len(self._f_compared)
        sequences = self._lalsimulation.SimIMRPhenomXPMSAAngles(
            self._compared, *binary, par["iota"], self.f_ref, 2, self._options
        )
        alpha_f, gamma_f, cosine_f = (sequence.data for sequence in sequences)
        alpha, epsilon, error = compare_angles(
            angles[:, -n_compared:],
            alpha_f,
            gamma_f,
            cosine_f,
            self._reference,
            # What the m = 1 mode needs at its highest frequency.
            int(np.searchsorted(self._f_compared, 2 * f_cut)),
            _LARGEST_ROUNDING,
        )
        if not error < _LARGEST_ERROR:
            # Near equal masses and for small spins the constants amplify rounding.
            raise FastWayError("the angles are not LALSimulation's")
        angles[0] += alpha
        angles[1] += epsilon
        angles_jub = angles[:, :-n_compared].reshape(4, len(self._m_u), -1)
        # There is no waveform there, whatever the angles.
        angles_jub[:, :, np.searchsorted(self.fbin_b, f_cut * (1 + 1e-9)) :] = 0.0
        alpha_ub, epsilon_ub, cos_ub, rounding_ub = angles_jub
        replaced_ub = ~(rounding_ub < _LARGEST_ROUNDING)
        if np.count_nonzero(replaced_ub) > _MOST_REPLACED * replaced_ub.size:
            raise FastWayError("the angles amplify rounding")

        parameters = (
            self._lalsimulation.SimIMRPhenomXPCalculateModelParametersFromSourceFrame
        )
        _, _, _, theta_jn, _, _, turn = parameters(
            *binary[:2], self.f_ref, 0.0, par["iota"], *binary[2:], self._options
        )
        amplitude_upb = np.empty((len(self._m_u), 2, len(self.fbin_b)))
        phase_upb = np.empty_like(amplitude_upb)
        twist_up(
            self._modes(binary, par["iota"]),
            self._ell_l,
            self._u_l,
            self._m_u,
            self._wigner_lmk,
            self._harmonic_lmk,
            alpha_ub,
            epsilon_ub,
            cos_ub,
            theta_jn,
            turn,
            amplitude_upb,
            phase_upb,
        )
        for u in np.flatnonzero(replaced_ub.any(axis=1)).tolist():
            self._replace(par, u, replaced_ub[u], amplitude_upb[u], phase_upb[u])
        return amplitude_upb, phase_upb

    def _modes(self, binary: tuple[float, ...], iota: float) -> np.ndarray:
        """Return the co-precessing modes (l, -m), (n_l, n_b)."""
        make = self._lalsimulation.SimIMRPhenomXPHMFrequencySequenceOneMode
        modes_lb = np.empty((len(self.harmonic_modes), len(self.fbin_b)), dtype=complex)
        for mode_b, (ell, m) in zip(modes_lb, self.harmonic_modes, strict=True):
            positive, _ = make(
                self._frequencies,
                ell,
                -m,
                *binary,
                self._megaparsec,
                iota,
                0.0,
                self.f_ref,
                self._coprecessing,
            )
            mode_b[:] = positive.data.data
        return modes_lb

    def _replace(
        self,
        par: Mapping[str, float],
        u: int,
        replaced_b: np.ndarray,
        amplitude_pb: np.ndarray,
        phase_pb: np.ndarray,
    ) -> None:
        """Take the waveform of one m from LALSimulation where ``replaced_b``."""
        modes = tuple(mode for mode in self.harmonic_modes if mode[1] == self._m_u[u])
        source = Source(
            self.approximant, modes, (), {**par, "l1": 0.0, "l2": 0.0, "f_ref": self.f_ref}
        )
        # With the ends of the range, to which the model refers.
        inds = np.union1d(np.flatnonzero(replaced_b), [0, len(replaced_b) - 1])
        h_pb = amplitude_pb * np.exp(1j * phase_pb)
        h_pb[:, inds] = generate_modes(self.fbin_b[inds], source)[0]
        for h_b, amplitude_b, phase_b in zip(h_pb, amplitude_pb, phase_pb, strict=True):
            polar_unwrapped(
                np.ascontiguousarray(h_b.real),
                np.ascontiguousarray(h_b.imag),
                amplitude_b,
                phase_b,
            )


def _sequence(frequencies_f: np.ndarray) -> Any:
    """Return frequencies as LAL takes them."""
    import lal

    sequence = lal.CreateREAL8Sequence(len(frequencies_f))
    sequence.data = frequencies_f
    return sequence
