"""The data as the likelihood used them, in the words of other programs.

The likelihood divides every inner product by ``asd_drift`` squared, so the noise that it
assumes has the power spectral density of the whitening filter *times* that square. Whoever
takes the density without it gets other likelihoods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..derived.detectors import interferometer_name

if TYPE_CHECKING:
    from ..loading import StoredRun


@dataclass(frozen=True)
class AnalysedData:
    """Strain and noise of the detectors on the data's frequency grid.

    Parameters
    ----------
    names : tuple of str
        H1, L1, ...
    frequencies : (n_f,) float
        [Hz]
    strain_df : (n_d, n_f) complex
        Fourier transform of the strain [1/Hz], counted from ``start_time``.
    psd_df : (n_d, n_f) float
        Power spectral density [1/Hz], ``asd_drift`` included; infinite where the data were
        not used.
    asd_drift_d : (n_d,) float
    start_time : float
        [GPS s]
    """

    names: tuple[str, ...]
    frequencies: np.ndarray
    strain_df: np.ndarray
    psd_df: np.ndarray
    asd_drift_d: np.ndarray
    start_time: float

    @property
    def duration(self) -> float:
        """Seconds of data."""
        return float(1 / (self.frequencies[1] - self.frequencies[0]))

    @property
    def sampling_frequency(self) -> float:
        """Twice the highest frequency [Hz]."""
        return float(2 * self.frequencies[-1])

    @property
    def f_low(self) -> float:
        """Lowest frequency that any detector's data were used at [Hz]."""
        return float(self.frequencies[self._used][0])

    @property
    def f_final(self) -> float:
        """Highest frequency that any detector's data were used at [Hz]."""
        return float(self.frequencies[self._used][-1])

    @property
    def _used(self) -> np.ndarray:
        return np.isfinite(self.psd_df).any(axis=0)

    @property
    def noise_lnlike(self) -> float:
        """ln likelihood of the data being noise alone, up to the same constant."""
        df = 1 / self.duration
        return float(-2 * df * np.sum(np.abs(self.strain_df) ** 2 / self.psd_df))


def analysed_data(run: StoredRun) -> AnalysedData:
    """Return the data of a run with the noise that its likelihood assumed.

    Raises
    ------
    MissingFileError, RunDirectoryError, EventError
        Event or posterior are not in the run directory, or damaged.
    """
    likelihood = run.likelihood
    event = likelihood.event_data
    asd_drift_d = np.array(likelihood.asd_drift, float)
    whitening_df = np.asarray(event.wht_filter, float)
    psd_df = np.full(whitening_df.shape, np.inf)
    np.divide(
        asd_drift_d[:, np.newaxis] ** 2, whitening_df**2, out=psd_df, where=whitening_df > 0
    )
    return AnalysedData(
        names=tuple(interferometer_name(name) for name in event.detector_names),
        frequencies=np.asarray(event.frequencies, float),
        strain_df=np.asarray(event.strain, complex),
        psd_df=psd_df,
        asd_drift_d=asd_drift_d,
        start_time=float(event.tgps - event.tcoarse),
    )


def waveform_arguments(run: StoredRun, data: AnalysedData) -> dict[str, Any]:
    """Return the arguments of bilby's waveform generator."""
    arguments: dict[str, Any] = {
        "waveform_approximant": run.approximant,
        "reference_frequency": reference_frequency(run),
        "minimum_frequency": data.f_low,
        "maximum_frequency": data.f_final,
    }
    if str(run.approximant).startswith("IMRPhenomX"):
        # On a grid LALSimulation interpolates these waveforms, unless told not to; at
        # single frequencies, as the run asked for them, it does not.
        arguments |= {"PhenomXHMThresholdMband": 0.0, "PhenomXPHMThresholdMband": 0.0}
    if run.harmonic_modes is not None:
        arguments["mode_array"] = [
            [ell, sign * m] for ell, m in run.harmonic_modes for sign in (1, -1)
        ]
    return arguments


def reference_frequency(run: StoredRun) -> float:
    """Return the frequency that spins are given at [Hz]."""
    return float(run.likelihood.par_dic_0["f_ref"])


def bilby_likelihood(run: StoredRun) -> Any:
    """Return bilby's likelihood of the same data with the same noise and waveforms.

    Parameters
    ----------
    run : StoredRun

    Returns
    -------
    bilby.gw.GravitationalWaveTransient
        Its ``log_likelihood_ratio`` of an exported sample is the sample's
        ``log_likelihood``, up to relative binning.

    Raises
    ------
    InputError
        bilby is not installed.
    MissingFileError, RunDirectoryError, EventError
        Event or posterior are not in the run directory, or damaged.
    """
    from ..optional import needs

    with needs("bilby", "interop"):
        import bilby
    data = analysed_data(run)
    interferometers = bilby.gw.detector.InterferometerList(list(data.names))
    for k, detector in enumerate(interferometers):
        detector.minimum_frequency, detector.maximum_frequency = data.f_low, data.f_final
        detector.strain_data.set_from_frequency_domain_strain(
            data.strain_df[k],
            sampling_frequency=data.sampling_frequency,
            duration=data.duration,
            start_time=data.start_time,
        )
        detector.power_spectral_density = bilby.gw.detector.PowerSpectralDensity(
            frequency_array=data.frequencies, psd_array=data.psd_df[k]
        )
    generator = bilby.gw.WaveformGenerator(
        duration=data.duration,
        sampling_frequency=data.sampling_frequency,
        start_time=data.start_time,
        frequency_domain_source_model=bilby.gw.source.lal_binary_black_hole,
        parameter_conversion=bilby.gw.conversion.convert_to_lal_binary_black_hole_parameters,
        waveform_arguments=waveform_arguments(run, data),
    )
    return bilby.gw.GravitationalWaveTransient(interferometers, generator)
