"""Cogwheel's ``Posterior``, as its ``from_event`` makes it, in less time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from cogwheel import gw_prior, gw_utils, waveform
from cogwheel.data import EventData
from cogwheel.likelihood import ReferenceWaveformFinder, RelativeBinningLikelihood
from cogwheel.posterior import Posterior

from ..errors import InputError
from ..logged_prints import prints_logged
from .finder import FastReferenceWaveformFinder
from .generation import keep_waveforms
from .likelihood import (
    FastRelativeBinningLikelihood,
    check_approximant,
    check_par_dic,
)

# Of the search's own bins [rad], unless ref_wf_finder_kwargs says otherwise.
PN_PHASE_TOL = 0.05


def make_posterior(
    event_data: EventData,
    *,
    approximant: str,
    prior_class: str | type = "CartesianIASPrior",
    likelihood_class: type | None = None,
    prior_kwargs: Mapping[str, Any] | None = None,
    likelihood_kwargs: Mapping[str, Any] | None = None,
    ref_wf_finder_kwargs: Mapping[str, Any] | None = None,
    mchirp_guess: float | None = None,
    par_dic_0: Mapping[str, float] | None = None,
    refine_reference: bool | None = None,
    asd_drift: np.ndarray | None = None,
    harmonic_modes: Sequence[Sequence[int]] | None = None,
    q_min: float | None = None,
) -> Posterior:
    """Return the posterior of an event, around a reference waveform given or found.

    Parameters
    ----------
    event_data : cogwheel.data.EventData
    approximant, prior_class, likelihood_class, prior_kwargs, likelihood_kwargs
        As in cogwheel's ``Posterior.from_event``.
    ref_wf_finder_kwargs : dict, optional
        As there: time_range, mchirp_range, f_ref, pn_phase_tol, spline_degree.
    mchirp_guess : float, optional
        Chirp mass around which to search [solar masses]; needed unless ``par_dic_0`` is
        given.
    par_dic_0 : dict, optional
        Parameters of the reference waveform: no search, unless it is to be refined.
    refine_reference : bool, optional
        Whether the reference waveform is the maximum of the likelihood (see
        :mod:`.refinement`), searched around the chirp mass that is given. Default: unless
        ``par_dic_0`` is given.
    asd_drift : (n_d,) float, optional
        The noise level near the event; default: cogwheel's estimate with the reference.
    harmonic_modes : sequence of (l, m), optional
        Of the likelihood; default: all modes of the approximant.
    q_min : float, optional
        Where the mass ratios of a refined reference waveform end.

    Returns
    -------
    cogwheel.posterior.Posterior

    Raises
    ------
    InputError
    """
    check_approximant(approximant)
    if isinstance(prior_class, str):
        if prior_class not in gw_prior.prior_registry:
            raise InputError(
                f"the prior class is {prior_class!r}, expected one of "
                f"{', '.join(gw_prior.prior_registry)}"
            )
        prior_class = gw_prior.prior_registry[prior_class]
    prior_factory: Any = prior_class
    likelihood_factory: Any = likelihood_class or getattr(
        prior_class, "default_likelihood_class", RelativeBinningLikelihood
    )
    fast = likelihood_factory is RelativeBinningLikelihood
    if fast:
        likelihood_factory = FastRelativeBinningLikelihood

    finder_kwargs = dict(ref_wf_finder_kwargs or {})
    with prints_logged():
        finder_kwargs.setdefault("pn_phase_tol", PN_PHASE_TOL)
        if refine_reference or (refine_reference is None and par_dic_0 is None):
            if par_dic_0 is not None:
                mchirp_guess = gw_utils.m1m2_to_mchirp(par_dic_0["m1"], par_dic_0["m2"])
            finder = _refined_finder(
                event_data, approximant, mchirp_guess, finder_kwargs, asd_drift, q_min
            )
        elif par_dic_0 is None:
            finder = _UnrefinedFinder.from_event(
                event_data, mchirp_guess, approximant=approximant, **finder_kwargs
            )
        else:
            finder = _finder_at(event_data, approximant, par_dic_0, finder_kwargs)
        likelihood = likelihood_factory.from_reference_waveform_finder(
            finder, approximant=approximant, **(likelihood_kwargs or {})
        )
        if fast:
            likelihood = likelihood.plain()
        if harmonic_modes is not None:
            _set_harmonic_modes(likelihood, harmonic_modes)
        if asd_drift is not None:
            likelihood.asd_drift = asd_drift
        prior = prior_factory.from_reference_waveform_finder(finder, **(prior_kwargs or {}))
        # Posterior empties the likelihood's cache, which the summaries could use.
        with keep_waveforms(likelihood.waveform_generator, finder.waveform_generator):
            posterior = Posterior(prior, likelihood)
    return posterior


def _set_harmonic_modes(likelihood: Any, harmonic_modes: Sequence[Sequence[int]]) -> None:
    """Restrict a likelihood to a bank's modes, in the bank's order."""
    modes = [tuple(mode) for mode in harmonic_modes]
    generator = likelihood.waveform_generator
    if unknown := set(modes) - set(generator.harmonic_modes):
        raise InputError(
            f"the approximant {generator.approximant} lacks the bank's modes "
            f"{sorted(unknown)}: it has {generator.harmonic_modes}"
        )
    if modes != generator.harmonic_modes:
        generator.harmonic_modes = modes
        likelihood.par_dic_0 = likelihood.par_dic_0  # Makes the summary anew


class _UnrefinedFinder(FastReferenceWaveformFinder):
    """A search that ends near the maximum; cogwheel's own, but faster."""

    refine = False


