"""The recipe of a bank: everything that determines its content, checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import seeds
from ..digests import array_digest
from ..errors import InputError
from ..events.bins import fbin_from_pn_phase_tol, pn_phase_tol_for
from ..validation import integer, number, positive_integer, positive_number, short
from ..waveforms import generation_way
from .config import approximant_modes, first_appearance
from .own_prior import OwnPrior, own_prior
from .prior import Proposal, check_f_ref, check_mchirp_range
from .waveforms import BankHandle

if TYPE_CHECKING:
    from cogwheel.data import EventData

_STEEPEST = 20.0
"""Exponent of a proposal beyond which hardly a waveform has weight."""


@dataclass(frozen=True)
class BankRecipe:
    """All that determines the content of a bank.

    Parameters
    ----------
    bank_size, blocksize : int
    mchirp_range, prior_mchirp_range : (float, float)
        Chirp masses drawn from, and range over which the prior is normalised
        [solar masses].
    q_min, alpha : float
        Smallest mass ratio; exponent of the chirp mass in the proposal.
    f_ref : float
        [Hz]
    approximant : str
    harmonic_modes : tuple of (l, m)
    fbin : tuple of float
        [Hz]
    seed : int
    aligned_spins : bool
    own : OwnPrior or None
        Instead of the default prior; then ranges may be missing.
    """

    bank_size: int
    blocksize: int
    mchirp_range: tuple[float, float] | None
    prior_mchirp_range: tuple[float, float] | None
    q_min: float
    alpha: float
    f_ref: float
    approximant: str
    harmonic_modes: tuple[tuple[int, int], ...]
    fbin: tuple[float, ...]
    seed: int
    aligned_spins: bool
    own: OwnPrior | None = field(default=None, repr=False, compare=False)

    @property
    def proposal(self) -> Proposal | OwnPrior:
        """The distribution that parameters are drawn from."""
        return self._default if self.own is None else self.own

    @property
    def _default(self) -> Proposal:
        if self.mchirp_range is None:
            raise InputError(
                "mchirp_range is missing, expected two chirp masses [solar masses]"
            )
        return Proposal(self.mchirp_range, self.q_min, self.alpha, self.aligned_spins)

    @property
    def way(self) -> str:
        """The way that its waveforms are made: fast, direct or cogwheel."""
        return generation_way(self.approximant, self.harmonic_modes)

    def handle(self, folder: Path) -> BankHandle:
        """Return a handle of the bank in ``folder``, which need not be complete."""
        return BankHandle(
            folder=str(folder),
            bank_id=folder.name,
            n_waveforms=self.bank_size,
            blocksize=self.blocksize,
            n_m=len(first_appearance(self.harmonic_modes)),
            n_b=len(self.fbin),
        )

    def draw(self) -> np.ndarray:
        """Return the parameters of all waveforms, (bank_size, 9)."""
        if self.own is not None:
            return self._own_draws[0].copy()
        return self._default.draw(self.bank_size, seeds.generator(self.seed, "bank"))

    @cached_property
    def _own_draws(self) -> tuple[np.ndarray, float]:
        """Draws from the prior that was given, and which part of them was kept."""
        assert self.own is not None
        rng = seeds.generator(self.seed, "bank")
        return self.own.draw_with_share(self.bank_size, rng)

    def log_prior_weights(self, parameters_ik: np.ndarray) -> np.ndarray:
        """Return ln of prior over drawing density, (n,)."""
        if self.own is not None:
            # What was left out of the draws is left out of the bank's part of the prior.
            return self.own.log_prior_weights(parameters_ik) + np.log(self._own_draws[1])
        prior_range = self.prior_mchirp_range or self._default.mchirp_range
        return self._default.log_prior_weights(parameters_ik, prior_range)

    def prior_description(self) -> dict[str, str] | None:
        """Return what is recorded of a prior that was given: names, and what it drew."""
        if self.own is None:
            return None
        draws = array_digest(self._own_draws[0])
        return self.own.description() | {"draws": draws}

    def to_json(self) -> dict[str, Any]:
        """Return the recipe in terms of JSON, equal to what is read back from a file."""
        content = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.name != "own"
        }
        return json.loads(json.dumps(content | {"prior": self.prior_description()}))


def make_recipe(
    *,
    bank_size: int,
    mchirp_range: Sequence[float] | None,
    q_min: float,
    f_ref: float,
    approximant: str,
    fbin: np.ndarray,
    seed: int,
    blocksize: int,
    alpha: float,
    prior_mchirp_range: Sequence[float] | None,
    harmonic_modes: Sequence[Sequence[int]] | None,
    prior: Any = None,
) -> BankRecipe:
    """Return the recipe of a bank, its parts checked; InputError or BankError."""
    from cogwheel import waveform

    known_modes = approximant_modes(approximant, "bank build")
    modes = known_modes if harmonic_modes is None else _modes(harmonic_modes)
    unknown = [mode for mode in modes if mode not in known_modes]
    if unknown or 2 not in first_appearance(modes):
        raise InputError(
            f"harmonic_modes is {list(modes)}, expected some of {known_modes} for "
            f"{approximant}, with one of m = 2 among them"
        )
    own_range = prior_range = None
    if mchirp_range is not None or prior is None:
        own_range = prior_range = parse_mchirp_range("mchirp_range", mchirp_range)
    if prior_mchirp_range is not None:
        prior_range = parse_mchirp_range("prior_mchirp_range", prior_mchirp_range)
        low, high = own_range or prior_range
        if not prior_range[0] <= low < high <= prior_range[1]:
            raise InputError(
                f"prior_mchirp_range is {prior_range}, expected a range around "
                f"mchirp_range {own_range}"
            )
    aligned_spins = bool(waveform.APPROXIMANTS[approximant].aligned_spins)
    q_min = number("q_min", q_min, minimum=0.0)
    f_ref = check_f_ref("f_ref", f_ref)
    recipe = BankRecipe(
        bank_size=positive_integer("bank_size", bank_size),
        blocksize=positive_integer("blocksize", blocksize),
        mchirp_range=own_range,
        prior_mchirp_range=prior_range,
        q_min=q_min,
        alpha=number("alpha", alpha, minimum=-np.inf),
        f_ref=f_ref,
        approximant=approximant,
        harmonic_modes=tuple(modes),
        fbin=tuple(fbin.tolist()),
        seed=integer("seed", seed, minimum=0),
        aligned_spins=aligned_spins,
        own=None
        if prior is None
        else own_prior(
            prior,
            mchirp_range=prior_range,
            q_min=q_min,
            f_ref=f_ref,
            aligned_spins=aligned_spins,
            within=own_range,
        ),
    )
    if not abs(recipe.alpha) <= _STEEPEST:
        raise InputError(
            f"alpha is {recipe.alpha:g}, expected between -{_STEEPEST:g} and {_STEEPEST:g}"
        )
    _ = recipe.proposal  # checks its own parameters
    return recipe


def _modes(harmonic_modes: Any) -> list[tuple[int, int]]:
    try:
        modes = [(int(ell), int(m)) for ell, m in harmonic_modes]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"harmonic_modes is {short(harmonic_modes)}, expected pairs (l, m)"
        ) from error
    if len(set(modes)) != len(modes):
        raise InputError(f"harmonic_modes is {modes}, expected each mode once")
    return modes


def parse_mchirp_range(name: str, value: Any) -> tuple[float, float]:
    """Return a range of chirp masses given as two numbers, or raise InputError."""
    try:
        low, high = (float(end) for end in value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is {short(value)}, expected two chirp masses") from error
    check_mchirp_range(name, (low, high))
    return low, high


def choose_bins(
    fbin: Any,
    event: Any,
    pn_phase_tol: float | None,
    approximant: str,
    f_ref: float,
    mchirp_range: tuple[float, float] | None,
) -> tuple[np.ndarray, float | None]:
    """Return the frequencies given as ``fbin``, or bins for ``event``, checked.

    Returns
    -------
    fbin : (n_b,) float
        [Hz]
    pn_phase_tol : float or None
        Tolerance that they were made with, chosen from the event if None was given.
    """
    if (fbin is None) == (event is None):
        raise InputError("expected exactly one of fbin and event, for the frequency bins")
    if event is None:
        return _given_bins(fbin), None
    from ..events import load_event

    approximant_modes(approximant, "bank build")
    event_data = load_event(event)
    if pn_phase_tol is not None:
        pn_phase_tol = positive_number("pn_phase_tol", pn_phase_tol)
    else:
        pn_phase_tol = _tolerance_for(event_data, approximant, f_ref, mchirp_range)
    return fbin_from_pn_phase_tol(event_data, pn_phase_tol, approximant), pn_phase_tol


def _tolerance_for(
    event_data: EventData,
    approximant: str,
    f_ref: Any,
    mchirp_range: tuple[float, float] | None,
) -> float:
    """Return the tolerance that an event needs, the same for all parts of a range."""
    from ..events.matched_filter import HIGHEST, LOWEST, search_template

    low, high = mchirp_range or (LOWEST, HIGHEST)
    f_ref = check_f_ref("f_ref", f_ref)
    searched = min(low, LOWEST), max(high, HIGHEST)
    best = search_template(event_data, approximant, f_ref, searched)
    return pn_phase_tol_for(best.lnlike)


def _given_bins(fbin: Any) -> np.ndarray:
    try:
        array = np.asarray(fbin, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"fbin is not an array of frequencies: {error}") from error
    ok = array.ndim == 1 and len(array) >= 4 and np.all(np.isfinite(array))
    if not ok or array[0] <= 0 or np.any(np.diff(array) <= 0):
        raise InputError(
            f"fbin has shape {array.shape}, expected at least four positive frequencies in "
            "ascending order [Hz]"
        )
    return array
