"""Samples in the parameters that bilby and PESummary share.

Masses are in the detector's frame unless their name ends in ``_source``. Spin angles are
those of LALInference, at the reference frequency, by LALSimulation's own transformation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import MissingFileError, RunDirectoryError
from ..kernels.masses import chirp_mass
from ..loading import Run

if TYPE_CHECKING:
    import pandas as pd

_INPLANE_SPINS = ("s1x_n", "s1y_n", "s2x_n", "s2y_n")
_COMPONENTS = ("spin_1x", "spin_1y", "spin_1z", "spin_2x", "spin_2y", "spin_2z")
_REQUIRED = (
    "weights", "m1", "m2", "s1z", "s2z", "iota", "d_luminosity", "ra", "dec", "psi",
    "phi_ref", "t_geocenter", "f_ref", "lnl",
)  # fmt: skip
_ANGLES = ("theta_jn", "phi_jl", "tilt_1", "tilt_2", "phi_12", "a_1", "a_2")


def run_parameters(run: Run) -> pd.DataFrame:
    """Return the samples of a run, all counting the same, under the shared names.

    Raises
    ------
    MissingFileError, RunDirectoryError
        The run is not finished, its samples lack parameters, or its event is not kept.
    """
    missing = [name for name in _REQUIRED if name not in run.samples]
    if missing:
        raise RunDirectoryError(
            f"{run.files.samples} lacks the columns {', '.join(missing)}, which an export "
            "needs"
        )
    return standard_parameters(equal_weight_samples(run.samples), reference_time(run))


def ln_evidence(run: Run) -> tuple[float | None, float | None]:
    """Return a run's ln evidence and its error; None for what is -inf or not known.

    Raises
    ------
    MissingFileError, RunDirectoryError
        The run is not finished, or its summary has no evidence.
    """
    if "ln_evidence" not in run.summary:
        raise RunDirectoryError(
            f"{run.files.summary} lacks ln_evidence, which an export needs"
        )
    return run.summary["ln_evidence"], run.summary.get("ln_evidence_error")


def equal_weight_samples(samples: pd.DataFrame) -> pd.DataFrame:
    """Return samples that all count the same.

    Runs with ``draw_subset`` have drawn such samples already. Otherwise they are drawn here
    by systematic resampling (Kitagawa 1996, J. Comput. Graph. Stat. 5, 1), as many as the
    weights are effective samples (Kish): no number of copies differs by one or more from
    its expectation, and the same table gives the same rows.

    Parameters
    ----------
    samples : DataFrame
        With ``weights``, which need not be normalised.

    Returns
    -------
    DataFrame
        Without ``weights``.
    """
    weights = samples["weights"].to_numpy(float)
    if not np.ptp(weights) > 1e-12 * weights.max(initial=0.0):
        return samples.drop(columns="weights")
    n = max(1, round(weights.sum() ** 2 / np.sum(weights**2)))
    steps = np.cumsum(weights) / weights.sum()
    rows = np.searchsorted(steps, (np.arange(n) + 0.5) / n)
    rows = np.minimum(rows, len(weights) - 1)  # against rounding of the last step
    return samples.iloc[rows].drop(columns="weights").reset_index(drop=True)


def standard_parameters(samples: pd.DataFrame, tgps: float) -> pd.DataFrame:
    """Return samples under the names that bilby and PESummary use.

    Parameters
    ----------
    samples : DataFrame
        Rows of ``samples.feather``.
    tgps : float
        GPS time of the event [s]: ``t_geocenter`` counts from it.

    Returns
    -------
    DataFrame
        Masses [solar masses], ``luminosity_distance`` [Mpc], ``redshift`` (Planck 2018),
        angles [rad], ``geocent_time`` [GPS s], spins and ``log_likelihood``.
    """
    import pandas as pd
    from cogwheel.cosmology import z_of_d_luminosity

    def column(name: str) -> np.ndarray:
        return samples[name].to_numpy(float)

    m1, m2 = column("m1"), column("m2")
    total = m1 + m2
    out = {
        "mass_1": m1,
        "mass_2": m2,
        "total_mass": total,
        "chirp_mass": chirp_mass(m1, m2),
        "mass_ratio": m2 / m1,
        "symmetric_mass_ratio": m1 * m2 / total**2,
        "luminosity_distance": column("d_luminosity"),
        "redshift": np.asarray(z_of_d_luminosity(column("d_luminosity")), float),
        "ra": column("ra"),
        "dec": column("dec"),
        "psi": column("psi"),
        "phase": np.mod(column("phi_ref"), 2 * np.pi),
        "geocent_time": tgps + column("t_geocenter"),
        "iota": column("iota"),
        "reference_frequency": column("f_ref"),
        "log_likelihood": column("lnl"),
    }
    for name in ("mass_1", "mass_2", "total_mass", "chirp_mass"):
        out[f"{name}_source"] = out[name] / (1 + out["redshift"])
    return pd.DataFrame(out | _spins(samples, out))


def _spins(samples: pd.DataFrame, out: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return components, magnitudes and angles of the spins, chi_eff and chi_p."""
    from cogwheel.waveform import inplane_spins_xy_n_to_xy
    from lalsimulation import SimInspiralTransformPrecessingWvf2PE

    n = len(samples)
    # Tables of aligned-spin runs may come without the components in the plane.
    spins = {
        name: samples[name].to_numpy(float) if name in samples else np.zeros(n)
        for name in _INPLANE_SPINS
    }
    spins["phi_ref"] = samples["phi_ref"].to_numpy(float)
    inplane_spins_xy_n_to_xy(spins)
    components = [spins["s1x"], spins["s1y"], samples["s1z"].to_numpy(float)]
    components += [spins["s2x"], spins["s2y"], samples["s2z"].to_numpy(float)]
    arguments = np.array(
        [
            out["iota"],
            *components,
            out["mass_1"],
            out["mass_2"],
            out["reference_frequency"],
            out["phase"],
        ]
    )
    angles = np.array([SimInspiralTransformPrecessingWvf2PE(*row) for row in arguments.T])
    result = dict(zip(_ANGLES, angles.reshape(n, 7).T, strict=True))
    result |= dict(zip(_COMPONENTS, components, strict=True))
    q = out["mass_ratio"]
    result["chi_eff"] = (components[2] + q * components[5]) / (1 + q)
    # Schmidt et al. 2015, Phys. Rev. D 91, 024043, equation 3.4
    inplane_1 = np.hypot(components[0], components[1])
    inplane_2 = np.hypot(components[3], components[4])
    result["chi_p"] = np.maximum(inplane_1, q * (4 * q + 3) / (4 + 3 * q) * inplane_2)
    return result


def reference_time(run: Run) -> float:
    """Return the GPS time of a run's event [s], from its data.

    Raises
    ------
    MissingFileError, RunDirectoryError
        The event is not in the run directory, or damaged.
    """
    return float(event_arrays(run, "tgps")[0])


def event_arrays(run: Run, *names: str) -> list[np.ndarray]:
    """Return arrays of a run's event file, read without cogwheel.

    Raises
    ------
    MissingFileError, RunDirectoryError
        The event is not in the run directory, or damaged.
    """
    if run.event_file is None:
        raise MissingFileError(
            f"{run.path} holds no event data (.npz), which the times of samples count from"
        )
    try:
        with np.load(run.event_file, allow_pickle=False) as file:
            return [file[name] for name in names]
    except Exception as error:  # zipfile, zlib and NumPy raise many kinds
        raise RunDirectoryError(
            f"{run.event_file} is damaged, expected an event: {error}"
        ) from error
