"""What a run without a bank takes from its event: chirp masses and frequency bins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..adaptive.bank import BLOCKSIZE
from ..adaptive.mchirp_range import range_around
from ..banks.config import BankConfig, approximant_modes, first_appearance
from ..banks.own_prior import OwnPrior, own_prior
from ..digests import array_digest
from ..errors import InputError
from ..events.bins import LARGEST_PN_PHASE_TOL, pn_bins, pn_phase_tol_for
from ..events.matched_filter import BestTemplate, search_template
from ..monitor import Monitor
from ..seeds import generator
from .infer_arguments import InferArguments

if TYPE_CHECKING:
    from cogwheel.data import EventData

_N_IDENTIFYING = 64


def bank_config_for(
    event_data: EventData, arguments: InferArguments, best: BestTemplate | None = None
) -> BankConfig:
    """Return what all waveforms of the bank to be drawn have in common.

    Unless ``pn_phase_tol`` is given, bins are those for the event's best template, or, if
    that is not known yet, those for a quiet event.

    Raises
    ------
    InputError, BankError
        The approximant is unknown, or the bins cannot be made.
    """
    from cogwheel import waveform

    modes = approximant_modes(arguments.approximant, "infer")
    entry = waveform.APPROXIMANTS[arguments.approximant]
    pn_phase_tol = arguments.pn_phase_tol
    if pn_phase_tol is None:
        pn_phase_tol = (
            LARGEST_PN_PHASE_TOL if best is None else pn_phase_tol_for(best.lnlike)
        )
    fbin = pn_bins(event_data.frequencies, event_data.fbounds, pn_phase_tol, entry.tides)
    return BankConfig(
        approximant=arguments.approximant,
        f_ref=arguments.f_ref,
        fbin=fbin,
        m_arr=np.array(first_appearance(modes)),
        harmonic_modes=tuple(modes),
        blocksize=BLOCKSIZE,
        info={
            "pn_phase_tol": pn_phase_tol,
            "q_min": arguments.q_min,
            "q_max": 1.0,
            "seed": arguments.seed,
        },
    )


def aligned_spins_of(approximant: str) -> bool:
    """Return whether an approximant has no in-plane spins."""
    from cogwheel import waveform

    return bool(waveform.APPROXIMANTS[approximant].aligned_spins)


def own_prior_of(arguments: InferArguments) -> OwnPrior | None:
    """Return the prior that was given instead of the default one, if any.

    Raises
    ------
    InputError
        It is none, has no density, or ``mchirp_range`` is missing.
    """
    if arguments.prior is None:
        return None
    if arguments.mchirp_range is None:
        raise InputError(
            "prior: mchirp_range is missing, which a prior of one's own needs here"
        )
    own = own_prior(
        arguments.prior,
        mchirp_range=arguments.mchirp_range,
        q_min=arguments.q_min,
        f_ref=arguments.f_ref,
        aligned_spins=aligned_spins_of(arguments.approximant),
        within=arguments.mchirp_range,
    )
    own.ln_prob(own.draw(1, generator(0, "prior")))  # refused here if it cannot
    return own


def prior_description(arguments: InferArguments) -> dict[str, str] | None:
    """Return names of a prior that was given, and a digest of what it draws."""
    own = own_prior_of(arguments)
    if own is None:
        return None
    drawn_ik = own.draw(_N_IDENTIFYING, generator(0, "prior"))
    digest = array_digest(np.column_stack([drawn_ik, own.ln_prob(drawn_ik)]))
    return own.description() | {"draws": digest}


def best_template_for(
    arguments: InferArguments, event_data: EventData
) -> BestTemplate | None:
    """Return the template that matches best, None where nothing is to be known of it."""
    ends = arguments.mchirp_range
    if None not in (ends, arguments.par_dic_0, arguments.pn_phase_tol):
        return None
    return search_template(event_data, arguments.approximant, arguments.f_ref, ends)


def mchirp_range_for(
    arguments: InferArguments, best: BestTemplate | None, monitor: Monitor
) -> tuple[float, float]:
    if best is None or arguments.mchirp_range is not None:
        return arguments.mchirp_range
    low, high = range_around(best.mchirp)
    monitor.say(
        f"chirp masses {low:g} to {high:g}, around the best template's {best.mchirp:.3g}"
    )
    return low, high


def with_range(
    config: BankConfig, mchirp_range: tuple[float, float], prior: dict[str, str] | None
) -> BankConfig:
    info = {**config.info, "mchirp_min": mchirp_range[0], "mchirp_max": mchirp_range[1]}
    if prior is not None:
        info["prior"] = prior
    return BankConfig(
        config.approximant, config.f_ref, config.fbin, config.m_arr,
        config.harmonic_modes, config.blocksize, info,
    )  # fmt: skip
