"""The prior of a run: draws from it, and bilby's description of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .banks.prior import Proposal
from .banks.table import PARAMETERS
from .derived import binary_parameters
from .distance_table import load_distance_table
from .errors import DotpeExecError
from .kernels.masses import chirp_mass, effective_spin

if TYPE_CHECKING:
    import pandas as pd

    from .banks.format import Bank
    from .loading import StoredRun

_SPINS = ("a_1", "a_2", "tilt_1", "tilt_2", "phi_12", "phi_jl")
_N_DRAWS, _N_BINS = 2**15, 60
_TIME_HALF_WIDTH = 0.5  # [s]; the prior's density is one per second


@dataclass(frozen=True)
class PriorRange:
    """Where the prior of a run lies; the rest of it is the same for every run.

    Parameters
    ----------
    mchirp : (float, float)
        Detector-frame chirp mass [solar masses].
    q_min : float
    d_luminosity_max : float
        [Mpc]
    time : (float, float)
        Arrival at the geocenter [GPS s].
    aligned_spins : bool
    """

    mchirp: tuple[float, float]
    q_min: float
    d_luminosity_max: float
    time: tuple[float, float]
    aligned_spins: bool


def prior_range(run: StoredRun) -> PriorRange:
    """Return the range of a run's prior.

    Masses are those that the run adapted to, else those of its banks; where these are gone,
    those of the prior in ``Posterior.json``.
    """
    mchirp, q_min = _adapted_ranges(run) or _bank_ranges(run) or _stored_ranges(run)
    tgps = float(run.event.tgps)
    inplane = [name for name in ("s1x_n", "s1y_n", "s2x_n", "s2y_n") if name in run.samples]
    return PriorRange(
        mchirp=mchirp,
        q_min=q_min,
        d_luminosity_max=float(load_distance_table().d_luminosity_max),
        time=(tgps - _TIME_HALF_WIDTH, tgps + _TIME_HALF_WIDTH),
        aligned_spins=not (run.samples[inplane].to_numpy() != 0).any(),
    )


def _adapted_ranges(run: StoredRun) -> tuple[tuple[float, float], float] | None:
    """Return what a run that made its own waveforms says about its prior."""
    about = run.summary.get("adaptive")
    if not isinstance(about, dict) or not {"mchirp_range", "q_min"} <= about.keys():
        return None
    low, high = about["mchirp_range"]
    return (float(low), float(high)), float(about["q_min"])


def _banks(run: StoredRun) -> dict[str, Bank]:
    """Return a run's banks; none where they are gone, or for a run without."""
    from .banks.format import open_banks

    try:
        return open_banks(run.kwargs.get("bank_folder"))
    except (DotpeExecError, OSError, TypeError, ValueError):
        return {}


def _has_own_prior(banks: dict[str, Bank]) -> bool:
    return any(bank.config.info.get("prior") for bank in banks.values())


def _bank_ranges(run: StoredRun) -> tuple[tuple[float, float], float] | None:
    banks = _banks(run)
    if not banks:
        return None
    if _has_own_prior(banks):
        tables_ik = _weighted_tables(banks)[0]
        mchirp = chirp_mass(tables_ik[:, 0], tables_ik[:, 1])
        lowest_q = float((tables_ik[:, 1] / tables_ik[:, 0]).min())
        return (float(mchirp.min()), float(mchirp.max())), lowest_q
    ranges, q_mins = [], []
    for bank in banks.values():
        info = bank.config.info
        prior = info.get("prior_mchirp_min"), info.get("prior_mchirp_max")
        found = bank.config.mchirp_range if None in prior else prior
        q_min = info.get("q_min")
        if found is None or q_min is None:
            return None
        ranges.append(found)
        q_mins.append(float(q_min))
    low, high = np.array(ranges, float).T
    return (float(low.min()), float(high.max())), min(q_mins)


def _weighted_tables(banks: dict[str, Bank]) -> tuple[np.ndarray, np.ndarray]:
    """Return the parameters (n, 9) of all banks and their shares of the prior, (n,)."""
    parameters, weights = [], []
    for bank in banks.values():
        table = bank.table()
        parameters.append(table[list(PARAMETERS)].to_numpy(float))
        # Each bank's weights average to its share of the prior.
        weights.append(np.exp(table["log_prior_weights"].to_numpy(float)) / len(table))
    share = np.concatenate(weights)
    return np.concatenate(parameters), share / share.sum()


