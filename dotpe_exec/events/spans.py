"""How much data an event takes from its files: what fits, and what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import EventError, InputError
from .strain import Strain

_LONGEST_SPAN, _LONGEST_FILTER = 16.0, 32.0  # [s], where files are long
_SHORTEST = 1.0  # [s]
_FEWEST_CHUNKS = 4  # lengths of the filter in the data that the noise is measured on


@dataclass(frozen=True)
class Spans:
    """Seconds before and after the event, and of the whitening filter."""

    t_before: float
    t_after: float
    wht_filter_duration: float


def fit_spans(
    strains: Sequence[Strain],
    tgps: float,
    *,
    t_before: float | None = None,
    t_after: float | None = None,
    wht_filter_duration: float | None = None,
) -> Spans:
    """Return spans that the data have, as long as they are useful.

    What is not given is a power of two: at most 16 s to either side and 32 s of filter,
    of which the shortest of the files must hold four. Half the filter is lost at each end.

    Parameters
    ----------
    strains : sequence of Strain
        Without gaps.
    tgps : float
        GPS time of the event [s].
    t_before, t_after, wht_filter_duration : float, optional
        What was asked for [s].

    Raises
    ------
    EventError
        The files are too short for what was asked for, or for anything.
    InputError
        A length is not a positive number.
    """
    asked = {"t_before": t_before, "t_after": t_after,
             "wht_filter_duration": wht_filter_duration}  # fmt: skip
    for name, value in asked.items():
        if value is not None and not (np.isfinite(value) and value > 0):
            raise InputError(f"{name} is {value}, expected a positive number of seconds")
    before = min(strains, key=lambda strain: tgps - strain.start)
    after = min(strains, key=lambda strain: strain.end - tgps)
    room = {"t_before": tgps - before.start, "t_after": after.end - tgps}
    source = {"t_before": before.source, "t_after": after.source}
    whole = min(strain.end - strain.start for strain in strains)
    if wht_filter_duration is None:
        least = min(
            room[side] - (value if value is not None else _SHORTEST)
            for side, value in (("t_before", t_before), ("t_after", t_after))
        )
        limits = [_LONGEST_FILTER, whole / _FEWEST_CHUNKS, 2 * least]
        if t_before is None and t_after is None:
            limits.append(min(room.values()))  # it takes no more than it leaves
        wht_filter_duration = max(_SHORTEST, _power_of_two(min(limits)))
    elif wht_filter_duration > whole:
        raise EventError(
            f"wht_filter_duration is {wht_filter_duration:g} s, but there are only "
            f"{whole:.4g} s of valid data: give at most {whole / _FEWEST_CHUNKS:.3g}"
        )
    lengths = {"t_before": t_before, "t_after": t_after}
    for side, value in lengths.items():
        left = room[side] - wht_filter_duration / 2
        if value is None:
            lengths[side] = value = _power_of_two(min(_LONGEST_SPAN, left))
        if value == 0 or value > left:
            raise EventError(_too_short(side, value, wht_filter_duration, room, source))
    assert lengths["t_before"] is not None and lengths["t_after"] is not None
    return Spans(lengths["t_before"], lengths["t_after"], wht_filter_duration)


def _power_of_two(limit: float) -> float:
    return float(2.0 ** np.floor(np.log2(limit))) if limit >= _SHORTEST else 0.0


def _too_short(
    side: str,
    value: float,
    wht_filter_duration: float,
    room: dict[str, float],
    source: dict[str, str],
) -> str:
    text = (
        f"the strain file {source[side]} has {room[side]:.4g} s of valid data "
        f"{side.removeprefix('t_')} the event, less than {side} "
        f"({value or _SHORTEST:g} s) and half of wht_filter_duration "
        f"({wht_filter_duration:g} s) together"
    )
    if (most := room[side] - wht_filter_duration / 2) >= _SHORTEST:
        return f"{text}: give {side} of at most {int(most)} s, or a shorter filter"
    return f"{text}: give a shorter wht_filter_duration, or longer files"
