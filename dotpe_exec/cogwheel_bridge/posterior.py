"""Cogwheel's ``Posterior``, as its ``from_event`` makes it, in less time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from cogwheel import gw_prior, waveform
from cogwheel.data import EventData
from cogwheel.likelihood import ReferenceWaveformFinder, RelativeBinningLikelihood
from cogwheel.posterior import Posterior

from ..errors import InputError
from .finder import FastReferenceWaveformFinder
from .likelihood import (
    FastRelativeBinningLikelihood,
    check_approximant,
    check_par_dic,
    keep_waveforms,
)
from .logged_prints import prints_logged

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
    harmonic_modes: Sequence[Sequence[int]] | None = None,
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
        Parameters of the reference waveform: no search.
    harmonic_modes : sequence of (l, m), optional
        Of the likelihood; default: all modes of the approximant.

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
        if par_dic_0 is None:
            finder = FastReferenceWaveformFinder.from_event(
                event_data,
                mchirp_guess,
                approximant=approximant,
                **{"pn_phase_tol": PN_PHASE_TOL, **finder_kwargs},
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
    generator = waveform.WaveformGenerator.from_event_data(
        event_data,
        approximant,
        harmonic_modes=[(2, 2)],
        lalsimulation_commands=waveform.FORCE_NNLO_ANGLES,
    )
    finder_kwargs.setdefault("pn_phase_tol", PN_PHASE_TOL)
    finder = FastReferenceWaveformFinder(event_data, generator, par_dic_0, **finder_kwargs)
    if not finder_kwargs.get("mchirp_range"):
        finder.set_mchirp_range()
    return finder
