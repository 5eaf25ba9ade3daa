"""Likelihoods of a run's samples under another noise, waveform model or calibration.

Noise and model: exact likelihoods, on the full frequency grid, of the samples as they are.
Waveform models differ in what they call time and phase. As the prior is uniform in both, a
shift of them that depends on masses, spins and inclination alone changes nothing but where
the samples are: each sample is moved in time and phase until the new model's m = 2 mode is
in phase with the old one's, and its likelihood is taken there.

Calibration: likelihoods under drawn curves, by relative binning, averaged
(:mod:`dotpe_exec.stages.calibration`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..executors.phases import PhaseRunner
from ..executors.resolve import HeldExecutor
from ..executors.store import ArrayStore
from ..interrupts import terminations_raise
from ..monitor import Monitor
from ..validation import positive_integer
from ..verdict import MIN_CALIBRATION_CURVES

if TYPE_CHECKING:
    import pandas as pd

    from ..result import Run


@dataclass(frozen=True)
class OtherData:
    """What is to be assumed instead, of noise, waveforms and calibration.

    Parameters
    ----------
    psds : dict or sequence of path, optional
        Power spectral densities, text of two columns, for each detector.
    asd_drift : float, sequence or dict, optional
        Level of the noise over that of the densities. None: 1 with new densities, else
        the run's.
    approximant : str, optional
    calibration : dict of path, optional
        Envelope files by detector.
    calibration_correction : {"data", "template"}
    n_curves : int
        Calibration curves to average over.
    seed : int
        Of curves.
    """

    psds: Any = None
    asd_drift: Any = None
    approximant: str | None = None
    calibration: Mapping[str, Any] | None = None
    calibration_correction: str = "data"
    n_curves: int = 200
    seed: int = 0

    @property
    def changes_likelihood(self) -> bool:
        """Whether noise or waveforms are others."""
        return not (
            self.psds is None and self.asd_drift is None and self.approximant is None
        )


@dataclass(frozen=True)
class OtherLikelihoods:
    """Samples under other assumptions.

    Parameters
    ----------
    samples : DataFrame
        Moved in time and phase where the model is another, with ``lnl_new`` if
        likelihoods are others, and with ``calibration_curve`` if calibration was averaged.
    ln_ratio_s : (n,) float
        ln of new over old likelihood.
    remarks : tuple of str
        What to know about them.
    curves : dict
        By detector, calibration curves at the bins' edges, (n_k, n_b) complex.
    """

    samples: pd.DataFrame
    ln_ratio_s: np.ndarray
    remarks: tuple[str, ...]
    curves: Mapping[str, np.ndarray]


def other_likelihoods(
    run: Run, samples: pd.DataFrame, other: OtherData, **where: Any
) -> OtherLikelihoods:
    """Return what other assumptions make of samples.

    Parameters
    ----------
    run : Run
    samples : DataFrame
        Rows of its samples.
    other : OtherData
    **where
        ``executor``, ``n_procs``, ``progress``.

    Raises
    ------
    InputError, MissingFileError, RunDirectoryError
    """
    from ..cogwheel_bridge import make_summary
    from ..events.calibration import event_envelopes
    from ..stages.calibration import calibrate_samples

    likelihood = _likelihood(run, other)
    old = "lnl_exact" if "lnl_exact" in samples else "lnl"
    ln_ratio_s = np.zeros(len(samples))
    remarks: list[str] = []
    curves: dict[str, np.ndarray] = {}
    envelopes = None
    if other.calibration is not None:
        n_curves = positive_integer("n_curves", other.n_curves)
        envelopes = event_envelopes(
            likelihood.event_data, other.calibration, other.calibration_correction
        )
    if other.approximant is not None:
        _refuse_unfit(other.approximant, samples)
    with _runner(**where) as runner:
        if other.changes_likelihood:
            if other.approximant is not None:
                samples = _moved(run, likelihood, samples)
            new = _exact(runner, likelihood, samples)
            ln_ratio_s += new - samples[old].to_numpy(float)
            samples = samples.assign(lnl_new=new)
        if envelopes is not None:
            averaged = calibrate_samples(
                runner, likelihood, make_summary(likelihood), samples, envelopes,
                n_curves=n_curves, seed=other.seed,
            )  # fmt: skip
            ln_ratio_s += averaged.found.ln_ratio_s
            samples = samples.assign(
                calibration_curve=averaged.found.curve_s.astype(np.int32)
            )
            names = likelihood.event_data.detector_names
            curves = dict(zip(names, averaged.curves_dkb, strict=True))
            n_effective = averaged.n_effective_curves
            remarks.append(f"{n_effective:.0f} of {n_curves} calibration curves count")
            if n_effective < MIN_CALIBRATION_CURVES:
                remarks[-1] += ": expected more, by a larger n_curves"
    return OtherLikelihoods(samples, ln_ratio_s, tuple(remarks), curves)


def _likelihood(run: Run, other: OtherData) -> Any:
    """Return a relative-binning likelihood of the run's data as they are to be seen."""
    from ..cogwheel_bridge import check_approximant, make_likelihood
    from ..events.psds import read_psds
    from ..stages.noise_drift import drift_by_detector

    old = run.likelihood
    event, detectors = old.event_data, tuple(old.event_data.detector_names)
    drift = drift_by_detector(other.asd_drift, detectors)
    if other.psds is not None:
        event = _with_noise(event, read_psds(other.psds, detectors))
        drift = np.ones(len(detectors)) if drift is None else drift
    if not other.changes_likelihood:
        return old
    approximant, modes = str(run.approximant), run.harmonic_modes
    if other.approximant is not None:
        approximant, modes = check_approximant(other.approximant), None
    likelihood = make_likelihood(event, approximant, old.par_dic_0, old.fbin,
                                 harmonic_modes=modes)  # fmt: skip
    likelihood.asd_drift = old.asd_drift if drift is None else drift
    return likelihood


