"""How precisely cogwheel's estimate of the noise level near an event is known."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from cogwheel import utils
from cogwheel.likelihood import CBCLikelihood

_TOLERANCE = inspect.signature(CBCLikelihood.compute_asd_drift).parameters["tol"].default


def asd_drift_error(likelihood: Any) -> np.ndarray:
    """Return the statistical error of ``asd_drift`` by detector, (n_d,).

    The estimate is the standard deviation of the matched-filter output z of the reference
    waveform at N times around the event. In Gaussian noise |z|^2 has the covariance
    4 |rho|^2, with rho the autocorrelation of the whitened waveform, so that the relative
    error is (sum |rho|^2 / N)^(1/2) / 2: half of cogwheel's tolerance, 0.02, unless the
    data are shorter than the N that gives it. Times that are left out as outliers are not
    subtracted from N.

    Parameters
    ----------
    likelihood : cogwheel.likelihood.RelativeBinningLikelihood
        With the reference waveform ``par_dic_0`` and the estimate, ``asd_drift``.
    """
    event = likelihood.event_data
    with utils.temporarily_change_attributes(
        likelihood.waveform_generator, disable_precession=False, harmonic_modes=None
    ):
        h_df = likelihood._get_h_f(likelihood.par_dic_0)
    power_df = np.abs(h_df * event.wht_filter) ** 2
    power_df /= power_df.sum(axis=-1, keepdims=True)
    # Parseval: sum over times of |rho|^2.
    correlation_length_d = event.nfft * np.sum(power_df**2, axis=-1)
    n_times_d = np.minimum(np.ceil(correlation_length_d / _TOLERANCE**2), event.nfft)
    return likelihood.asd_drift * np.sqrt(correlation_length_d / n_times_d) / 2
