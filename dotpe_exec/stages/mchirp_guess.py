"""A guess at an event's chirp mass: that of the bank's waveforms which match best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..events.matched_filter import best_template
from ..kernels.masses import chirp_mass

if TYPE_CHECKING:
    from cogwheel.data import EventData

    from ..banks.format import Bank

_N_TEMPLATES = 256


def guess_mchirp(
    event_data: EventData,
    banks: Mapping[str, Bank],
    *,
    time_range: tuple[float, float] = (-0.1, 0.1),
    n_templates: int = _N_TEMPLATES,
) -> float:
    """Return the chirp mass of the best among waveforms spread evenly over the banks.

    See :func:`.best_template`.

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
    found = best_template(
        event_data, templates, config.approximant, config.f_ref, time_range=time_range
    )
    if found is None:
        raise InputError(
            f"mchirp_guess is not given, and {config.approximant} could generate none of "
            f"{len(templates)} waveforms of the bank to guess it from; give one"
        )
    return found.mchirp


def _spread_over(banks: Mapping[str, Bank], n_templates: int) -> np.ndarray:
    """Return m1, m2, s1z, s2z of waveforms at equal steps in the order of chirp mass."""
    table = np.concatenate(
        [bank.table()[["m1", "m2", "s1z", "s2z"]].to_numpy() for bank in banks.values()]
    )
    order = np.argsort(chirp_mass(table[:, 0], table[:, 1]), kind="stable")
    steps = np.linspace(0, len(order) - 1, min(n_templates, len(order))).round().astype(int)
    return table[order[steps]]
