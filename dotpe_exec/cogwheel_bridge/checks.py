"""Arguments that only cogwheel and LAL can judge, judged before any work."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from cogwheel import gw_utils, waveform

from ..errors import InputError
from ..logged_prints import prints_logged

# How far from face-on [rad], and how different in mass, (m1 - m2) / (m1 + m2), or spin a
# reference waveform is at least.
_LEAST_IOTA = 0.01
_LEAST_DIFFERENCE = 0.002


def check_waveform(
    par_dic: Mapping[str, float], approximant: str, frequencies: np.ndarray, name: str
) -> None:
    """Refuse parameters for which the approximant has no waveform.

    Parameters
    ----------
    par_dic : dict
        As :func:`check_par_dic` returns it.
    approximant : str
    frequencies : (n_f,) float
        [Hz]
    name : str
        What to call the parameters in the error.

    Raises
    ------
    InputError
    """
    generator = waveform.WaveformGenerator((), 0.0, 0.0, approximant)
    try:
        with prints_logged():
            h_pf = generator.get_hplus_hcross(np.asarray(frequencies, dtype=float), par_dic)
    except Exception as error:  # what an approximant raises is its own
        raise InputError(
            f"{name}: {approximant} has no waveform for these parameters ({error}): "
            f"m1 = {par_dic['m1']:g}, m2 = {par_dic['m2']:g}"
        ) from error
    if not np.isfinite(h_pf).all() or not np.any(h_pf):
        raise InputError(
            f"{name}: the waveform of {approximant} is zero, or not finite, at all "
            f"frequencies from {frequencies[0]:g} to {frequencies[-1]:g} Hz: "
            f"m1 = {par_dic['m1']:g}, m2 = {par_dic['m2']:g}"
        )


def with_all_modes(par_dic: Mapping[str, float], approximant: str) -> dict[str, float]:
    """Return parameters of nearly the same waveform, of which no mode vanishes everywhere.

    Of equal masses and spins those of odd m do, seen face-on all but those of m = 2, and
    relative binning divides by them. Masses are moved apart at the same chirp mass.

    Parameters
    ----------
    par_dic : dict
        As :func:`check_par_dic` returns it.
    approximant : str
    """
    changed = dict(par_dic)
    if {m for _, m in waveform.APPROXIMANTS[approximant].harmonic_modes} == {2}:
        return changed
    if np.sin(par_dic["iota"]) < _LEAST_IOTA:
        nearest = _LEAST_IOTA if par_dic["iota"] < 1 else np.pi - _LEAST_IOTA
        changed["iota"] = float(nearest)
    m1, m2 = par_dic["m1"], par_dic["m2"]
    alike = abs(m1 - m2) / (m1 + m2) < _LEAST_DIFFERENCE
    if alike and abs(par_dic["s1z"] - par_dic["s2z"]) < _LEAST_DIFFERENCE:
        difference = _LEAST_DIFFERENCE if m1 >= m2 else -_LEAST_DIFFERENCE
        # mchirp = total (1 - difference^2)^(3/5) / 2^(6/5)
        mchirp = gw_utils.m1m2_to_mchirp(m1, m2)
        total = mchirp * 2**1.2 / (1 - difference**2) ** 0.6
        changed["m1"] = float(total * (1 + difference) / 2)
        changed["m2"] = float(total * (1 - difference) / 2)
    return changed


def known_keywords(likelihood_class: Any) -> set[str] | None:
    """Return the keyword arguments of a likelihood class, None where it takes any."""
    known: set[str] = set()
    for each in inspect.getmro(likelihood_class):
        if "__init__" not in vars(each) or each is object:
            continue
        parameters = inspect.signature(vars(each)["__init__"]).parameters.values()
        known |= {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            return known - {"self", "event_data", "waveform_generator", "par_dic_0"}
    return None
