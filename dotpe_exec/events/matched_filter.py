"""A quick matched filter: the chirp mass of an event and how loud it is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..kernels.masses import chirp_mass, primary_mass

if TYPE_CHECKING:
    from cogwheel.data import EventData

LOWEST, HIGHEST = 4.0, 120.0
"""Chirp masses searched in any data [solar masses]: from light black holes to what hardly
enters the detectors' band."""

LIGHTEST, LONG_ENOUGH = 1.0, 30.0
"""Two light neutron stars [solar masses]: searched down to this in data so long [s], as
those are of which such signals are to be analysed."""

N_TEMPLATES = 384

LONGEST, CYCLES = 24.0, 4.0
"""Light signals are matched with their last seconds, so many, by templates that differ in
so many cycles: enough to see which are worth looking at more closely."""

N_NODES = 1024
"""Frequencies at which their waveforms are made; between them they are interpolated."""

N_CLOSER, PARTS = 8, 4
"""How many of the templates are looked at more closely, and by how many smaller steps."""

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
    mchirp_range: tuple[float, float] | None = None,
) -> BestTemplate:
    """Return the best of a ladder of templates.

    Rungs are dense where signals are long: half of them at equal steps of the logarithm,
    half at equal steps of the inverse; below :data:`LOWEST` by cycles.

    Parameters
    ----------
    event_data : cogwheel.data.EventData
    approximant : str
    f_ref : float
        [Hz]
    mchirp_range : (float, float), optional
        [solar masses]; default: all that can be in data of this length.

    Raises
    ------
    InputError
        None of the templates could be generated.
    """
    low, high = mchirp_range or (lightest_in(event_data), HIGHEST)
    found = []
    if high > LOWEST:
        found.append(_search_heavy(event_data, approximant, f_ref, max(low, LOWEST), high))
    if low < LOWEST:
        found.append(_search_light(event_data, approximant, f_ref, low, min(high, LOWEST)))
    made = [best for best in found if best is not None]
    if not made:
        raise InputError(
            f"{approximant} could generate none of the templates to find the event's chirp "
            "mass with; give mchirp_range, par_dic_0 and pn_phase_tol"
        )
    return max(made, key=lambda best: best.lnlike)


def lightest_in(event_data: EventData) -> float:
    """Return the lowest chirp mass that is searched in data of a length."""
    return LIGHTEST if 1 / event_data.df >= LONG_ENOUGH else LOWEST


def _search_heavy(
    event_data: EventData, approximant: str, f_ref: float, low: float, high: float
) -> BestTemplate | None:
    n = N_TEMPLATES // 2
    mchirp_i = np.unique(
        np.concatenate([np.geomspace(low, high, n), 1 / np.linspace(1 / high, 1 / low, n)])
    )
    return best_template(event_data, _templates(mchirp_i), approximant, f_ref)


