"""Whether a reference waveform is where the data have their signal."""

from __future__ import annotations

from typing import Any

import numpy as np
from cogwheel import gw_utils

# A detector in which the signal is weaker may peak at noise anywhere.
_MIN_SNR = 5.0


def arrival_offset(likelihood: Any, max_offset: float, allowed: float) -> float:
    """Return how much later than the reference waveform its best match arrives [s].

    It is the offset of a detector that hears the signal, the one around which all hear
    most; 0 where none does, or where around the reference's own times no less is heard. (A
    waveform that fits badly may peak at a wrong time in one detector.)

    Parameters
    ----------
    likelihood : cogwheel.likelihood.RelativeBinningLikelihood
        With the reference waveform ``par_dic_0``.
    max_offset : float
        How far to look [s].
    allowed : float
        Offsets up to here do not matter [s].
    """
    event = likelihood.event_data
    h_df = likelihood._get_h_f(likelihood.par_dic_0)
    # Without the drift, which the other side does not have either.
    h_df /= np.sqrt(likelihood._compute_h_h(h_df) * likelihood.asd_drift**2)[:, np.newaxis]
    z_cos_dt, z_sin_dt = likelihood._matched_filter_timeseries(h_df)
    dt = event.times[1]
    n = min(int(max_offset / dt), event.nfft // 2 - 1)
    near = np.arange(-n, n + 1)
    snr_dt = np.hypot(z_cos_dt[:, near], z_sin_dt[:, near])
    offset_d = near[np.argmax(snr_dt, axis=1)] * dt
    snr_d = snr_dt.max(axis=1)
    loudest = int(np.argmax(snr_d))
    # A signal is at most so much earlier or later elsewhere, wherever the reference lies.
    travel = gw_utils.EARTH_CROSSING_TIME
    heard_d = (snr_d >= _MIN_SNR) & (np.abs(offset_d - offset_d[loudest]) <= travel)
    if not heard_d[loudest]:
        return 0.0

    def heard_around(time: float) -> float:
        around = np.abs(near * dt - time) <= allowed
        return float((snr_dt[heard_d][:, around].max(axis=1) ** 2).sum())

    # Of equals the first.
    return max([0.0, *offset_d[heard_d].tolist()], key=heard_around)
