"""What each detector saw of every sample: arrival times, signal-to-noise ratios.

With (a|b) the detector's inner product, ``asd_drift`` included, and h the sample's signal,

    optimal SNR = (h|h)^(1/2),    matched-filter SNR = (d|h) / (h|h)^(1/2)  (complex),

and the network's are (sum_d (h|h))^(1/2) and sum_d Re(d|h) / (sum_d (h|h))^(1/2), so that
ln L = matched-filter SNR x optimal SNR - (optimal SNR)^2 / 2. Inner products are the run's
own: by relative binning, once per waveform and then for all its samples at once.

Index letters: d detector, m mode, p polarisation, c the (m, p) pairs, b frequency bin,
s sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RunDirectoryError

if TYPE_CHECKING:
    import pandas as pd

    from ..kernels.summary import Summary
    from ..loading import StoredRun


def interferometer_name(detector: str) -> str:
    """Return the name that other programs use, H1 for H."""
    return f"{detector}1"


def detector_parameters(run: StoredRun, samples: pd.DataFrame) -> pd.DataFrame:
    """Return arrival times and signal-to-noise ratios of samples in each detector.

    Parameters
    ----------
    run : StoredRun
        With its event and ``Posterior.json``.
    samples : DataFrame
        Rows of its ``samples``.

    Returns
    -------
    DataFrame
        With the index of ``samples``; for each detector (H1, ...) ``H1_time`` [GPS s],
        ``H1_optimal_snr``, ``H1_matched_filter_snr`` (the real part),
        ``H1_matched_filter_abs_snr``, ``H1_matched_filter_snr_angle`` [rad]; and
        ``network_optimal_snr``, ``network_matched_filter_snr``.

    Raises
    ------
    MissingFileError, RunDirectoryError
        The run directory lacks event or posterior, or these are damaged.
    """
    import pandas as pd

    likelihood = run.likelihood
    event = likelihood.event_data
    names = [interferometer_name(name) for name in event.detector_names]
    response_dps, delay_ds = antennas(event.detector_names, samples, event.tgps)
    times_ds = samples["t_geocenter"].to_numpy(float) + delay_ds
    dh_ds, hh_ds = _inner_products(likelihood, samples, response_dps, times_ds)
    out: dict[str, np.ndarray] = {}
    for d, name in enumerate(names):
        optimal = np.sqrt(hh_ds[d])
        matched = dh_ds[d] / optimal
        out[f"{name}_time"] = event.tgps + times_ds[d]
        out[f"{name}_optimal_snr"] = optimal
        out[f"{name}_matched_filter_snr"] = matched.real
        out[f"{name}_matched_filter_abs_snr"] = np.abs(matched)
        out[f"{name}_matched_filter_snr_angle"] = np.angle(matched)
    optimal = np.sqrt(hh_ds.sum(axis=0))
    out["network_optimal_snr"] = optimal
    out["network_matched_filter_snr"] = dh_ds.sum(axis=0).real / optimal
    return pd.DataFrame(out, index=samples.index)


def antennas(
    detector_names: Sequence[str], samples: pd.DataFrame, tgps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return antenna responses (n_d, 2, n_s) and delays from the geocenter (n_d, n_s)."""
    import lal
    from cogwheel import gw_utils

    names = tuple(detector_names)
    psi = samples["psi"].to_numpy(float)
    lat = samples["dec"].to_numpy(float)
    lon = samples["ra"].to_numpy(float) - lal.GreenwichMeanSiderealTime(tgps)
    # (n_s, n_d, 2) -> (2, n_d, n_s)
    plus_ds, cross_ds = gw_utils.get_fplus_fcross_0(names, lat, lon).T
    cos, sin = np.cos(2 * psi), np.sin(2 * psi)
    response_dps = np.stack(
        [cos * plus_ds + sin * cross_ds, cos * cross_ds - sin * plus_ds], axis=1
    )
    return response_dps, gw_utils.get_geocenter_delays(names, lat, lon)


def _inner_products(
    likelihood: Any,
    samples: pd.DataFrame,
    response_dps: np.ndarray,
    times_ds: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (d|h), complex, and (h|h) of each detector and sample, (n_d, n_s)."""
    from ..cogwheel_bridge import hplus_hcross_by_m, make_summary

    summary = make_summary(likelihood)
    generator = likelihood.waveform_generator
    times_ds = times_ds + likelihood.event_data.tcoarse
    dh_ds = np.empty(times_ds.shape, dtype=complex)
    hh_ds = np.empty(times_ds.shape)
    slow = list(generator.slow_params)
    phi = samples["phi_ref"].to_numpy(float)
    distance = samples["d_luminosity"].to_numpy(float)
    rows_by_waveform = samples.reset_index(drop=True).groupby(slow, sort=False).indices
    for values, rows in rows_by_waveform.items():
        par_dic = dict(zip(slow, map(float, values), strict=True))
        h_mpb = hplus_hcross_by_m(generator, summary.fbin_b, par_dic)
        factors_dcs = _factors(summary, phi[rows], distance[rows], response_dps[..., rows])
        dh_ds[:, rows], hh_ds[:, rows] = _of_waveform(
            summary, h_mpb, factors_dcs, times_ds[:, rows]
        )
    if not (np.isfinite(dh_ds).all() and (hh_ds > 0).all()):
        raise RunDirectoryError(
            "the signals of some samples have no power in a detector: samples, event and "
            "posterior do not belong together"
        )
    return dh_ds, hh_ds


def _factors(
    summary: Summary, phi_s: np.ndarray, distance_s: np.ndarray, response_dps: np.ndarray
) -> np.ndarray:
    """Return what modes and polarisations are multiplied with, (n_d, n_m * 2, n_s)."""
    phases_ms = np.exp(1j * np.outer(summary.m_arr, phi_s)) / distance_s
    factors_dmps = phases_ms[:, np.newaxis] * response_dps[:, np.newaxis]
    return factors_dmps.reshape(len(response_dps), -1, len(phi_s))


def _of_waveform(
    summary: Summary, h_mpb: np.ndarray, factors_dcs: np.ndarray, times_ds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    from ..kernels.summary import mode_pairs

    n_d, n_m = len(times_ds), len(h_mpb)
    shifts_dbs = np.exp(
        2j * np.pi * summary.fbin_b[:, np.newaxis] * times_ds[:, np.newaxis]
    )
    terms_dcb = (summary.dh_weights_dmpb * h_mpb.conj()).reshape(n_d, 2 * n_m, -1)
    dh_ds = np.sum(factors_dcs.conj() * (terms_dcb @ shifts_dbs), axis=1)
    m, mprime = mode_pairs(n_m)
    hh_dkpp = np.einsum(
        "dkpqb,kpb,kqb->dkpq", summary.hh_weights_dmppb, h_mpb[m], h_mpb[mprime].conj()
    )
    factors_dmps = factors_dcs.reshape(n_d, n_m, 2, -1)
    hh_ds = np.einsum(
        "dkpq,dkps,dkqs->ds", hh_dkpp, factors_dmps[:, m], factors_dmps[:, mprime].conj()
    ).real
    drift2_d1 = np.square(summary.asd_drift_d)[:, np.newaxis]
    return dh_ds / drift2_d1, hh_ds / drift2_d1
