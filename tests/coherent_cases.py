"""Small problems for tests of the coherent phase: consistent data, waveforms, samples.

The likelihood is that of data in white-noise bins, so that (h|h) is a true norm:
weights are the data's, the same for all modes, and (h|h) weights one (two for m != m').
Amplitudes have the size of strains at 1 Mpc and weights that of inverse spectra.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dotpe_exec.kernels.summary import LineFit, Summary, mode_pairs

AMPLITUDE = 1e-19
WEIGHT = 1e39


@dataclass(frozen=True)
class CoherentCase:
    """A problem, and its waveforms as a bank stores them."""

    amplitudes_impb: np.ndarray
    phases_impb: np.ndarray
    summary: Summary
    response_dpe: np.ndarray
    timeshift_dbe: np.ndarray

    @property
    def h_impb(self) -> np.ndarray:
        return self.amplitudes_impb * np.exp(1j * self.phases_impb)


def make_case(
    seed: int = 0,
    *,
    n_i: int = 6,
    m_arr: tuple[int, ...] = (2, 1, 3, 4),
    n_d: int = 2,
    n_b: int = 24,
    n_e: int = 9,
    snr: float = 12.0,
    time_spread: float = 0.01,
    linear_polarisation: bool = False,
) -> CoherentCase:
    """Return a random problem with the signal of waveform 0 at sample 0 in the data."""
    rng = np.random.default_rng(seed)
    fbin_b = np.linspace(20.0, 400.0, n_b)
    n_m = len(m_arr)
    strength_m = np.where(np.array(m_arr) == 2, 1.0, 0.2)
    spectrum_b = (fbin_b / 100.0) ** (-7 / 6)
    scatter_imp = rng.uniform(0.3, 1.0, (n_i, n_m, 2))
    amplitudes_impb = (
        AMPLITUDE * strength_m[:, None, None] * scatter_imp[..., None] * spectrum_b
    )
    # Modes chirp differently, so that they hardly overlap.
    phases_impb = rng.uniform(0, 2 * np.pi, (n_i, n_m, 2, 1)) + np.array(m_arr)[
        :, None, None
    ] * rng.normal(3, 1, (n_i, 1, 1, 1)) * np.log(fbin_b / 100)
    if linear_polarisation:
        phases_impb[:, :, 1] = phases_impb[:, :, 0]
        amplitudes_impb[:, :, 1] = 0.5 * amplitudes_impb[:, :, 0]
    response_dpe = rng.uniform(-1, 1, (n_d, 2, n_e))
    times_de = rng.uniform(-time_spread, time_spread, (n_d, n_e)) + 8.0
    timeshift_dbe = np.exp(-2j * np.pi * fbin_b[:, None] * times_de[:, None])

    h_mpb = (amplitudes_impb * np.exp(1j * phases_impb))[0]
    asd_drift_d = rng.uniform(0.8, 1.2, n_d)
    signal_db = np.einsum(
        "mpb,dp,db->db", h_mpb, response_dpe[:, :, 0], timeshift_dbe[:, :, 0]
    )
    norm = np.sqrt(WEIGHT * np.sum(np.abs(signal_db) ** 2 / asd_drift_d[:, None] ** 2))
    noise_db = rng.normal(size=(2, n_d, n_b)).T.dot([1, 1j]).T / np.sqrt(WEIGHT)
    data_db = signal_db * (snr / norm if norm > 0 else 0.0) + noise_db
    m, mprime = mode_pairs(n_m)
    shape = (n_d, n_m, 2, n_b)
    summary = Summary(
        fbin_b=fbin_b,
        m_arr=np.array(m_arr),
        dh_weights_dmpb=np.broadcast_to(WEIGHT * data_db[:, None, None], shape).copy(),
        hh_weights_dmppb=np.broadcast_to(
            WEIGHT * np.where(m == mprime, 1.0, 2.0)[:, None, None, None],
            (n_d, len(m), 2, 2, n_b),
        ).astype(complex),
        asd_drift_d=asd_drift_d,
        line_fit=LineFit(
            fbin_b, h_mpb[0, 0], np.ones(n_b), m_arr.index(2) if 2 in m_arr else 0
        ),
    )
    return CoherentCase(amplitudes_impb, phases_impb, summary, response_dpe, timeshift_dbe)
