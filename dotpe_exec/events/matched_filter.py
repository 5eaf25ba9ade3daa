"""A quick matched filter: the chirp mass of an event and how loud it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..kernels.masses import chirp_mass, primary_mass

if TYPE_CHECKING:
    from cogwheel.data import EventData

LOWEST, HIGHEST = 4.0, 120.0
"""Chirp masses searched [solar masses]: from a light black hole and a heavy neutron star
to what hardly enters the detectors' band."""

N_TEMPLATES = 384

MASS_RATIO = 0.7
"""Of the templates; they do not spin."""

# Above this frequency [Hz] there is little to tell chirp masses apart.
_F_MAX = 512.0
_GM_SUN_C3 = 4.925490947641267e-06  # Solar mass [s]


@dataclass(frozen=True)
class BestTemplate:
    """The template that matches an event best.

    Parameters
    ----------
    mchirp : float
        [solar masses]
    lnlike : float
        ln likelihood, maximised over amplitude, phase and time in each detector.
    """

    mchirp: float
    lnlike: float


def search_template(
    event_data: EventData,
    approximant: str,
    f_ref: float,
    mchirp_range: tuple[float, float] = (LOWEST, HIGHEST),
) -> BestTemplate:
    """Return the best of a ladder of templates.

    Rungs are dense where signals are long: half of them at equal steps of the logarithm,
    half at equal steps of the inverse.

    Raises
    ------
    InputError
        None of the templates could be generated.
    """
    low, high = mchirp_range
    n = N_TEMPLATES // 2
    mchirp_i = np.unique(
        np.concatenate([np.geomspace(low, high, n), 1 / np.linspace(1 / high, 1 / low, n)])
    )
    q = MASS_RATIO
    m1_i = primary_mass(mchirp_i, q)
    zero = np.zeros(len(mchirp_i))
    templates = np.stack([m1_i, q * m1_i, zero, zero], axis=1)
    found = best_template(event_data, templates, approximant, f_ref)
    if found is None:
        raise InputError(
            f"{approximant} could generate none of {len(templates)} templates to find the "
            "event's chirp mass with; give mchirp_range, par_dic_0 and pn_phase_tol"
        )
    return found


@dataclass(frozen=True)
class Trigger:
    """What a search would say of an event: its best template, and how loud it is.

    Parameters
    ----------
    mchirp : float
        Of the template, in the detector's frame [solar masses].
    snr : dict of float
        Signal-to-noise ratio by detector, the largest within the times searched.
    time : dict of float
        When, by detector [GPS s].
    """

    mchirp: float
    snr: dict[str, float]
    time: dict[str, float]

    @property
    def network_snr(self) -> float:
        """Root of the sum of the squares over detectors."""
        return float(np.sqrt(sum(snr**2 for snr in self.snr.values())))


def find_trigger(
    event_data: EventData,
    approximant: str = "IMRPhenomXPHM",
    f_ref: float = 50.0,
    *,
    time_range: tuple[float, float] = (-0.1, 0.1),
) -> Trigger:
    """Filter an event with a ladder of templates, each detector on its own.

    Parameters
    ----------
    event_data : cogwheel.data.EventData
    approximant : str
    f_ref : float
        [Hz]
    time_range : (float, float)
        Arrival times considered, relative to the event's time [s].

    Raises
    ------
    InputError
        None of the templates could be generated.
    """
    found = search_template(event_data, approximant, f_ref)
    m1 = primary_mass(found.mchirp, MASS_RATIO)
    stretch = _Stretch(event_data, found.mchirp, time_range)
    template = np.array([m1, MASS_RATIO * m1, 0.0, 0.0])
    snr_dt = stretch.snrs(template, approximant, f_ref)
    names = event_data.detector_names
    times = event_data.tgps + time_range[0] + np.arange(snr_dt.shape[1]) * stretch.dt
    return Trigger(
        found.mchirp,
        dict(zip(names, map(float, snr_dt.max(axis=1)), strict=True)),
        dict(zip(names, map(float, times[snr_dt.argmax(axis=1)]), strict=True)),
    )


def best_template(
    event_data: EventData,
    templates: np.ndarray,
    approximant: str,
    f_ref: float,
    *,
    time_range: tuple[float, float] = (-0.1, 0.1),
) -> BestTemplate | None:
    """Return the best matching template, None where none could be generated.

    The (2, 2) mode of each, without in-plane spins, is matched-filtered with a stretch of
    data as long as the longest signal; maxima over amplitude, phase and time are added
    over detectors. It takes about a second whatever the length of the data.

    Parameters
    ----------
    event_data : cogwheel.data.EventData
    templates : (n, 4) float
        m1, m2 [solar masses], s1z, s2z.
    approximant : str
    f_ref : float
        [Hz]
    time_range : (float, float)
        Arrival times considered, relative to the event's time [s].
    """
    mchirp_i = chirp_mass(templates[:, 0], templates[:, 1])
    stretch = _Stretch(event_data, float(mchirp_i.min()), time_range)
    lnlike_i = stretch.lnlikes(templates, approximant, f_ref)
    if not np.isfinite(lnlike_i).any():
        return None
    best = np.nanargmax(lnlike_i)
    return BestTemplate(float(mchirp_i[best]), float(lnlike_i[best]))