def _refuse_unfit(approximant: str, samples: pd.DataFrame) -> None:
    """Refuse a model that lacks something that the samples have."""
    from cogwheel.waveform import APPROXIMANTS

    entry = APPROXIMANTS[approximant]
    inplane = ("s1x_n", "s1y_n", "s2x_n", "s2y_n")
    for lacking, columns, what in (
        (entry.aligned_spins, inplane, "spins in the orbital plane"),
        (not entry.tides, ("l1", "l2"), "tidal deformabilities"),
    ):
        if lacking and any(
            (samples[name] != 0).any() for name in columns if name in samples
        ):
            raise InputError(
                f"the approximant {approximant} has no {what}, and the samples have: take "
                "one that has them, or make a run with it"
            )


def _with_noise(event: Any, tables: Sequence[Any]) -> Any:
    """Return an event whose whitening filters are those of other densities."""
    from cogwheel.data import EventData

    filters = np.zeros_like(event.wht_filter)
    for d, (path, (frequencies, density)) in enumerate(tables):
        used = event.wht_filter[d] > 0
        f_used = event.frequencies[used]
        # Files often end one step before the last frequency.
        if frequencies[0] > f_used[0] or frequencies[-1] < f_used[-1] - 1.0:
            raise InputError(
                f"the power spectral density {path} covers {frequencies[0]:g} to "
                f"{frequencies[-1]:g} Hz, expected {f_used[0]:g} to {f_used[-1]:g} Hz"
            )
        ln_density = np.interp(f_used, frequencies, np.log(density))
        filters[d, used] = np.exp(-0.5 * ln_density)
    return EventData(
        event.eventname, event.frequencies, event.strain, filters,
        event.detector_names, event.tgps, event.tcoarse,
    )  # fmt: skip


def _exact(runner: PhaseRunner, likelihood: Any, samples: pd.DataFrame) -> np.ndarray:
    """Return exact ln likelihoods of samples, (n,); equal rows once."""
    from ..stages.binning_error import exact_lnlikes

    params = list(likelihood.params)
    group_s = samples.groupby(params, sort=False, dropna=False).ngroup().to_numpy()
    _, first = np.unique(group_s, return_index=True)
    rows = samples.iloc[first][params].to_dict("records")
    return exact_lnlikes(runner, likelihood, rows)[group_s]