def _search_light(
    event_data: EventData, approximant: str, f_ref: float, low: float, high: float
) -> BestTemplate | None:
    """Return the best template of light signals: on a coarse ladder, then more closely.

    A step of the ladder is one of ln chirp mass by ``CYCLES`` of the Newtonian number of
    cycles in the band; signals that last longer than ``LONGEST`` are matched from the
    frequency on from which they do not.
    """
    edges = np.geomspace(low, high, 1 + int(np.ceil(np.log(high / low) / np.log(1.5))))
    tried: list[tuple[float, float, float, _Stretch]] = []  # ln L, ln chirp mass, step
    for lightest, heaviest in itertools.pairwise(edges):
        stretch = _Stretch(event_data, lightest, (-0.1, 0.1), longest=LONGEST)
        x = np.pi * _GM_SUN_C3 * lightest * stretch.fmin
        step = CYCLES / (5 / 3 / (32 * np.pi) * x ** (-5 / 3))
        n_i = max(int(np.ceil(np.log(heaviest / lightest) / step)), 1)
        ln_i = np.log(lightest) + np.log(heaviest / lightest) * np.arange(n_i + 1) / n_i
        lnlike_i = stretch.lnlikes(_templates(np.exp(ln_i)), approximant, f_ref)
        known = np.isfinite(lnlike_i)
        tried += [
            (lnlike, ln_mchirp, step, stretch)
            for lnlike, ln_mchirp in zip(lnlike_i[known], ln_i[known], strict=True)
        ]
    tried.sort(key=lambda one: -one[0])
    best = None
    nearer = np.arange(1 - PARTS, PARTS) / PARTS
    for _, ln_mchirp, step, stretch in tried[:N_CLOSER]:
        mchirp_j = np.clip(np.exp(ln_mchirp + step * nearer), low, high)
        lnlike_j = stretch.lnlikes(_templates(mchirp_j), approximant, f_ref)
        if not np.isfinite(lnlike_j).any():
            continue
        j = int(np.nanargmax(lnlike_j))
        if best is None or lnlike_j[j] > best.lnlike:
            best = BestTemplate(float(mchirp_j[j]), float(lnlike_j[j]))
    return best


def _templates(mchirp_i: np.ndarray) -> np.ndarray:
    """Return m1, m2, s1z, s2z of templates, (n, 4)."""
    m1_i = primary_mass(mchirp_i, MASS_RATIO)
    zero = np.zeros(len(mchirp_i))
    return np.stack([m1_i, MASS_RATIO * m1_i, zero, zero], axis=1)


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
    stretch = _Stretch(event_data, found.mchirp, time_range)
    (template,) = _templates(np.array([found.mchirp]))
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
        self,
        event_data: EventData,
        mchirp_min: float,
        time_range: tuple[float, float],
        longest: float = np.inf,
    ):
        fmin = max(event_data.fbounds[0], event_data.df)
        # Newtonian time to coalescence, with a margin.
        mass = _GM_SUN_C3 * mchirp_min
        length = 5 / 256 * (np.pi * fmin) ** (-8 / 3) * mass ** (-5 / 3)
        if length > longest:
            fmin, length = fmin * (length / longest) ** (3 / 8), longest
        self._interpolate = np.isfinite(longest)
        self.fmin = float(fmin)
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
        frequencies = self._frequencies
        if self._interpolate:
            frequencies = np.geomspace(frequencies[0], frequencies[-1], N_NODES)
        for values in templates:
            par_dic = fixed | dict(zip(("m1", "m2", "s1z", "s2z"), values, strict=True))
            try:
                h_f = generator.get_hplus_hcross(frequencies, par_dic)[0]
            except (RuntimeError, ValueError):
                h_f = None  # Outside of the approximant's domain
            if h_f is not None and self._interpolate:
                h_f = self._on_grid(frequencies, h_f, chirp_mass(*values[:2]))
            yield h_f

    def _on_grid(
        self, nodes: np.ndarray, h_n: np.ndarray, mchirp: float
    ) -> np.ndarray | None:
        """Return a long waveform on the grid from its values at few frequencies.

        What is left of its phase after the Newtonian one changes slowly.
        """
        from scipy.interpolate import CubicSpline

        if not np.all(np.isfinite(h_n)) or not np.any(h_n):
            return None
        mass = np.pi * _GM_SUN_C3 * mchirp
        rest_n = h_n * np.exp(-1j * _newtonian(mass * nodes))
        phase_n = np.unwrap(np.angle(rest_n))
        amplitude_f, phase_f = CubicSpline(nodes, np.stack([np.abs(h_n), phase_n]), axis=1)(
            self._frequencies
        )
        return amplitude_f * np.exp(1j * (phase_f + _newtonian(mass * self._frequencies)))

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


def _newtonian(x: np.ndarray) -> np.ndarray:
    """Return the leading term of a waveform's phase in cogwheel's convention [rad]."""
    return -3 / 128 * x ** (-5 / 3)
