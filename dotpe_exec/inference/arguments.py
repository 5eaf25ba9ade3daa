"""The arguments of a run: one frozen dataclass, checked before any work starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import InputError
from ..validation import (
    check_path,
    flag,
    integer,
    jsonable,
    load_par_dic,
    number,
    positive_integer,
)


@dataclass(frozen=True)
class RunArguments:
    """Arguments of :func:`dotpe_exec.run_multicore` that shape a run's results, checked.

    What each means and its default is said there and nowhere else.
    """

    event: Any
    bank_folder: Any
    n_ext: int
    n_phi: int
    n_t: int
    n_int: Any
    blocksize: int
    single_detector_blocksize: int
    i_int_start: int
    seed: int | None
    load_inds: bool
    inds_path: Any
    size_limit: int
    draw_subset: bool
    n_draws: int | None
    event_dir: Any
    rundir: Any
    coherent_score_min_n_effective_prior: float
    max_incoherent_lnlike_drop: float
    max_bestfit_lnlike_diff: float
    mchirp_guess: float | None
    extrinsic_samples: Any
    n_phi_incoherent: int | None
    preselected_indices: Any
    bank_logw_override: Any
    coherent_posterior_kwargs: Any
    par_dic_0: Any
    exact_likelihoods: bool
    refine_reference: bool | None
    asd_drift: Any
    calibration: Any
    calibration_correction: str

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> RunArguments:
        """Take what belongs here from the arguments of a call of ``run_multicore``."""
        return cls(**{field.name: given[field.name] for field in fields(cls)})

    def __post_init__(self) -> None:
        for name in ("n_ext", "n_phi", "n_t", "blocksize", "single_detector_blocksize",
                     "size_limit"):  # fmt: skip
            self._set(name, positive_integer(name, getattr(self, name)))
        for name in ("n_draws", "n_phi_incoherent"):
            if getattr(self, name) is not None:
                self._set(name, positive_integer(name, getattr(self, name)))
        for name in ("i_int_start", "seed"):
            if getattr(self, name) is not None:
                self._set(name, integer(name, getattr(self, name), minimum=0))
        for name in ("load_inds", "draw_subset", "exact_likelihoods"):
            flag(name, getattr(self, name))
        for name in ("coherent_score_min_n_effective_prior", "max_incoherent_lnlike_drop",
                     "max_bestfit_lnlike_diff"):  # fmt: skip
            self._set(name, number(name, getattr(self, name), minimum=0.0))
        if self.exact_likelihoods and not self.draw_subset:
            raise InputError(
                "exact_likelihoods is True and draw_subset is False: exact likelihoods are "
                "those of the samples that are drawn, expected draw_subset=True"
            )
        if self.calibration is not None and not self.draw_subset:
            raise InputError(
                "calibration is given and draw_subset is False: likelihoods are averaged "
                "over calibration for the samples that are drawn, expected "
                "draw_subset=True"
            )
        if self.max_bestfit_lnlike_diff == 0:
            raise InputError(
                "max_bestfit_lnlike_diff is 0, expected a positive number: no sample is "
                "above the likeliest"
            )
        if self.mchirp_guess is not None:
            guess = number("mchirp_guess", self.mchirp_guess, minimum=0.0)
            if not 0 < guess < math.inf:
                raise InputError(
                    f"mchirp_guess is {guess:g}, expected a chirp mass in solar masses"
                )
            self._set("mchirp_guess", guess)
        for name in ("event_dir", "rundir", "extrinsic_samples"):
            if getattr(self, name) is not None:
                check_path(name, getattr(self, name))
        if self.event_dir is None and self.rundir is None:
            raise InputError(
                "neither rundir nor event_dir is given: give rundir (the run directory) or "
                "event_dir (its parent, in which run_0, run_1, ... are made)"
            )
        if self.coherent_posterior_kwargs is not None and not isinstance(
            self.coherent_posterior_kwargs, Mapping
        ):
            raise InputError(
                "coherent_posterior_kwargs is a "
                f"{type(self.coherent_posterior_kwargs).__name__}, expected a dictionary"
            )
        if self.refine_reference is not None:
            flag("refine_reference", self.refine_reference)
        if self.par_dic_0 is not None:
            self._set("par_dic_0", load_par_dic(self.par_dic_0))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def record(self) -> dict[str, Any]:
        """Return the arguments as they are written to ``run_kwargs.json``."""
        return {field.name: jsonable(getattr(self, field.name)) for field in fields(self)}
