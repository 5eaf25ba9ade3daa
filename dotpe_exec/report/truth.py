"""What was injected into simulated data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import DotpeExecError
from ..kernels.masses import chirp_mass, effective_spin

if TYPE_CHECKING:
    from ..loading import StoredRun


def injected_parameters(run: StoredRun) -> dict[str, float] | None:
    """Return the parameters of a run's injected signal, None where there is none.

    Names are those of ``samples.feather`` and the derived ones.
    """
    import pandas as pd

    from ..derived import binary_parameters

    if run.event_file is None:
        return None
    try:
        injection = run.event.injection
    except DotpeExecError:
        return None  # what needs the event says so
    if not injection:
        return None
    truth = {
        name: float(value)
        for name, value in injection["par_dic"].items()
        if isinstance(value, int | float)
    }
    if {"m1", "m2"} <= truth.keys():
        m1, m2 = truth["m1"], truth["m2"]
        truth |= {"q": m2 / m1, "mchirp": chirp_mass(m1, m2)}
        if {"s1z", "s2z"} <= truth.keys():
            truth["chieff"] = effective_spin(m1, m2, truth["s1z"], truth["s2z"])
    try:
        frame = pd.DataFrame([truth | {"lnl": 0.0}])
        derived = binary_parameters(frame, float(run.event.tgps)).iloc[0].to_dict()
    except KeyError:  # an injection that does not say all
        derived = {}
    derived.pop("log_likelihood", None)
    return derived | truth
