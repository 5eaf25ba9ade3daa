"""IMRPhenomXPHM by azimuthal number, several times as fast as one mode at a time.

LALSimulation gives each co-precessing mode once; the Euler angles, most of its time, come
from :mod:`.angles`, and :mod:`dotpe_exec.kernels.twist` rotates the modes. The values are
LALSimulation's to 1e-10 of the largest amplitude.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..kernels.twist import n_frequencies_used, twist_up, wigner_coefficients
from .angles import EulerAngles, FastWayError, lal_sequence

#: Approximants made here with the modes that they have.
FAST_MODES = {
    "IMRPhenomXPHM": ((2, 2), (2, 1), (3, 3), (3, 2), (4, 4)),
    "IMRPhenomXP": ((2, 2),),
}

# A spin of 1, squared, as LALSimulation multiplies and divides it by masses.
_MAX_SPIN2 = 1 - 1e-14


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
        self._lalsimulation = lalsimulation
        self._msun, self._megaparsec = lal.MSUN_SI, 1e6 * lal.PC_SI
        self._frequencies = lal_sequence(self.fbin_b)
        self._angles = EulerAngles(self._m_u, f_ref, self.fbin_b)
        self._options = lal.CreateDict()
        self._coprecessing = lal.CreateDict()
        lalsimulation.SimInspiralWaveformParamsInsertPhenomXPHMPrecModes(
            self._coprecessing, 1
        )
        # LALSimulation computes constants in the first call of this function that others
        # use without a check.
        heavy, light = 40 * self._msun, 30 * self._msun
        self._lalsimulation.SimIMRPhenomXPHMFrequencySequenceOneMode(
            lal_sequence(np.array([20.0, 40.0])),
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
        spins = [par[s] for s in ("s1x_n", "s1y_n", "s1z", "s2x_n", "s2y_n", "s2z")]
        if max(sum(s * s for s in spins[:3]), sum(s * s for s in spins[3:])) > _MAX_SPIN2:
            raise FastWayError("a spin is 1: LALSimulation may round it up, and complain")
        binary = (par["m1"] * self._msun, par["m2"] * self._msun, *spins)
        modes_lb = self._modes(binary, par["iota"])
        # Above the model's last frequency they are zero.
        n_used = n_frequencies_used(modes_lb)
        if n_used == 0:
            raise FastWayError("the waveform is zero")
        alpha_ub, epsilon_ub, cos_ub = self._angles(binary, par["iota"], n_used)
        parameters = (
            self._lalsimulation.SimIMRPhenomXPCalculateModelParametersFromSourceFrame
        )
        _, _, _, theta_jn, _, _, turn = parameters(
            *binary[:2], self.f_ref, 0.0, par["iota"], *binary[2:], self._options
        )
        amplitude_upb = np.empty((len(self._m_u), 2, len(self.fbin_b)))
        phase_upb = np.empty_like(amplitude_upb)
        twist_up(
            modes_lb,
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
