"""Coordinates in which a likelihood is climbed: without bounds, of comparable steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from cogwheel import gw_utils

# At these, spins, mass differences and inclinations fold: beyond, waveforms are not trusted
# or lack modes, and could not serve as a reference.
MAX_SPIN = 0.99
MAX_MASS_DIFFERENCE = 0.9
_MIN_MASS_DIFFERENCE = 0.02
_MAX_COS_IOTA = np.cos(0.1)

# Coordinates, and how far they move for a change that is noticed but small.
_STEPS = {
    "ln_mchirp": 1e-3, "mass_angle": 0.025, "chieff": 0.05, "iota": 0.1, "ra": 0.03,
    "dec": 0.03, "psi": 0.1, "t_refdet": 1e-4,
}  # fmt: skip
# Those that leave the waveform as it is, but for response and delay.
_PLACE = {"ra", "dec", "psi", "t_refdet"}
# Less than anybody could measure, in steps.
_ROUNDING = 1e-3
_SPIN_STEP = 0.1
_BODIES = ("1", "2")


def max_mass_difference(q_min: float | None) -> float:
    """Return the largest (m1 - m2) / (m1 + m2) where mass ratios end at ``q_min``."""
    if q_min is None:
        return MAX_MASS_DIFFERENCE
    widest = max((1 - q_min) / (1 + q_min), 2 * _MIN_MASS_DIFFERENCE)
    return min(MAX_MASS_DIFFERENCE, widest)


class Coordinates:
    """Coordinates without bounds for aligned spins: all parameters but phase and distance.

    Where a parameter is bounded they fold smoothly: a spin or a mass ratio beyond its end
    comes back, and where the lighter body would be the heavier, names are exchanged.

    Parameters
    ----------
    tgps : float
        GPS time of the event [s].
    ref_det_name : str
        The detector whose arrival time is a coordinate.
    max_mass_difference : float
        Largest (m1 - m2) / (m1 + m2).
    """

    steps: ClassVar[Mapping[str, float]] = _STEPS

    @property
    def steps_k(self) -> np.ndarray:
        """How far each moves for a change that is noticed but small, (n_k,)."""
        return np.array(list(self.steps.values()))

    @property
    def shapes_k(self) -> list[bool]:
        """Whether each changes the waveform, apart from response and delay."""
        return [name not in _PLACE for name in self.steps]

    def __init__(
        self,
        tgps: float,
        ref_det_name: str,
        max_mass_difference: float = MAX_MASS_DIFFERENCE,
    ):
        self._place = ref_det_name, tgps
        self.max_mass_difference = max_mass_difference

    def rounded(self, place_k: np.ndarray) -> np.ndarray:
        """Return coordinates rounded by less than anybody could measure.

        Approximants have numerical noise, through which the last bits of a place, which
        are a machine's own, would lead a climb another way.
        """
        rounding_k = _ROUNDING * self.steps_k
        return np.rint(place_k / rounding_k) * rounding_k

    def with_odd_modes(self, place_k: np.ndarray) -> np.ndarray:
        """Return coordinates whose masses differ enough for modes of odd m to exist."""
        least = np.arcsin(_MIN_MASS_DIFFERENCE / self.max_mass_difference)
        if abs(np.sin(place_k[1])) >= np.sin(least):
            return place_k
        place_k = place_k.copy()
        place_k[1] = np.copysign(least, np.sin(place_k[1]))
        return place_k

    def _delay(self, ra: float, dec: float) -> float:
        name, tgps = self._place
        return float(gw_utils.time_delay_from_geocenter(name, ra, dec, tgps)[0])

    def of(self, par_dic: Mapping[str, float]) -> np.ndarray:
        """Return the coordinates (n_k,) of a waveform."""
        m1, m2 = par_dic["m1"], par_dic["m2"]
        difference = (m1 - m2) / (m1 + m2) / self.max_mass_difference
        cos_iota = np.clip(np.cos(par_dic["iota"]) / _MAX_COS_IOTA, -1.0, 1.0)
        chieff = (m1 * par_dic["s1z"] + m2 * par_dic["s2z"]) / (m1 + m2)
        return np.array(
            [
                np.log(gw_utils.m1m2_to_mchirp(m1, m2)),
                np.arcsin(np.clip(difference, -1.0, 1.0)),
                np.arcsin(np.clip(chieff / MAX_SPIN, -1.0, 1.0)),
                np.arccos(cos_iota),
                par_dic["ra"],
                par_dic["dec"],
                par_dic["psi"],
                par_dic["t_geocenter"] + self._delay(par_dic["ra"], par_dic["dec"]),
            ]
        )

    def par_dic(self, place_k: np.ndarray) -> dict[str, float]:
        """Return the parameters of coordinates, all but phase and distance."""
        ln_mchirp, mass_angle, spin, iota, ra, dec, psi, t_refdet = place_k.tolist()
        difference = self.max_mass_difference * np.sin(mass_angle)
        total = np.exp(ln_mchirp) / ((1 - difference**2) / 4) ** 0.6
        chieff = MAX_SPIN * np.sin(spin)
        ra, dec = ra % (2 * np.pi), np.arcsin(np.sin(dec))
        par_dic = {
            "m1": total * (1 + abs(difference)) / 2,
            "m2": total * (1 - abs(difference)) / 2,
            "s1z": chieff,
            "s2z": chieff,
            "iota": np.arccos(_MAX_COS_IOTA * np.cos(iota)),
            "ra": ra,
            "dec": dec,
            "psi": psi % np.pi,
            "t_geocenter": t_refdet - self._delay(ra, dec),
        }
        return {name: float(value) for name, value in par_dic.items()}


class SpinCoordinates(Coordinates):
    """Coordinates without bounds for all parameters but phase and distance.

    A spin is a vector s = MAX_SPIN sin(v) v / |v|: it turns back where it is largest, and
    where the lighter body would be the heavier the bodies are exchanged with their spins.
    """

    steps: ClassVar[Mapping[str, float]] = {
        **{name: step for name, step in Coordinates.steps.items() if name != "chieff"},
        **{f"spin{body}_{axis}": _SPIN_STEP for body in _BODIES for axis in "xyz"},
    }

    def of(self, par_dic: Mapping[str, float]) -> np.ndarray:
        """Return the coordinates (n_k,) of a waveform."""
        ln_mchirp, mass_angle, _, *others = super().of(par_dic)
        return np.concatenate(
            [
                [ln_mchirp, mass_angle, *others],
                *(_folded(_spin(par_dic, body)) for body in _BODIES),
            ]
        )

    def par_dic(self, place_k: np.ndarray) -> dict[str, float]:
        """Return the parameters of coordinates, all but phase and distance."""
        par_dic = super().par_dic(np.insert(place_k[:7], 2, 0.0))
        folded = [place_k[7:10], place_k[10:]]
        if np.sin(place_k[1]) < 0:
            folded.reverse()
        for body, folded_x in zip(_BODIES, folded, strict=True):
            # np.sinc(x) is sin(pi x) / (pi x)
            spin_x = MAX_SPIN * np.sinc(np.linalg.norm(folded_x) / np.pi) * folded_x
            par_dic |= dict(zip(_spin_names(body), spin_x.tolist(), strict=True))
        return par_dic


def _spin_names(body: str) -> tuple[str, str, str]:
    return f"s{body}x_n", f"s{body}y_n", f"s{body}z"


def _spin(par_dic: Mapping[str, float], body: str) -> np.ndarray:
    return np.array([par_dic[name] for name in _spin_names(body)])


def _folded(spin_x: np.ndarray) -> np.ndarray:
    """Return the vector v of a spin."""
    size = float(np.linalg.norm(spin_x))
    if size == 0:
        return np.zeros(3)
    return spin_x * float(np.arcsin(min(size / MAX_SPIN, 1.0)) / size)
