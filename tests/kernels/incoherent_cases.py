"""Made-up summaries and waveforms of realistic size and smoothness, without LAL."""

from __future__ import annotations

import numpy as np

from dotpe_exec.kernels.summary import IncoherentSummary, LineFit, Summary, mode_pairs


def make_waveforms(rng, fbin_b, m_arr, n_i):
    """Amplitudes and unwrapped phases, (n_i, n_m, 2, n_b): inspirals that turn slowly."""
    mchirp_s = 20 * 4.925e-6 * np.exp(rng.uniform(-0.1, 0.1, n_i))
    x_ib = np.pi * mchirp_s[:, None] * fbin_b
    phase_ib = 3 / 128 * x_ib ** (-5 / 3) + 2 * np.pi * fbin_b * rng.normal(
        0, 3e-3, (n_i, 1)
    )
    shape = (n_i, len(m_arr), 2, 1)
    turn = rng.uniform(0, 0.5, shape) * np.cos(
        4 * np.log(fbin_b) + rng.uniform(0, 2 * np.pi, shape)
    )
    strength_m = np.where(np.asarray(m_arr) == 2, 1.0, 0.2)[:, None, None]
    amplitudes_impb = (
        1e-22
        * strength_m
        * rng.uniform(0.3, 1, shape)
        * np.exp(turn)
        * fbin_b ** (-7 / 6)
        / (1 + (fbin_b / 300) ** 4)
    )
    phases_impb = (
        np.asarray(m_arr)[:, None, None] / 2 * phase_ib[:, None, None, :]
        + turn
        + rng.uniform(-np.pi, np.pi, shape)
    )
    return amplitudes_impb, phases_impb


def make_case(seed, *, n_d=3, m_arr=(2, 1, 3, 4), n_b=60, n_t=24, n_i=5, snr=8.0):
    """Return amplitudes, phases and an IncoherentSummary with a signal and noise."""
    rng = np.random.default_rng(seed)
    fbin_b = np.geomspace(20, 700, n_b)
    m_arr = np.asarray(m_arr)
    amplitudes_impb, phases_impb = make_waveforms(rng, fbin_b, m_arr, n_i + 1)
    h0_mpb = (amplitudes_impb * np.exp(1j * phases_impb))[-1]
    m2_index = list(m_arr).index(2)

    power_db = np.gradient(fbin_b) / (
        1e-46 * (1 + (40 / fbin_b) ** 4 + (fbin_b / 200) ** 2)
    )
    power_db = power_db * rng.uniform(0.5, 2, (n_d, 1))
    # The signal's distance, so that its ratio to the noise is about `snr`.
    distance = np.sqrt((power_db[0] * np.abs(h0_mpb) ** 2).sum()) / snr
    t_d = 8 + rng.uniform(-0.02, 0.02, n_d)
    response_dp = rng.normal(size=(n_d, 2))
    signal_db = np.einsum("dp,mpb->db", response_dp, h0_mpb) / distance
    signal_db = signal_db * np.exp(-2j * np.pi * fbin_b * t_d[:, None])
    noise_db = (rng.normal(size=(n_d, n_b)) + 1j * rng.normal(size=(n_d, n_b))) / np.sqrt(
        power_db
    )
    wiggle = 1 + 0.02 * rng.normal(size=(n_d, len(m_arr), 2, n_b))
    dh_weights_dmpb = (power_db * (signal_db + noise_db))[:, None, None] * wiggle

    m_inds, mprime_inds = mode_pairs(len(m_arr))
    factor_k = np.where(m_inds == mprime_inds, 1, 2)[:, None, None, None]
    hh_weights_dmppb = (power_db[:, None, None, None] * factor_k) * (
        1 + 0.01j * np.sin(np.log(fbin_b) * np.arange(4).reshape(2, 2, 1))
    )
    times_dt = t_d[:, None] + 1e-3 * (np.arange(n_t) - n_t // 2)
    line_fit = LineFit(
        fbin_b=fbin_b,
        h2plus0_b=h0_mpb[m2_index, 0],
        weights_b=np.sqrt(power_db[0]) * np.abs(h0_mpb[m2_index, 0]),
        m2_index=m2_index,
    )
    summary = Summary(
        fbin_b=fbin_b,
        m_arr=m_arr,
        dh_weights_dmpb=dh_weights_dmpb,
        hh_weights_dmppb=hh_weights_dmppb,
        asd_drift_d=rng.uniform(0.9, 1.1, n_d),
        line_fit=line_fit,
    )
    return amplitudes_impb[:n_i], phases_impb[:n_i], IncoherentSummary(summary, times_dt)
