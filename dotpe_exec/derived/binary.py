"""Masses, distances and spins under the names that bilby, PESummary and GWTC use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..kernels.masses import chirp_mass
from .cosmology import redshift
from .remnant import remnant_parameters

if TYPE_CHECKING:
    import pandas as pd

_INPLANE_SPINS = ("s1x_n", "s1y_n", "s2x_n", "s2y_n")
_INTRINSIC = ("m1", "m2", "s1z", "s2z", *_INPLANE_SPINS)
_COMPONENTS = ("spin_1x", "spin_1y", "spin_1z", "spin_2x", "spin_2y", "spin_2z")
_ANGLES = ("theta_jn", "phi_jl", "tilt_1", "tilt_2", "phi_12", "a_1", "a_2")

REQUIRED = (
    "m1", "m2", "s1z", "s2z", "iota", "d_luminosity", "ra", "dec", "psi", "phi_ref",
    "t_geocenter", "f_ref", "lnl",
)  # fmt: skip
"""Columns of ``samples.feather`` that the standard parameters are made of."""


def standard_parameters(samples: pd.DataFrame, tgps: float) -> pd.DataFrame:
    """Return samples under the names that bilby and PESummary use, and the remnant.

    Parameters
    ----------
    samples, tgps
        As for :func:`binary_parameters`.

    Returns
    -------
    DataFrame
        As :func:`binary_parameters`, and what :func:`remnant_parameters` returns.
    """
    import pandas as pd

    parameters = binary_parameters(samples, tgps)
    # Samples of one waveform share its remnant, whose fits take a third of a millisecond.
    intrinsic = [name for name in _INTRINSIC if name in samples]
    _, first, waveform = np.unique(
        samples[intrinsic].to_numpy(float), axis=0, return_index=True, return_inverse=True
    )
    of_waveforms = remnant_parameters(parameters.iloc[first])
    remnant = {name: column[waveform.ravel()] for name, column in of_waveforms.items()}
    z = parameters["redshift"].to_numpy()
    total, mass = parameters["total_mass"].to_numpy(), remnant["final_mass"]
    remnant["final_mass_source"] = mass / (1 + z)
    remnant["radiated_energy"] = (total - mass) / (1 + z)
    return pd.concat([parameters, pd.DataFrame(remnant, index=samples.index)], axis=1)


def binary_parameters(samples: pd.DataFrame, tgps: float) -> pd.DataFrame:
    """Return samples under the names that bilby and PESummary use.

    Parameters
    ----------
    samples : DataFrame
        Rows of ``samples.feather``, with the columns :data:`REQUIRED`.
    tgps : float
        GPS time of the event [s]: ``t_geocenter`` counts from it.

    Returns
    -------
    DataFrame
        With the index of ``samples``. Masses [solar masses], distances [Mpc], ``redshift``
        (Planck 2018), angles [rad], ``geocent_time`` [GPS s], spins and
        ``log_likelihood``.
    """
    import pandas as pd

    def column(name: str) -> np.ndarray:
        return samples[name].to_numpy(float)

    m1, m2 = column("m1"), column("m2")
    total = m1 + m2
    z = redshift(column("d_luminosity"))
    out = {
        "mass_1": m1,
        "mass_2": m2,
        "total_mass": total,
        "chirp_mass": chirp_mass(m1, m2),
        "mass_ratio": m2 / m1,
        "inverted_mass_ratio": m1 / m2,
        "symmetric_mass_ratio": m1 * m2 / total**2,
        "luminosity_distance": column("d_luminosity"),
        "redshift": z,
        "comoving_distance": column("d_luminosity") / (1 + z),  # a flat universe
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
        out[f"{name}_source"] = out[name] / (1 + z)
    out |= _spins(samples, out)
    for name in ("iota", "theta_jn", "tilt_1", "tilt_2"):
        out[f"cos_{name}"] = np.cos(out[name])
    out["viewing_angle"] = np.minimum(out["theta_jn"], np.pi - out["theta_jn"])
    return pd.DataFrame(out, index=samples.index)


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
