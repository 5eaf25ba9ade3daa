"""Events from time series: cogwheel's conditioning, and filters of any density."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from cogwheel.data import EventData, highpass_filter

if TYPE_CHECKING:
    from gwpy.timeseries import TimeSeries

_DF_TAPER = 1.0  # [Hz], of the high-pass filter; cogwheel's default


def event_from_timeseries(
    series: Sequence[TimeSeries],
    name: str,
    detectors: Sequence[str],
    tgps: float,
    *,
    t_before: float,
    t_after: float,
    wht_filter_duration: float,
    fmin: float,
    fmax: float,
) -> EventData:
    """Return the event that ``EventData.from_timeseries`` makes of files of these series.

    Parameters
    ----------
    series : sequence of gwpy.timeseries.TimeSeries
        One for each detector, without gaps.
    name, detectors, tgps, t_before, t_after, wht_filter_duration, fmin, fmax
        As there.
    """
    rows = [
        EventData._get_f_strain_whtfilter_from_timeseries(
            one, tgps, t_before, t_after, wht_filter_duration, fmin, _DF_TAPER, fmax
        )
        for one in series
    ]
    frequencies, strain, wht_filter, tcoarse = zip(*rows, strict=True)
    for other in frequencies[1:]:
        np.testing.assert_array_equal(frequencies[0], other)
    return EventData(
        name, frequencies[0], np.array(strain), np.array(wht_filter), tuple(detectors),
        tgps, tcoarse[0],
    )  # fmt: skip


def whitening_filter(
    frequencies: np.ndarray, asd_f: np.ndarray, fmin: float, wht_filter_duration: float
) -> np.ndarray:
    """Return the whitening filter that cogwheel makes of an amplitude spectral density.

    Parameters
    ----------
    frequencies : (n_f,) float
        Of the real Fourier transform of the data [Hz].
    asd_f : (n_f,) float
        [Hz^-1/2]
    fmin : float
        The filter is zero below [Hz].
    wht_filter_duration : float
        Length of its response [s].

    Returns
    -------
    (n_f,) float
    """
    highpass = highpass_filter(frequencies, fmin, _DF_TAPER)
    response_t = np.fft.irfft(highpass / asd_f)
    from scipy.signal.windows import tukey

    window = tukey(int(wht_filter_duration * 2 * frequencies[-1]), 0.1)
    n_pad = len(response_t) - len(window)
    window_t = np.fft.fftshift(np.pad(window, (n_pad // 2, n_pad - n_pad // 2)))
    return highpass * np.fft.rfft(window_t * response_t).real
