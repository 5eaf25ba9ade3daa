"""Stage 1: a reference waveform that fits the data, and the summaries made with it.

Relative binning (Zackay, Dai & Venumadhav, arXiv:1806.08792) needs the data compared
once, at full resolution, with a waveform close to the signal. cogwheel is imported
inside functions, because the workers of other stages may load this module.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..atomic import TEMPORARY_PREFIX, check_guards, sync_file, writing
from ..errors import InputError
from ..events import save_event
from ..executors.threads import OneThread
from ..gc_pause import no_collection
from ..kernels.summary import IncoherentSummary, Summary
from ..lean_cogwheel import lean_cogwheel
from ..warned import warn
from .mchirp_guess import guess_mchirp

if TYPE_CHECKING:
    from cogwheel.data import EventData
    from cogwheel.posterior import Posterior

    from ..banks.config import BankConfig
    from ..banks.format import Bank

logger = logging.getLogger(__name__)

FINDER_KEYWORDS = {"time_range", "mchirp_range", "f_ref", "pn_phase_tol", "spline_degree"}
"""Of ``ref_wf_finder_kwargs``."""
# Signals are looked for so far from the event's time, times of waveforms may be off by so
# much, and the signal is to be so far from the end of a grid of times [s].
_TIME_RANGE = 0.1
_MAX_TIME_OFFSET = 0.02
_TIME_MARGIN = 3e-3


@dataclass(frozen=True)
class Reference:
    """What later stages know of event and reference waveform.

    Parameters
    ----------
    posterior : cogwheel.posterior.Posterior
        Prior (with its sampling coordinates) and likelihood.
    par_dic_0 : dict
        Parameters of the reference waveform.
    summary : Summary
        All detectors, for the coherent stage.
    incoherent : IncoherentSummary
        Each detector by itself, for the incoherent stage.
    moved_by : float
        By how much the t_geocenter of a given waveform was changed [s], because the signal
        was not among the arrival times around it.
    asd_drift_error_d : (n_d,) float or None
        Statistical error of the noise level near the event; None where that was given.
    """

    posterior: Posterior
    par_dic_0: dict[str, float]
    summary: Summary
    incoherent: IncoherentSummary
    asd_drift_error_d: np.ndarray | None = None
    moved_by: float = 0.0


def find_reference(
    event_data: EventData,
    bank_config: BankConfig,
    *,
    n_t: int,
    mchirp_guess: float | None = None,
    par_dic_0: Mapping[str, float] | None = None,
    par_dic_name: str = "par_dic_0",
    refine_reference: bool | None = None,
    asd_drift: np.ndarray | None = None,
    coherent_posterior_kwargs: Mapping[str, Any] | None = None,
    banks: Mapping[str, Bank] | None = None,
    q_min: float | None = None,
) -> Reference:
    """Find a reference waveform, unless one is given, and make the summaries.

    Parameters
    ----------
    event_data : cogwheel.data.EventData
    bank_config : BankConfig
        Approximant, bins, modes and reference frequency.
    n_t : int
        Number of arrival times per detector of the incoherent stage.
    mchirp_guess : float, optional
        Detector-frame chirp mass [solar masses] around which to search. Default: that of
        the event's injection, else that of the best matches in ``banks``. Not needed with
        ``par_dic_0``.
    par_dic_0 : dict, optional
        Parameters of the reference waveform: no search.
    par_dic_name : str
        What a warning calls it.
    refine_reference : bool, optional
        Whether the reference is the maximum of the likelihood, which does not depend on
        the guess. Default: yes, unless ``par_dic_0`` is given. With ``par_dic_0`` it is
        searched around that waveform's chirp mass.
    asd_drift : (n_d,) float, optional
        The noise level near the event, by whose square inner products are divided.
        Default: estimated with the reference waveform.
    coherent_posterior_kwargs : dict, optional
        Overrides arguments of cogwheel's ``Posterior.from_event``; ``likelihood_kwargs``
        and ``ref_wf_finder_kwargs`` are merged key by key.
    banks : dict of Bank, optional
        Where to look for a guess at the chirp mass if there is no other.
    q_min : float, optional
        Where the prior's mass ratios end, and so those of the search.

    Returns
    -------
    Reference

    Raises
    ------
    InputError
        Parameters that are missing or cannot be used.
    """
    from ..cogwheel_bridge import (
        asd_drift_error,
        make_incoherent_summary,
        make_posterior,
        make_summary,
        with_all_modes,
    )

    kwargs = posterior_kwargs(bank_config, coherent_posterior_kwargs)
    if mchirp_guess is None and par_dic_0 is None:
        mchirp_guess = injected_mchirp(event_data)
        if mchirp_guess is None and banks:
            time_range = kwargs["ref_wf_finder_kwargs"]["time_range"]
            mchirp_guess = guess_mchirp(event_data, banks, time_range=time_range)
            logger.info("guessed a chirp mass of %.2f solar masses", mchirp_guess)
        if mchirp_guess is None:
            raise InputError(
                f"mchirp_guess is not given and {event_data.eventname} has no injection: "
                "give an estimate of the detector-frame chirp mass"
            )
    if par_dic_0 is not None and not refine_reference:
        given = _checked(par_dic_0, kwargs, par_dic_name)
        par_dic_0 = with_all_modes(given, kwargs["approximant"])
        changed = [name for name, value in par_dic_0.items() if value != given[name]]
        if changed:
            values = ", ".join(f"{name} = {par_dic_0[name]:.6g}" for name in changed)
            warn(
                f"{par_dic_name}: modes of this waveform vanish, and binning cannot be "
                f"relative to them; {values} is used instead",
                stacklevel=2,
            )
    # The same bits everywhere, and the threads of BLAS would but wait for each other.
    with OneThread():
        posterior = make_posterior(
            event_data,
            mchirp_guess=mchirp_guess,
            par_dic_0=par_dic_0,
            refine_reference=refine_reference,
            asd_drift=asd_drift,
            harmonic_modes=bank_config.harmonic_modes,
            q_min=q_min,
            **kwargs,
        )
        moved_by = 0.0
        if par_dic_0 is not None and not refine_reference:
            moved_by = _time_to_move(posterior.likelihood, event_data, n_t)
        if moved_by != 0.0:
            assert par_dic_0 is not None
            par_dic_0 = dict(par_dic_0)
            par_dic_0["t_geocenter"] += moved_by
            warn(
                f"{par_dic_name}: the data fit this waveform best {1e3 * moved_by:+.1f} ms "
                f"from its t_geocenter; {par_dic_0['t_geocenter']:.4f} s is used instead, "
                "so that arrival times around it cover the signal",
                stacklevel=2,
            )
            posterior = make_posterior(
                event_data, par_dic_0=par_dic_0, asd_drift=asd_drift,
                harmonic_modes=bank_config.harmonic_modes, **kwargs,
            )  # fmt: skip
        likelihood, modes = posterior.likelihood, bank_config.harmonic_modes
        reference = Reference(
            posterior=posterior,
            par_dic_0={key: float(value) for key, value in likelihood.par_dic_0.items()},
            summary=make_summary(likelihood, harmonic_modes=modes),
            incoherent=make_incoherent_summary(likelihood, n_t, harmonic_modes=modes),
            moved_by=moved_by,
            asd_drift_error_d=None
            if asd_drift is not None
            else asd_drift_error(likelihood),
        )
        # The summaries shared waveforms on the full grid, which are large: let them go.
        likelihood.waveform_generator.n_cached_waveforms = 2
        return reference


def _time_to_move(likelihood: Any, event_data: EventData, n_t: int) -> float:
    """Return how far the data's best time is off a waveform's [s], if it is too far off.

    Too far is near the end of the incoherent stage's grid of times, or of the range of the
    extrinsic stage.
    """
    from ..cogwheel_bridge import arrival_offset

    looked_at = _TIME_RANGE + abs(likelihood.par_dic_0["t_geocenter"])
    half_grid = n_t // 2 * float(event_data.times[1])
    allowed = min(max(half_grid - _TIME_MARGIN, half_grid / 2), _MAX_TIME_OFFSET)
    offset = arrival_offset(likelihood, looked_at, allowed)
    return offset if abs(offset) > allowed else 0.0


def posterior_kwargs(
    bank_config: BankConfig, overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the arguments of ``Posterior.from_event``, a user's merged into ours.

    Raises
    ------
    InputError
        ``coherent_posterior_kwargs`` has keys that have no meaning there.
    """
    kwargs: dict[str, Any] = {
        "approximant": bank_config.approximant,
        "prior_class": "CartesianIASPrior",
        "likelihood_class": None,
        "prior_kwargs": {},
        "likelihood_kwargs": {"fbin": np.asarray(bank_config.fbin), "pn_phase_tol": None},
        "ref_wf_finder_kwargs": {"time_range": (-0.1, 0.1), "f_ref": bank_config.f_ref},
    }
    overrides = dict(overrides or {})
    if unknown := overrides.keys() - kwargs.keys():
        raise InputError(
            f"coherent_posterior_kwargs has {', '.join(sorted(unknown))}, expected some of "
            f"{', '.join(kwargs)}"
        )
    for key, value in overrides.items():
        if isinstance(kwargs[key], dict):
            if value is not None and not isinstance(value, Mapping):
                raise InputError(
                    f"coherent_posterior_kwargs: {key} is {value!r}, expected a dictionary"
                )
            kwargs[key] = kwargs[key] | dict(value or {})
        else:
            kwargs[key] = value
    return kwargs


