"""Draw simulated signals from the prior."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..events.psds import read_psds
from ..events.strain import detector_letters
from ..seeds import generator
from .settings import Injections, injection_name

if TYPE_CHECKING:
    from cogwheel.data import EventData

_N_PILOT = 64
_MARGIN = 1.05  # of the farthest distance over that of the loudest pilot signal
_MOST_DRAWS = 20_000
# Distances end here in the prior of the analyses: cogwheel's table of their integral.
_FARTHEST = 15_000.0  # [Mpc]


def draw_parameters(injections: Injections, rng: np.random.Generator) -> dict[str, float]:
    """Return parameters of a signal drawn from the prior, whatever its loudness."""
    from cogwheel.waveform import APPROXIMANTS

    from ..banks.prior import Proposal
    from ..banks.table import PARAMETERS

    prior = Proposal(
        injections.mchirp_range,
        injections.q_min,
        alpha=1.0,  # uniform in detector-frame masses
        aligned_spins=bool(APPROXIMANTS[injections.approximant].aligned_spins),
    )
    intrinsic = dict(zip(PARAMETERS, prior.draw(1, rng)[0].tolist(), strict=True))
    half = injections.time_half_range
    return intrinsic | {
        "d_luminosity": injections.d_luminosity_max * rng.random() ** (1 / 3),
        "ra": 2 * np.pi * rng.random(),
        "dec": float(np.arcsin(2 * rng.random() - 1)),
        "psi": np.pi * rng.random(),
        "phi_ref": 2 * np.pi * rng.random(),
        "t_geocenter": half * (2 * rng.random() - 1),
        "f_ref": injections.f_ref,
    }


def simulate(injections: Injections, k: int, folder: Path) -> EventData:
    """Return the event of injection ``k``.

    Parameters
    ----------
    injections : Injections
    k : int
    folder : Path
        From which relative paths of noise curves are seen.

    Raises
    ------
    InputError
        Nearly no signal of this prior has a signal-to-noise ratio in range.
    """
    noise = _noise(injections, k, folder)
    network = Network(noise, injections.approximant)
    rng = generator(injections.seed, "injection", k)
    low, high = injections.snr_range
    for _ in range(_MOST_DRAWS):
        parameters = draw_parameters(injections, rng)
        snr = network.snr_at_one_mpc(parameters) / parameters["d_luminosity"]
        if low <= snr <= high:
            noise.inject_signal(network.ordered(parameters), injections.approximant)
            return noise
    raise InputError(
        f"injections: of {_MOST_DRAWS} signals to {injections.d_luminosity_max:.4g} Mpc "
        f"none has a signal-to-noise ratio of {low} to {high}"
    )


def with_distance(injections: Injections, folder: Path) -> Injections:
    """Return injections with a farthest distance, chosen from pilot signals if it is 0."""
    from ..cogwheel_bridge import check_approximant

    check_approximant(injections.approximant)
    if injections.d_luminosity_max > 0 or not injections.n:
        return injections
    unit = dataclasses.replace(injections, d_luminosity_max=1.0)
    loudest = 0.0
    for k in range(len(injections.detectors)):
        network = Network(_noise(unit, k, folder), unit.approximant)
        rng = generator(injections.seed, "pilot", k)
        for _ in range(_N_PILOT // len(injections.detectors)):
            face_on = draw_parameters(unit, rng) | {"iota": 0.0}
            snr = network.snr_at_one_mpc(face_on)
            loudest = max(loudest, snr)
    lowest = max(injections.snr_range[0], 1.0)
    distance = min(_MARGIN * loudest / lowest, _FARTHEST)
    return dataclasses.replace(injections, d_luminosity_max=float(f"{distance:.4g}"))


def _noise(injections: Injections, k: int, folder: Path) -> EventData:
    from ..events import simulate_event

    letters = detector_letters(injections.detectors[k % len(injections.detectors)])
    return simulate_event(
        injection_name(k),
        letters,
        asds=[_asd(injections, letter, folder) for letter in letters],
        duration=injections.duration,
        fmin=injections.fmin,
        fmax=injections.fmax,
        tgps=injections.first_tgps + k * injections.tgps_step,
        seed=int(generator(injections.seed, "noise", k).integers(2**31)),
    )


def _asd(injections: Injections, letter: str, folder: Path) -> Any:
    """Return what :func:`simulate_event` takes for one detector's noise."""
    asds = {detector_letters(name)[0]: value for name, value in injections.asds.items()}
    psds = {detector_letters(name)[0]: value for name, value in injections.psds.items()}
    if letter in psds:
        ((_, (frequencies, density)),) = read_psds([folder / psds[letter]], [letter])
        return lambda f: np.exp(0.5 * np.interp(f, frequencies, np.log(density)))
    curve = asds.get(letter, f"asd_{letter}_O3")
    return folder / curve if (folder / curve).is_file() else curve


class Network:
    """Optimal signal-to-noise ratios in an event's detectors.

    Parameters
    ----------
    event : cogwheel.data.EventData
    approximant : str
    """

    def __init__(self, event: EventData, approximant: str):
        from cogwheel.waveform import WaveformGenerator

        self._event = event
        self._generator = WaveformGenerator.from_event_data(event, approximant)

    def ordered(self, parameters: Mapping[str, float]) -> dict[str, float]:
        """Return all parameters that cogwheel asks for; what is left out is zero."""
        from ..cogwheel_bridge import check_par_dic

        return check_par_dic(parameters, "injection")

    def snr_at_one_mpc(self, parameters: Mapping[str, float]) -> float:
        """Return the network's optimal signal-to-noise ratio at 1 Mpc."""
        event = self._event
        par_dic = self.ordered({**parameters, "d_luminosity": 1.0})
        strain = self._generator.get_strain_at_detectors(
            event.frequencies[event.fslice], par_dic
        )
        whitened = strain * event.wht_filter[:, event.fslice]
        return float(2 * np.sqrt(event.df) * np.linalg.norm(whitened))
