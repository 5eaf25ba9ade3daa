"""A guess at an event's chirp mass: that of the bank's waveforms which match best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    from cogwheel.data import EventData

    from ..banks.format import Bank

_N_TEMPLATES = 256
# Above this frequency [Hz] there is little to tell chirp masses apart.
_F_MAX = 512.0
_GM_SUN_C3 = 4.925490947641267e-06  # Solar mass [s]


def guess_mchirp(
    event_data: EventData,
    banks: Mapping[str, Bank],
    *,
    time_range: tuple[float, float] = (-0.1, 0.1),
    n_templates: int = _N_TEMPLATES,
) -> float:
    """Return the chirp mass of the best among waveforms spread evenly over the banks.

    The (2, 2) mode of each, without in-plane spins, is matched-filtered with a stretch of
    data as long as the longest signal; maxima over amplitude, phase and time are added
    over detectors. It takes about a second whatever the length of the data.

    Parameters
    ----------
    event_data : cogwheel.data.EventData
    banks : dict of Bank
    time_range : (float, float)
        Arrival times considered, relative to the event's time [s].
    n_templates : int
        How many waveforms to try.

    Returns
    -------
    float
        [solar masses]

    Raises
    ------
    InputError
        None of the waveforms could be generated.
    """
    templates = _spread_over(banks, n_templates)
    config = next(iter(banks.values())).config
    mchirp = best_mchirp(
        event_data, templates, config.approximant, config.f_ref, time_range=time_range
    )
    if mchirp is None:
        raise InputError(
            f"mchirp_guess is not given, and {config.approximant} could generate none of "
            f"{len(templates)} waveforms of the bank to guess it from; give one"
        )
    return mchirp


def best_mchirp(
    event_data: EventData,
    templates: np.ndarray,
    approximant: str,
    f_ref: float,
    *,
    time_range: tuple[float, float] = (-0.1, 0.1),
) -> float | None:
    """Return the chirp mass of the best matching template.

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

    Returns
    -------
    float or None
        [solar masses]; None where no template could be generated.
    """
    mchirp_i = _mchirp(templates[:, 0], templates[:, 1])
    stretch = _Stretch(event_data, float(mchirp_i.min()), time_range)
    lnlike_i = stretch.lnlikes(templates, approximant, f_ref)
    if not np.isfinite(lnlike_i).any():
        return None
    return float(mchirp_i[np.nanargmax(lnlike_i)])


def _spread_over(banks: Mapping[str, Bank], n_templates: int) -> np.ndarray:
    """Return m1, m2, s1z, s2z of waveforms at equal steps in the order of chirp mass."""
    table = np.concatenate(
        [bank.table()[["m1", "m2", "s1z", "s2z"]].to_numpy() for bank in banks.values()]
    )
    order = np.argsort(_mchirp(table[:, 0], table[:, 1]), kind="stable")
    steps = np.linspace(0, len(order) - 1, min(n_templates, len(order))).round().astype(int)
    return table[order[steps]]


def _mchirp(m1: np.ndarray, m2: np.ndarray) -> np.ndarray:
    return (m1 * m2) ** 0.6 / (m1 + m2) ** 0.2


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
        from cogwheel.waveform import DEFAULT_PARS, WaveformGenerator

        generator = WaveformGenerator.from_event_data(
            self._generator_event, approximant, harmonic_modes=[(2, 2)]
        )
        fixed: dict[str, Any] = DEFAULT_PARS | {
            "d_luminosity": 1.0, "phi_ref": 0.0, "iota": 0.0, "f_ref": f_ref,
        }  # fmt: skip
        lnlike_i = np.full(len(templates), np.nan)
        for i, values in enumerate(templates):
            par_dic = fixed | dict(zip(("m1", "m2", "s1z", "s2z"), values, strict=True))
            try:
                h_f = generator.get_hplus_hcross(self._frequencies, par_dic)[0]
            except (RuntimeError, ValueError):
                continue  # Outside of the approximant's domain
            lnlike_i[i] = self._lnlike(h_f)
        return lnlike_i

    def _lnlike(self, h_f: np.ndarray) -> float:
        h_h_d = 4 * self._df * (self._weight_df @ np.abs(h_f) ** 2)
        if not np.all(h_h_d > 0):
            return np.nan
        # The waveform coalesces at time zero; only the positive frequencies make the
        # output complex, its modulus the maximum over phase.
        spectrum = np.zeros((len(self._blued_df), self._n_samples), dtype=complex)
        spectrum[:, self._f_slice] = self._blued_df * h_f.conj()
        d_h_dt = 4 * self._df * self._n_samples * np.fft.ifft(spectrum)[:, self._times]
        return float(np.sum(np.max(np.abs(d_h_dt), axis=1) ** 2 / h_h_d) / 2)