def check_reference_arguments(
    bank_config: BankConfig,
    par_dic_0: Mapping[str, float] | None,
    coherent_posterior_kwargs: Mapping[str, Any] | None,
) -> None:
    """Refuse arguments with which no reference could be made, before any work starts.

    Raises
    ------
    InputError
    """
    lean_cogwheel()
    with no_collection():
        from cogwheel.gw_prior import prior_registry

    from ..cogwheel_bridge import check_approximant, check_waveform

    kwargs = posterior_kwargs(bank_config, coherent_posterior_kwargs)
    check_approximant(kwargs["approximant"])
    prior_class = kwargs["prior_class"]
    if not isinstance(prior_class, type) and prior_class not in prior_registry:
        raise InputError(
            f"coherent_posterior_kwargs: prior_class is {prior_class!r}, expected one of "
            f"{', '.join(prior_registry)}"
        )
    _refuse_unknown_keys(kwargs)
    if par_dic_0 is None:
        return
    checked = _checked(par_dic_0, kwargs, "par_dic_0")
    f_ref = kwargs["ref_wf_finder_kwargs"].get("f_ref")
    if f_ref and not np.isclose(checked["f_ref"], f_ref):
        raise InputError(
            f"par_dic_0: f_ref is {checked['f_ref']} Hz, expected the bank's, {f_ref} Hz"
        )
    check_waveform(checked, kwargs["approximant"], bank_config.fbin, "par_dic_0")