def _intrinsic_draws(run: StoredRun, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return intrinsic parameters drawn from a run's prior, (n, 9)."""
    banks = _banks(run)
    if _has_own_prior(banks):
        parameters_ik, share_i = _weighted_tables(banks)
        return parameters_ik[rng.choice(len(share_i), n, p=share_i)]
    where = prior_range(run)
    # The prior itself is the proposal with this exponent.
    proposal = Proposal(where.mchirp, where.q_min, 1.0, where.aligned_spins)
    return proposal.draw(n, rng)


def _stored_ranges(run: StoredRun) -> tuple[tuple[float, float], float]:
    arguments = run.prior_arguments
    mchirp = arguments.get("mchirp_range")
    if mchirp is None:
        mchirp = run.samples["mchirp"].min(), run.samples["mchirp"].max()
    low, high = mchirp
    return (float(low), float(high)), float(arguments.get("q_min", 0.05))


def prior_draws(run: StoredRun, n: int = _N_DRAWS, seed: int = 0) -> pd.DataFrame:
    """Return independent draws from a run's prior, columns as ``samples.feather``.

    Uniform in detector-frame component masses within ranges of chirp mass and mass ratio,
    in the effective spin and (given that) the spin difference, in the disks that the
    aligned components leave to the others; isotropic in direction and inclination;
    uniform in luminosity volume. Where banks were made with a prior of one's own, masses,
    spins and inclination are drawn from their tables, by weight.

    Parameters
    ----------
    run : StoredRun
    n, seed : int
    """
    import pandas as pd

    where = prior_range(run)
    rng = np.random.default_rng(seed)
    draws = pd.DataFrame(_intrinsic_draws(run, n, rng), columns=list(PARAMETERS))
    m1, m2 = draws["m1"], draws["m2"]
    draws["mchirp"] = chirp_mass(m1, m2)
    draws["lnq"] = np.log(m2 / m1)
    draws["chieff"] = effective_spin(m1, m2, draws["s1z"], draws["s2z"])
    draws["ra"] = rng.uniform(0, 2 * np.pi, n)
    draws["dec"] = np.arcsin(rng.uniform(-1, 1, n))
    draws["psi"] = rng.uniform(0, np.pi, n)
    draws["phi_ref"] = rng.uniform(0, 2 * np.pi, n)
    draws["t_geocenter"] = rng.uniform(*where.time, n) - float(run.event.tgps)
    draws["d_luminosity"] = where.d_luminosity_max * rng.random(n) ** (1 / 3)
    draws["f_ref"] = float(run.samples["f_ref"].iloc[0])
    draws["lnl"] = 0.0
    draws["weights"] = 1.0
    return draws


def bilby_priors(run: StoredRun) -> dict[str, Any]:
    """Return the prior as bilby reads it from a result (``PriorDict``, JSON).

    Masses, distance, directions, phase and time are bilby's own classes and exact. Spins:
    uniform in the effective spin is no product of densities of magnitudes and angles, so
    each of these has its marginal density here, interpolated; ``chi_eff`` has no entry. So
    have masses and inclination where banks were made with a prior of one's own.
    """
    where = prior_range(run)
    tau = 2 * np.pi
    priors: dict[str, Any] = {
        "chirp_mass": _prior(
            "gw", "UniformInComponentsChirpMass",
            minimum=where.mchirp[0], maximum=where.mchirp[1],
        ),
        "mass_ratio": _prior(
            "gw", "UniformInComponentsMassRatio", minimum=where.q_min, maximum=1.0
        ),
        "luminosity_distance": _prior(
            "core", "PowerLaw", alpha=2.0, minimum=0.0, maximum=where.d_luminosity_max
        ),
        "theta_jn": _prior("core", "Sine", minimum=0.0, maximum=np.pi),
        "ra": _prior("core", "Uniform", minimum=0.0, maximum=tau, boundary="periodic"),
        "dec": _prior("core", "Cosine", minimum=-np.pi / 2, maximum=np.pi / 2),
        "psi": _prior("core", "Uniform", minimum=0.0, maximum=np.pi, boundary="periodic"),
        "phase": _prior("core", "Uniform", minimum=0.0, maximum=tau, boundary="periodic"),
        "geocent_time": _prior(
            "core", "Uniform", minimum=where.time[0], maximum=where.time[1]
        ),
    }  # fmt: skip
    draws = binary_parameters(prior_draws(run), float(run.event.tgps))
    for name in _SPINS:
        priors[name] = _marginal(draws[name].to_numpy(), 0.0, _upper_end(name))
    if _has_own_prior(_banks(run)):
        low, high = where.mchirp
        priors["chirp_mass"] = _marginal(draws["chirp_mass"].to_numpy(), low, high)
        priors["mass_ratio"] = _marginal(draws["mass_ratio"].to_numpy(), where.q_min, 1.0)
        priors["theta_jn"] = _marginal(draws["theta_jn"].to_numpy(), 0.0, float(np.pi))
    for name, prior in priors.items():
        prior["kwargs"]["name"] = name
    return priors | {
        "__prior_dict__": True,
        "__module__": "bilby.core.prior.dict",
        "__name__": "PriorDict",
    }


def _upper_end(name: str) -> float:
    if name.startswith("a_"):
        return 1.0
    return float(np.pi if name.startswith("tilt") else 2 * np.pi)


def _prior(package: str, name: str, **kwargs: Any) -> dict[str, Any]:
    module = "bilby.gw.prior" if package == "gw" else "bilby.core.prior.analytical"
    return {"__prior__": True, "__module__": module, "__name__": name, "kwargs": kwargs}


def _marginal(values: np.ndarray, minimum: float, maximum: float) -> dict[str, Any]:
    """Return an interpolated density between two ends; a constant where values are."""
    if np.ptp(values) == 0:
        module = "bilby.core.prior.analytical"
        kwargs: dict[str, Any] = {"peak": float(values[0])}
        return {"__prior__": True, "__module__": module, "__name__": "DeltaFunction",
                "kwargs": kwargs}  # fmt: skip
    density, edges = np.histogram(values, _N_BINS, (minimum, maximum), density=True)
    centers = 0.5 * (edges[1:] + edges[:-1])
    x = np.concatenate([[minimum], centers, [maximum]])
    y = np.concatenate([density[:1], density, density[-1:]])
    kwargs = {"xx": _array(x), "yy": _array(y), "minimum": minimum, "maximum": maximum}
    return {
        "__prior__": True,
        "__module__": "bilby.core.prior.interpolated",
        "__name__": "Interped",
        "kwargs": kwargs,
    }


def _array(values: np.ndarray) -> dict[str, Any]:
    return {"__array__": True, "content": values.tolist()}
