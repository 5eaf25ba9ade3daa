"""Priors of one's own: for banks, and for banks that adapt to an event.

A prior is any object with two methods::

    class MyPrior:
        def draw(self, n, rng):
            "Return n draws: a DataFrame or a dict of columns, each (n,)."

        def ln_prob(self, table):
            "Return ln of the normalised density at the rows of a DataFrame, (n,)."

Columns are the intrinsic parameters: ``m1 >= m2`` (detector frame, solar masses), ``iota``
[rad] and the spins ``s1x_n, s1y_n, s1z, s2x_n, s2y_n, s2z`` at the reference frequency
(see :mod:`dotpe_exec.banks.table`). Spins that ``draw`` leaves out are zero. ``rng`` is a
``numpy.random.Generator``; nothing else may be random, so that a build can be gone on with.

``ln_prob`` is per unit of (m1, m2, s1x_n, s1y_n, s1z, s2x_n, s2y_n, s2z, cos iota), without
the in-plane spins where the approximant has no precession, and -inf where the prior
excludes a point. :meth:`dotpe_exec.banks.prior.Proposal.ln_prob` is the default prior in
this measure: ratios of the two are importance weights.

Three forms are accepted wherever ``prior=`` is an argument:

* an object as above: waveforms are drawn from it and weigh the same (``ln_prob`` is then
  asked for by adaptive runs only);
* a prior class of cogwheel or an instance of one: its intrinsic part counts
  (:mod:`dotpe_exec.banks.cogwheel_prior`);
* a pair of these, *(drawing, physical)*: waveforms are drawn from the first, and
  ``log_prior_weights`` is ln of physical over drawing density. Here a measure that is the
  same in both is enough, and the second may be a function, its ``ln_prob``.

Each may also be named, as ``"package.module:NAME"``.
"""

from __future__ import annotations

import importlib
import inspect
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from ..errors import InputError
from ..kernels.masses import chirp_mass
from ..waveforms.parameters import PARAMETERS

if TYPE_CHECKING:
    import pandas as pd

_NEEDED = ("m1", "m2", "iota")
_MOST_ROUNDS, _FEWEST_AT_ONCE, _FEWEST_FOR_SHARE = 200, 256, 4096
_TOLERANCE = 1e-9  # of spin magnitudes and mass ratios, for rounding


@runtime_checkable
class Prior(Protocol):
    """What a prior of one's own can do; see the module."""

    def draw(self, n: int, rng: np.random.Generator) -> Any:
        """Return ``n`` draws: a frame or a dictionary of columns."""

    def ln_prob(self, table: pd.DataFrame) -> Any:
        """Return ln of the normalised density at rows of a table, (n,)."""