def _refined_finder(
    event_data: EventData,
    approximant: str,
    mchirp_guess: float | None,
    finder_kwargs: dict[str, Any],
    asd_drift: np.ndarray | None,
    q_min: float | None,
) -> FastReferenceWaveformFinder:
    """Return what the search leaves behind, an injection being no part of the data."""
    if mchirp_guess is None:
        raise InputError("mchirp_guess is missing: the search needs a place to begin")
    f_ref = finder_kwargs.pop("f_ref", None)
    m1, m2 = gw_utils.mchirpeta_to_m1m2(mchirp_guess, 0.2)
    start = {
        "m1": float(m1), "m2": float(m2), "iota": 1.0, "d_luminosity": 1.0,
        "f_ref": f_ref or 100.0,
    }  # fmt: skip
    start = dict.fromkeys(waveform.WaveformGenerator.params, 0.0) | start
    finder = FastReferenceWaveformFinder(
        event_data, _generator_22(event_data, approximant), start, **finder_kwargs
    )
    finder.given_asd_drift = asd_drift
    finder.q_min = q_min
    finder.find_bestfit_pars(freeze_f_ref=f_ref is not None)
    return finder


def _generator_22(event_data: EventData, approximant: str) -> waveform.WaveformGenerator:
    return waveform.WaveformGenerator.from_event_data(
        event_data,
        approximant,
        harmonic_modes=[(2, 2)],
        lalsimulation_commands=waveform.FORCE_NNLO_ANGLES,
    )


def _finder_at(
    event_data: EventData,
    approximant: str,
    par_dic_0: Mapping[str, float],
    finder_kwargs: dict[str, Any],
) -> ReferenceWaveformFinder:
    """Return what the search would leave behind had it found ``par_dic_0``."""
    f_ref = finder_kwargs.pop("f_ref", None)
    if f_ref:
        par_dic_0 = {"f_ref": f_ref, **par_dic_0}
    par_dic_0 = check_par_dic(par_dic_0, "par_dic_0")
    if f_ref and not np.isclose(par_dic_0["f_ref"], f_ref):
        raise InputError(
            f"par_dic_0: f_ref is {par_dic_0['f_ref']} Hz, expected the bank's, {f_ref} Hz"
        )
    finder = FastReferenceWaveformFinder(
        event_data, _generator_22(event_data, approximant), par_dic_0, **finder_kwargs
    )
    if not finder_kwargs.get("mchirp_range"):
        finder.set_mchirp_range()
    return finder