def _moved(run: Run, likelihood: Any, samples: pd.DataFrame) -> pd.DataFrame:
    """Return samples whose new waveforms are in phase with the old ones."""
    from ..cogwheel_bridge import hplus_hcross_by_m

    old, new = run.likelihood.waveform_generator, likelihood.waveform_generator
    fbin = likelihood.fbin
    # Power per bin, in the most sensitive sense: all detectors, of the reference grid.
    weight_f = np.sum(likelihood.event_data.wht_filter**2, axis=0)
    weight_b = np.interp(fbin, likelihood.event_data.frequencies, weight_f)
    weight_b = weight_b * np.gradient(fbin)
    slow = list(old.slow_params)
    dt, dphi = np.zeros(len(samples)), np.zeros(len(samples))
    groups = samples.reset_index(drop=True).groupby(slow, sort=False).indices
    for values, rows in groups.items():
        par_dic = dict(zip(slow, map(float, values), strict=True))
        h_old = dict(zip(_m_arr(old), hplus_hcross_by_m(old, fbin, par_dic), strict=True))
        try:
            made = hplus_hcross_by_m(new, fbin, par_dic)
        except RuntimeError as error:
            point = ", ".join(f"{name} = {value:.4g}" for name, value in par_dic.items())
            raise InputError(
                f"the approximant {new.approximant} has no waveform for a sample with "
                f"{point}: {error}"
            ) from error
        h_new = dict(zip(_m_arr(new), made, strict=True))
        dt[rows], dphi[rows] = time_and_phase_shift(fbin, weight_b, h_old, h_new)
    return samples.assign(
        t_geocenter=samples["t_geocenter"] + dt,
        phi_ref=np.mod(samples["phi_ref"] + dphi, 2 * np.pi),
    )


def _m_arr(generator: Any) -> list[int]:
    return list(dict.fromkeys(int(m) for _, m in generator.harmonic_modes))


def time_and_phase_shift(
    fbin_b: np.ndarray,
    weight_b: np.ndarray,
    old_mpb: Mapping[int, np.ndarray],
    new_mpb: Mapping[int, np.ndarray],
) -> tuple[float, float]:
    """Return what is to be added to time [s] and phase [rad] of a new waveform.

    Parameters
    ----------
    fbin_b : (n_b,) float
        [Hz]
    weight_b : (n_b,) float
        Squared whitening filter times the bins' widths.
    old_mpb, new_mpb : dict of (2, n_b) complex
        Waveforms by azimuthal number; of both, m = 2 is fitted, by a line in frequency
        weighted by its power. A phase of pi more leaves even m as they are: the other
        modes decide.
    """
    product_b = np.sum(old_mpb[2] * new_mpb[2].conj(), axis=0)
    power_b = weight_b * np.abs(product_b)
    phase_b = np.unwrap(np.angle(product_b))
    use = power_b > 1e-6 * power_b.max()
    slope, constant = np.polyfit(fbin_b[use], phase_b[use], 1, w=np.sqrt(power_b[use]))
    line_b = np.exp(1j * slope * fbin_b)

    def overlap(phase: float) -> float:
        return sum(
            float(np.sum(weight_b * (old_mpb[m] * (new_mpb[m] * line_b).conj()
                                     * np.exp(-1j * m * phase)).real))
            for m in old_mpb.keys() & new_mpb.keys()
        )  # fmt: skip

    phase = max(constant / 2, constant / 2 + np.pi, key=overlap)
    return -slope / (2 * np.pi), float(phase)


@contextlib.contextmanager
def _runner(
    executor: Any = None, n_procs: int | None = None, progress: bool = False
) -> Iterator[PhaseRunner]:
    if n_procs is not None:
        positive_integer("n_procs", n_procs)
    with (
        terminations_raise(),
        Monitor(progress) as monitor,
        HeldExecutor(executor, n_procs, keep_warm=False) as workers,
        PhaseRunner(ArrayStore(), workers, monitor=monitor) as runner,
    ):
        yield runner
