"""What each detector saw of every sample: arrival times, signal-to-noise ratios.

With (a|b) the detector's inner product, ``asd_drift`` included, and h the sample's signal,

    optimal SNR = (h|h)^(1/2),    matched-filter SNR = (d|h) / (h|h)^(1/2)  (complex),

and the network's are (sum_d (h|h))^(1/2) and sum_d Re(d|h) / (sum_d (h|h))^(1/2), so that
ln L = matched-filter SNR x optimal SNR - (optimal SNR)^2 / 2. Inner products are the run's
own: by relative binning, once per waveform and then for all its samples at once.

Index letters: d detector, m mode, p polarisation, b frequency bin, i waveform, k its
parameters, s sample, x real terms (see :mod:`dotpe_exec.kernels.calibrated`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RunDirectoryError
from ..executors.threads import one_thread
from ..kernels.calibrated import bin_terms
from ..waveforms import ModeGenerator, generation_way
from ..waveforms.parameters import PARAMETERS

if TYPE_CHECKING:
    import pandas as pd

    from ..loading import StoredRun

# Samples of one waveform, whose terms of all bins are in memory together.
_AT_A_TIME = 512


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
    with one_thread():  # more wait for each other: the products are small
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


def mode_generator(likelihood: Any) -> ModeGenerator:
    """Return what makes the waveforms of a likelihood at its bins' edges."""
    generator = likelihood.waveform_generator
    modes = tuple((int(ell), int(m)) for ell, m in generator.harmonic_modes)
    options = tuple((key, value) for key, value in generator.lalsimulation_commands)
    return ModeGenerator(
        generator.approximant,
        modes,
        float(likelihood.par_dic_0["f_ref"]),
        likelihood.fbin,
        generation_way(generator.approximant, modes, options),
        options,
    )


def waveform_parameters(samples: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return waveforms' parameters, (n_i, 9), and which of them each sample has, (n_s,)."""
    columns = [name for name in PARAMETERS if name in samples]
    number_s = samples.groupby(columns, sort=False).ngroup().to_numpy()
    _, first = np.unique(number_s, return_index=True)
    parameters_ik = np.zeros((len(first), len(PARAMETERS)))
    for k, name in enumerate(PARAMETERS):
        if name in samples:
            parameters_ik[:, k] = samples[name].to_numpy(float)[first]
    return parameters_ik, number_s


def _inner_products(
    likelihood: Any,
    samples: pd.DataFrame,
    response_dps: np.ndarray,
    times_ds: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (d|h), complex, and (h|h) of each detector and sample, (n_d, n_s)."""
    from ..cogwheel_bridge import make_summary

    summary, generator = make_summary(likelihood), mode_generator(likelihood)
    times_ds = times_ds + likelihood.event_data.tcoarse
    dh_ds = np.empty(times_ds.shape, dtype=complex)
    hh_ds = np.empty(times_ds.shape)
    phi = samples["phi_ref"].to_numpy(float)
    distance = samples["d_luminosity"].to_numpy(float)
    parameters_ik, number_s = waveform_parameters(samples)
    order_s = np.argsort(number_s, kind="stable")
    bounds = np.searchsorted(number_s[order_s], np.arange(len(parameters_ik) + 1))
    for i, parameters_k in enumerate(parameters_ik):
        rows_i = order_s[bounds[i] : bounds[i + 1]]
        amplitude_mpb, phase_mpb, _ = generator(parameters_k)
        h_mpb = amplitude_mpb * np.exp(1j * phase_mpb)
        for rows in np.split(rows_i, range(_AT_A_TIME, len(rows_i), _AT_A_TIME)):
            terms_sdx = bin_terms(
                summary, h_mpb, response_dps[..., rows], times_ds[:, rows], phi[rows],
                distance[rows],
            ).sum(axis=-1)  # fmt: skip
            dh_ds[:, rows] = (terms_sdx[..., 0] + 1j * terms_sdx[..., 1]).T
            hh_ds[:, rows] = terms_sdx[..., 2].T
    if not (np.isfinite(dh_ds).all() and (hh_ds > 0).all()):
        raise RunDirectoryError(
            "the signals of some samples have no power in a detector: samples, event and "
            "posterior do not belong together"
        )
    return dh_ds, hh_ds