class _Stretch:
    """The data around an event, cut to a given signal's length.

    Cutting makes the frequency grid coarse, which is what makes the filtering cheap.
    """

    def __init__(
        self, event_data: EventData, mchirp_min: float, time_range: tuple[float, float]
    ):
        fmin = max(event_data.fbounds[0], event_data.df)
        # Newtonian time to coalescence, with a margin.
        mass = _GM_SUN_C3 * mchirp_min
        length = 5 / 256 * (np.pi * fmin) ** (-8 / 3) * mass ** (-5 / 3)
        after = max(time_range[1], 0.0) + 0.4
        duration = min(1.2 * length + 0.5 - time_range[0] + after, 1 / event_data.df)
        dt = event_data.times[1]
        self.dt = float(dt)
        n_samples = min(2 * int(np.ceil(duration / dt / 2)), event_data.nfft)

        blued_t = np.fft.irfft(event_data.blued_strain)
        # The first sample of the stretch; data are periodic.
        start = round((event_data.tcoarse + after) / dt) - n_samples
        blued_t = np.roll(blued_t, -start, axis=-1)[:, :n_samples]
        self._generator_event = event_data
        self._n_samples = n_samples
        self._df = 1 / (n_samples * dt)
        frequencies = np.arange(n_samples // 2 + 1) * self._df
        inside = (frequencies >= fmin) & (frequencies <= min(_F_MAX, event_data.fbounds[1]))
        self._f_slice = slice(*(np.flatnonzero(inside)[[0, -1]] + [0, 1]))
        self._frequencies = frequencies[self._f_slice]
        self._blued_df = np.fft.rfft(blued_t)[:, self._f_slice]
        self._weight_df = self._average(event_data.wht_filter**2, event_data.frequencies)
        # Where in the stretch the times of interest are.
        self._times = np.arange(
            *np.rint((event_data.tcoarse + np.array(time_range)) / dt).astype(int) - start
        )

    def _average(self, weight_df: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
        """Average the squared whitening filter over the cells of the coarse grid."""
        edges = np.append(self._frequencies, self._frequencies[-1] + self._df)
        edges -= self._df / 2
        step = frequencies[1] - frequencies[0]
        total_df = np.cumsum(weight_df, axis=1)
        return np.array(
            [
                np.diff(np.interp(edges, frequencies + step / 2, total_f)) * step / self._df
                for total_f in total_df
            ]
        )

    def lnlikes(self, templates: np.ndarray, approximant: str, f_ref: float) -> np.ndarray:
        """Return ln likelihoods maximised over amplitude, phase and time by detector.

        Waveforms that cannot be generated get NaN.
        """
        lnlike_i = np.full(len(templates), np.nan)
        for i, h_f in enumerate(self._waveforms(templates, approximant, f_ref)):
            if h_f is not None and (snr_dt := self._snrs(h_f)) is not None:
                lnlike_i[i] = np.sum(np.max(snr_dt, axis=1) ** 2) / 2
        return lnlike_i

    def snrs(self, template: np.ndarray, approximant: str, f_ref: float) -> np.ndarray:
        """Return a template's signal-to-noise ratios, (n_d, n_t), at the times wanted."""
        (h_f,) = self._waveforms(template[np.newaxis], approximant, f_ref)
        snr_dt = None if h_f is None else self._snrs(h_f)
        if snr_dt is None:
            raise InputError(f"{approximant} has no waveform for the best template")
        return snr_dt

    def _waveforms(
        self, templates: np.ndarray, approximant: str, f_ref: float
    ) -> Iterator[np.ndarray | None]:
        """Yield waveforms (n_f,), None for those that cannot be generated."""
        from cogwheel.waveform import DEFAULT_PARS, WaveformGenerator

        generator = WaveformGenerator.from_event_data(
            self._generator_event, approximant, harmonic_modes=[(2, 2)]
        )
        fixed: dict[str, Any] = DEFAULT_PARS | {
            "d_luminosity": 1.0, "phi_ref": 0.0, "iota": 0.0, "f_ref": f_ref,
        }  # fmt: skip
        for values in templates:
            par_dic = fixed | dict(zip(("m1", "m2", "s1z", "s2z"), values, strict=True))
            try:
                h_f = generator.get_hplus_hcross(self._frequencies, par_dic)[0]
            except (RuntimeError, ValueError):
                h_f = None  # Outside of the approximant's domain
            yield h_f

    def _snrs(self, h_f: np.ndarray) -> np.ndarray | None:
        """Return |(d|h)| / (h|h)^(1/2) (n_d, n_t), None where a detector sees nothing."""
        h_h_d = 4 * self._df * (self._weight_df @ np.abs(h_f) ** 2)
        if not np.all(h_h_d > 0):
            return None
        # The waveform coalesces at time zero; only the positive frequencies make the
        # output complex, its modulus the maximum over phase.
        spectrum = np.zeros((len(self._blued_df), self._n_samples), dtype=complex)
        spectrum[:, self._f_slice] = self._blued_df * h_f.conj()
        d_h_dt = 4 * self._df * self._n_samples * np.fft.ifft(spectrum)[:, self._times]
        return np.abs(d_h_dt) / np.sqrt(h_h_d)[:, np.newaxis]
