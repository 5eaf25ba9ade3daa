"""Prior classes of cogwheel as priors of a bank.

Of a prior for all parameters the intrinsic part counts: masses, spins and inclination. What
a class leaves out is what a bank does anyhow: no in-plane spins, isotropic inclination.

cogwheel's densities are those of its sampled parameters. Here they are per unit of the
standard ones (see :mod:`dotpe_exec.banks.own_prior`), by its ``ln_jacobian_determinant``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..waveforms.parameters import PARAMETERS

if TYPE_CHECKING:
    import pandas as pd

_OTHER = {"f_ref", "l1", "l2"}  # fixed, or of no account to a binary of black holes
_SLACK = 1e-9  # of the width of a range


@dataclass(frozen=True)
class CogwheelPrior:
    """The intrinsic part of a prior class of cogwheel.

    Parameters
    ----------
    kind : type
        The class.
    arguments : tuple of (str, object)
        What it is made with.
    """

    kind: type
    arguments: tuple[tuple[str, Any], ...]

    @classmethod
    def of(
        cls, prior: Any, arguments: Mapping[str, Any], aligned_spins: bool
    ) -> CogwheelPrior:
        """Return that of a class, made with ``arguments`` that it takes, or an instance.

        Raises
        ------
        InputError
            It needs arguments that are not there, or its part for intrinsic parameters
            cannot be told from the rest.
        """
        if isinstance(prior, type):
            kind, given = prior, {k: v for k, v in arguments.items() if v is not None}
        else:
            kind, given = type(prior), prior.get_init_dict()
        new = cls(kind, ())
        needed = {par.name for par in new._intrinsic_class.init_parameters(False)}
        known = {par.name for par in new._intrinsic_class.init_parameters(True)}
        missing = sorted(needed - given.keys())
        if missing:
            raise InputError(
                f"prior: {kind.__name__} needs {', '.join(missing)}: give an instance of "
                "it, or these arguments"
            )
        used = {name: value for name, value in given.items() if name in known}
        if aligned_spins and any(
            name not in new._fixed for name in PARAMETERS if name.endswith("_n")
        ):
            raise InputError(
                f"prior: {kind.__name__} has in-plane spins, expected one without for this "
                "approximant (IntrinsicAlignedSpinIASPrior, say)"
            )
        return cls(kind, tuple(sorted(used.items())))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value}" for name, value in self.arguments)
        return f"cogwheel {self.kind.__name__}({arguments})"

    def draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return ``n`` draws."""
        # A new instance each time: cogwheel's keeps the largest density that it has met.
        return self._instance().generate_random_samples(n, seed=int(rng.integers(2**63)))

    def ln_prob(self, table: pd.DataFrame) -> np.ndarray:
        """Return ln of the density per unit of the standard parameters, (n,)."""
        prior = self._instance()
        fixed = self._fixed & set(PARAMETERS)
        others = dict.fromkeys(_OTHER & set(prior.standard_params), 0.0)
        if "f_ref" in others:
            others["f_ref"] = dict(self.arguments)["f_ref"]
        values = np.full(len(table), -np.inf)
        with np.errstate(invalid="ignore", divide="ignore"):
            for k, row in enumerate(table[list(PARAMETERS)].itertuples(index=False)):
                par = row._asdict()
                if all(par[name] == 0 for name in fixed):
                    values[k] = _standard_lnprior(prior, par | others)
        # Per unit of cos iota instead of iota.
        return values - np.log(np.sin(table["iota"].to_numpy(float)))

    def _instance(self) -> Any:
        return self._intrinsic_class(**dict(self.arguments))

    @property
    def _fixed(self) -> set[str]:
        """Parameters that are zero."""
        from cogwheel.prior import FixedPrior

        parts = self._intrinsic_class.prior_classes
        return {
            name
            for part in parts
            if issubclass(part, FixedPrior)
            for name in part.standard_params
        }

    @property
    def _intrinsic_class(self) -> Any:
        """The class combined of those parts of ``kind`` that a bank has parameters of."""
        return _intrinsic_class(self.kind)


@functools.cache
def _intrinsic_class(kind: type) -> Any:
    from cogwheel.gw_prior import extrinsic, spin
    from cogwheel.prior import CombinedPrior

    parts = []
    for part in getattr(kind, "prior_classes", [kind]):
        names = set(part.standard_params)
        if not names & set(PARAMETERS) and not names <= _OTHER:
            continue  # sky, distance, time, phase
        if {"ra", "dec"} & names:
            # The same spins and inclination without the sky position.
            part = getattr(spin, part.__name__.replace("SkyLocation", ""), part)
            names = set(part.standard_params)
        if not names <= {*PARAMETERS, *_OTHER}:
            raise InputError(
                f"prior: {part.__name__} of {kind.__name__} combines intrinsic and other "
                "parameters, expected a prior of intrinsic ones (IntrinsicIASPrior, say)"
            )
        parts.append(part)
    there = {name for part in parts for name in part.standard_params}
    if not {"m1", "m2"} <= there:
        raise InputError(f"prior: {kind.__name__} has no masses")
    if "iota" not in there:
        parts.append(extrinsic.IsotropicInclinationPrior)
    if not there & {"s1x_n", "s2x_n"}:
        parts.append(spin.ZeroInplaneSpinsPrior)
    if "s1z" not in there:
        raise InputError(f"prior: {kind.__name__} has no spins")
    return type(f"Bank{kind.__name__}", (CombinedPrior,), {"prior_classes": parts})


def _standard_lnprior(prior: Any, standard: dict[str, float]) -> float:
    """Return ln density per unit of standard parameters; -inf outside of the ranges."""
    sampled = prior.inverse_transform(**standard)
    for name, (low, high) in prior.range_dic.items():
        # Rounding takes draws at an edge a little beyond it.
        slack = _SLACK * (high - low)
        if not low - slack <= sampled[name] <= high + slack:
            return -np.inf
    try:
        return prior.lnprior(**sampled) + prior.ln_jacobian_determinant(**standard)
    except NotImplementedError as error:
        raise InputError(
            f"prior: {type(prior).__name__} cannot say its density ({error}), expected "
            "one whose parts have ln_jacobian_determinant"
        ) from error