@dataclass(frozen=True)
class OwnPrior:
    """A prior of one's own, its answers checked.

    Parameters
    ----------
    drawing : object
        Draws waveforms.
    physical : object or None
        Whose posterior is wanted; None: that of ``drawing``.
    aligned_spins : bool
        Whether in-plane spins must be zero.
    mchirp_range : (float, float), optional
        Draws outside of it are left out [solar masses].
    """

    drawing: Any
    physical: Any
    aligned_spins: bool = False
    mchirp_range: tuple[float, float] | None = None

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return parameters of ``n`` waveforms, (n, 9), columns as ``PARAMETERS``."""
        return self.draw_with_share(n, rng, _FEWEST_AT_ONCE)[0]

    def draw_with_share(
        self, n: int, rng: np.random.Generator, fewest: int = _FEWEST_FOR_SHARE
    ) -> tuple[np.ndarray, float]:
        """Return parameters (n, 9), and which part of all draws was kept.

        Draws outside of ``mchirp_range``, and those that the physical prior excludes, are
        left out. The share is that of at least ``fewest`` draws.

        Raises
        ------
        InputError
            The prior does not return what it should, or hardly draws within the range.
        """
        kept: list[np.ndarray] = []
        n_drawn = n_inside = 0
        n_at_once = max(n, fewest)
        for _ in range(_MOST_ROUNDS):
            drawn_ik = self._checked_draws(n_at_once, rng)
            if self.mchirp_range is not None:
                mchirp = chirp_mass(drawn_ik[:, 0], drawn_ik[:, 1])
                low, high = self.mchirp_range
                drawn_ik = drawn_ik[(mchirp >= low) & (mchirp <= high)]
            if self.physical is not None:
                drawn_ik = drawn_ik[_density(self.physical, drawn_ik) > -np.inf]
            n_drawn += n_at_once
            n_inside += len(drawn_ik)
            kept.append(drawn_ik)
            if n_inside >= n:
                return np.concatenate(kept)[:n], n_inside / n_drawn
        raise InputError(
            f"prior: {n_inside} of {n_drawn} draws of {describe(self.drawing)} can be "
            f"used, expected some where {self._where()}"
        )

    def log_prior_weights(self, parameters_ik: np.ndarray) -> np.ndarray:
        """Return ln of physical over drawing density, (n,).

        Raises
        ------
        InputError
            A density is missing, or has values that cannot be used.
        """
        if self.physical is None:
            return np.zeros(len(parameters_ik))
        drawing = _density(self.drawing, parameters_ik)
        if not np.isfinite(drawing).all():
            raise InputError(
                f"prior: ln_prob of {describe(self.drawing)} is not finite at "
                f"{np.count_nonzero(~np.isfinite(drawing))} of its own draws"
            )
        return _density(self.physical, parameters_ik) - drawing

    def ln_prob(self, parameters_ik: np.ndarray) -> np.ndarray:
        """Return ln of the physical prior's density, (n,); InputError if it has none."""
        prior = self.drawing if self.physical is None else self.physical
        return _density(prior, parameters_ik)

    def description(self) -> dict[str, str]:
        """Return what a configuration says about it."""
        physical = self.drawing if self.physical is None else self.physical
        return {"drawing": describe(self.drawing), "physical": describe(physical)}

    def _where(self) -> str:
        """Return what is asked of draws in words."""
        asked = []
        if self.mchirp_range is not None:
            asked.append("the chirp mass is within {} to {}".format(*self.mchirp_range))
        if self.physical is not None:
            asked.append(f"{describe(self.physical)} does not vanish")
        return " and ".join(asked)

    def _checked_draws(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return draws as an array (n, 9)."""
        import pandas as pd

        name = describe(self.drawing)
        try:
            table = pd.DataFrame(self.drawing.draw(n, rng))
            missing = [column for column in _NEEDED if column not in table]
            columns = {
                column: np.asarray(table[column], dtype=float)
                for column in PARAMETERS
                if column in table
            }
        except (TypeError, ValueError) as error:
            raise InputError(
                f"prior: the draws of {name} are no table of numbers: {error}"
            ) from error
        if missing or len(table) != n:
            raise InputError(
                f"prior: {name} drew {len(table)} rows with the columns "
                f"{', '.join(map(str, table))}, expected {n} rows with m1, m2, iota and "
                "spins"
            )
        zero = np.zeros(n)
        drawn_ik = np.stack([columns.get(key, zero) for key in PARAMETERS], axis=1)
        self._check_values(drawn_ik, name)
        return drawn_ik

    def _check_values(self, drawn_ik: np.ndarray, name: str) -> None:
        par = dict(zip(PARAMETERS, drawn_ik.T, strict=True))
        inplane = [par[f"s{body}{axis}_n"] for body in (1, 2) for axis in "xy"]
        square = [
            par[f"s{body}x_n"] ** 2 + par[f"s{body}y_n"] ** 2 + par[f"s{body}z"] ** 2
            for body in (1, 2)
        ]
        masses = (par["m2"] > 0) & (par["m2"] <= par["m1"] * (1 + _TOLERANCE))
        tests = {
            "finite numbers": np.isfinite(drawn_ik).all(axis=1),
            "m1 >= m2 > 0": masses,
            "spins of at most 1": np.max(square, axis=0) <= 1 + _TOLERANCE,
            "iota from 0 to pi": (par["iota"] >= 0) & (par["iota"] <= np.pi),
        }
        if self.aligned_spins:
            tests["no in-plane spins for this approximant"] = ~np.any(inplane, axis=0)
        for expected, good in tests.items():
            if not good.all():
                first = {k: float(v[~good][0]) for k, v in par.items()}
                raise InputError(f"prior: {name} drew {first}, expected {expected}")


@dataclass(frozen=True)
class TravellingPrior:
    """An :class:`OwnPrior` on its way to a worker: opened there if it is needed at all.

    Parameters
    ----------
    content : bytes
    """

    content: bytes

    @classmethod
    def of(cls, prior: OwnPrior) -> TravellingPrior:
        """Return a prior packed; InputError if it cannot be sent to other processes."""
        import cloudpickle

        try:
            return cls(cloudpickle.dumps(prior))
        except Exception as error:  # whatever the reduction of somebody's object raises
            raise InputError(
                f"prior: {describe(prior.drawing)} cannot be sent to other processes: "
                f"{error}"
            ) from error

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return parameters of ``n`` waveforms, (n, 9)."""
        return pickle.loads(self.content).draw(n, rng)


def own_prior(
    prior: Any,
    *,
    mchirp_range: tuple[float, float] | None,
    q_min: float,
    f_ref: float,
    aligned_spins: bool = False,
    within: tuple[float, float] | None = None,
) -> OwnPrior:
    """Return what a user gave as ``prior``, in one form.

    Parameters
    ----------
    prior : object, cogwheel prior (class or instance), str, or a pair of these
        See the module.
    mchirp_range, q_min, f_ref
        What classes of cogwheel are made with, where they take it.
    aligned_spins : bool
        Whether the approximant has no in-plane spins.
    within : (float, float), optional
        Chirp masses to keep [solar masses].

    Raises
    ------
    InputError
        It is none of these.
    """
    if isinstance(prior, str):
        prior = _named(prior)  # which may be a pair
    pair = isinstance(prior, tuple | list)
    if pair and len(prior) != 2:
        raise InputError(
            f"prior has {len(prior)} parts, expected one or a pair (drawing, physical)"
        )
    arguments = {"mchirp_range": mchirp_range, "q_min": q_min, "f_ref": f_ref}
    given = list(prior) if pair else [prior]
    parts = [_resolved(part, arguments, aligned_spins) for part in given]
    if not callable(getattr(parts[0], "draw", None)):
        named = " ".join(describe(parts[0]).split())[:100]
        raise InputError(
            f"prior is {named}, expected an object with the methods draw(n, "
            "rng) and ln_prob(table), or a prior class of cogwheel"
        )
    for part in parts if pair else []:
        if not callable(getattr(part, "ln_prob", part)):
            raise InputError(
                f"prior: {describe(part)} has no method ln_prob(table), which a pair "
                "(drawing, physical) needs"
            )
    return OwnPrior(parts[0], parts[1] if pair else None, aligned_spins, within)


def describe(prior: Any) -> str:
    """Return a prior's name: its ``repr`` where that says something, else its type's."""
    text = repr(prior)
    if not re.search(r" at 0x[0-9a-f]+", text):
        return text
    named = prior if inspect.isroutine(prior) or isinstance(prior, type) else type(prior)
    return f"{named.__module__}.{named.__qualname__}"


def _resolved(prior: Any, arguments: Mapping[str, Any], aligned_spins: bool) -> Any:
    """Return an object for a name, a class of cogwheel or an object."""
    if isinstance(prior, str):
        prior = _named(prior)
    kind = prior if isinstance(prior, type) else type(prior)
    if any(base.__module__ == "cogwheel.prior" for base in kind.__mro__):
        from .cogwheel_prior import CogwheelPrior

        return CogwheelPrior.of(prior, arguments, aligned_spins)
    if isinstance(prior, type):
        raise InputError(
            f"prior is the class {kind.__qualname__}, expected an object of it (or a prior "
            "class of cogwheel)"
        )
    return prior


def _named(name: str) -> Any:
    """Return the object called ``"package.module:NAME"``."""
    module, _, attribute = name.partition(":")
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"prior is {name!r}, expected a name like package.module:NAME that can be "
            f"imported ({error})"
        ) from error
    return found


def _density(prior: Any, parameters_ik: np.ndarray) -> np.ndarray:
    """Return ln of a density at rows of parameters, checked, (n,)."""
    import pandas as pd

    ln_prob: Callable[[Any], Any] | None = getattr(prior, "ln_prob", prior)
    name = describe(prior)
    if not callable(ln_prob):
        raise InputError(f"prior: {name} has no method ln_prob(table), needed here")
    table = pd.DataFrame(np.asarray(parameters_ik, float), columns=list(PARAMETERS))
    try:
        values = np.asarray(ln_prob(table), dtype=float)
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"prior: ln_prob of {name} failed: {error}") from error
    if values.shape != (len(table),):
        raise InputError(
            f"prior: ln_prob of {name} has shape {values.shape}, expected one number for "
            f"each of {len(table)} rows"
        )
    if np.isnan(values).any() or (values == np.inf).any():
        raise InputError(f"prior: ln_prob of {name} has NaN or +inf among its values")
    return values
