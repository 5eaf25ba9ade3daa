"""The arguments of ``infer``: one frozen dataclass, checked before any work starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..banks.prior import check_f_ref, check_q_min
from ..banks.recipe import parse_mchirp_range
from ..errors import InputError
from ..validation import (
    check_path,
    flag,
    integer,
    jsonable,
    load_par_dic,
    number,
    positive_integer,
    positive_number,
)

BANK_ID = "adapted"


@dataclass(frozen=True)
class InferArguments:
    """Arguments of :func:`dotpe_exec.infer` that shape its results, checked.

    What each means and its default is said there and nowhere else.
    """

    event: Any
    n_effective: float
    max_waveforms: int
    mchirp_range: Any
    bank_folder: Any
    prior: Any
    q_min: float
    approximant: str
    f_ref: float
    pn_phase_tol: float | None
    n_ext: int | None
    n_phi: int
    n_t: int
    seed: int | None
    n_draws: int | None
    event_dir: Any
    rundir: Any
    par_dic_0: Any
    asd_drift: Any
    coherent_posterior_kwargs: Any
    exact_likelihoods: bool
    save_waveforms: bool
    calibration: Any
    calibration_correction: str

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> InferArguments:
        """Take what belongs here from the arguments of a call of ``infer``."""
        return cls(**{field.name: given[field.name] for field in fields(cls)})

    def __post_init__(self) -> None:
        for name in ("max_waveforms", "n_phi", "n_t"):
            self._set(name, positive_integer(name, getattr(self, name)))
        if self.n_ext is not None:  # else as many as it takes
            self._set("n_ext", integer("n_ext", self.n_ext, minimum=2))
        if self.n_draws is not None:
            self._set("n_draws", positive_integer("n_draws", self.n_draws))
        if self.seed is not None:
            self._set("seed", integer("seed", self.seed, minimum=0))
        self._set("n_effective", number("n_effective", self.n_effective, minimum=1.0))
        if not self.n_effective < self.max_waveforms:
            raise InputError(
                f"n_effective is {self.n_effective:g}, expected fewer than max_waveforms, "
                f"which is {self.max_waveforms}"
            )
        if self.mchirp_range is not None:
            self._set("mchirp_range", parse_mchirp_range("mchirp_range", self.mchirp_range))
        self._set("q_min", number("q_min", self.q_min, minimum=0.0))
        check_q_min("q_min", self.q_min)
        self._set("f_ref", check_f_ref("f_ref", self.f_ref))
        if self.pn_phase_tol is not None:  # else chosen from the event
            self._set("pn_phase_tol", positive_number("pn_phase_tol", self.pn_phase_tol))
        for name in ("exact_likelihoods", "save_waveforms"):
            flag(name, getattr(self, name))
        for name in ("event_dir", "rundir"):
            if getattr(self, name) is not None:
                check_path(name, getattr(self, name))
        if self.par_dic_0 is not None:
            self._set("par_dic_0", load_par_dic(self.par_dic_0))
        if self.event_dir is None and self.rundir is None:
            raise InputError(
                "neither rundir nor event_dir is given: give rundir (the run directory) or "
                "event_dir (its parent, in which run_0, run_1, ... are made)"
            )
        kwargs = self.coherent_posterior_kwargs
        if kwargs is not None and not isinstance(kwargs, Mapping):
            raise InputError(
                f"coherent_posterior_kwargs is a {type(kwargs).__name__}, expected a "
                "dictionary"
            )

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def record(self) -> dict[str, Any]:
        """Return the arguments as they are written to ``run_kwargs.json``."""
        return {item.name: jsonable(getattr(self, item.name)) for item in fields(self)}