def _checked(
    par_dic_0: Mapping[str, float], kwargs: Mapping[str, Any], name: str
) -> dict[str, float]:
    """Return all parameters of a given waveform, at the bank's reference frequency."""
    from ..cogwheel_bridge import check_par_dic

    f_ref = kwargs["ref_wf_finder_kwargs"].get("f_ref")
    return check_par_dic(({"f_ref": f_ref} if f_ref else {}) | dict(par_dic_0), name)


def _refuse_unknown_keys(kwargs: Mapping[str, Any]) -> None:
    """Refuse keys of dictionaries that cogwheel would not take, after all work."""
    from cogwheel.gw_prior import prior_registry
    from cogwheel.likelihood import RelativeBinningLikelihood

    from ..cogwheel_bridge import known_keywords

    prior_class = kwargs["prior_class"]
    if isinstance(prior_class, str):
        prior_class = prior_registry[prior_class]
    likelihood_class = kwargs["likelihood_class"] or getattr(
        prior_class, "default_likelihood_class", RelativeBinningLikelihood
    )
    for name, known in (
        ("likelihood_kwargs", known_keywords(likelihood_class)),
        ("ref_wf_finder_kwargs", FINDER_KEYWORDS),
    ):
        unknown = sorted(kwargs[name].keys() - known) if known is not None else []
        if unknown:
            raise InputError(
                f"coherent_posterior_kwargs: {name} has {', '.join(unknown)}, expected "
                f"some of {', '.join(sorted(known or ()))}"
            )


def injected_mchirp(event_data: EventData) -> float | None:
    """Return the chirp mass of an event's injection [solar masses], None without one."""
    if not event_data.injection:
        return None
    from cogwheel.gw_utils import m1m2_to_mchirp

    par_dic = event_data.injection["par_dic"]
    if not {"m1", "m2"} <= par_dic.keys():
        return None
    return float(m1m2_to_mchirp(par_dic["m1"], par_dic["m2"]))


def save_posterior(posterior: Posterior, folder: str | os.PathLike) -> None:
    """Write ``Posterior.json`` and the event it refers to, whole or not at all.

    cogwheel's ``utils.read_json`` opens it.

    Raises
    ------
    RunDirectoryError
        The folder cannot be written.
    """
    folder = Path(folder)
    check_guards(folder / "Posterior.json")
    with writing(folder / f"{type(posterior).__name__}.json"):
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=folder))
        try:
            posterior.to_json(temporary)
            # cogwheel's order of keys changes from process to process: the same files for
            # the same run.
            name = f"{type(posterior).__name__}.json"
            content = json.loads((temporary / name).read_text(encoding="utf-8"))
            text = json.dumps(content, indent=2, sort_keys=True)
            (temporary / name).write_text(text + "\n", encoding="utf-8")
            event_data = posterior.likelihood.event_data
            save_event(event_data, temporary / f"{event_data.eventname}.npz")
            for path in temporary.iterdir():
                sync_file(path)
            # The event first: Posterior.json never refers to a file that is missing.
            for path in sorted(temporary.iterdir(), key=lambda p: p.suffix == ".json"):
                path.replace(folder / path.name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
