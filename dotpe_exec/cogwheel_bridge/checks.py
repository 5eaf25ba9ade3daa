"""Arguments that only cogwheel and LAL can judge, judged before any work."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from cogwheel import waveform

from ..errors import InputError
from ..logged_prints import prints_logged


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
