"""From indices to parameters: the columns of ``samples.feather``.

What depends on the waveform alone, or on the extrinsic sample alone, is computed once for
each and gathered by index; what remains for each sample is little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..kernels import coordinates
from ..kernels.coordinates import SamplingFrame
from ..kernels.distance import DistanceTable, sample_distance
from ..waveforms.parameters import PARAMETERS

if TYPE_CHECKING:
    import pandas as pd
    from cogwheel.prior import Prior

INTRINSIC_COORDINATES = (
    "mchirp", "lnq", "chieff", "cumchidiff", "costheta_jn", "x1", "y1", "x2", "y2",
)  # fmt: skip

_EXTRINSIC_COLUMNS = ("lat", "lon", "_phi_ref", "psi")


@dataclass(frozen=True)
class ExtrinsicColumns:
    """What samples inherit from extrinsic samples, (n_ext,) each.

    Parameters
    ----------
    table : dict of arrays
        ``lat, lon, _phi_ref, psi, t_geocenter``.
    ra : right ascension [rad]
    costhetanet, phinet, delay, fplus, fcross
        Network angles, delay [s] and response of the reference detector; None where the
        prior's coordinates are not ours to compute.
    """

    table: dict[str, np.ndarray]
    ra: np.ndarray
    costhetanet: np.ndarray | None = None
    phinet: np.ndarray | None = None
    delay: np.ndarray | None = None
    fplus: np.ndarray | None = None
    fcross: np.ndarray | None = None


class Standardizer:
    """Computes the standard and the sampled parameters of samples.

    Parameters
    ----------
    prior : cogwheel.prior.Prior
        Coordinates of ``CartesianIASPrior`` are computed for whole arrays; those of any
        other prior by its own method, row by row.
    tgps : float
        GPS time of the event [s].
    f_ref : float
        The bank's reference frequency [Hz].
    n_phi : int
        Number of orbital phases: phi_o = 2 pi o / n_phi.
    extrinsic_samples : pandas.DataFrame or mapping of arrays
        Columns ``lat, lon, psi, t_geocenter`` and, if there, ``_phi_ref``.
    table : DistanceTable
    """

    def __init__(
        self,
        prior: Prior,
        *,
        tgps: float,
        f_ref: float,
        n_phi: int,
        extrinsic_samples: pd.DataFrame | Mapping[str, np.ndarray],
        table: DistanceTable,
    ):
        self.prior = prior
        self.f_ref = f_ref
        self.n_phi = n_phi
        self.table = table
        self.gmst = sidereal_time(tgps)
        self.frame = sampling_frame(prior) if has_own_coordinates(prior) else None
        self._extrinsic = _extrinsic_columns(extrinsic_samples, self.gmst, self.frame)

    def intrinsic(
        self, bank_table: pd.DataFrame | Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Return what samples inherit from waveforms, to be given to :meth:`columns`.

        Parameters
        ----------
        bank_table : pandas.DataFrame or mapping of arrays
            Intrinsic parameters, one row per waveform; of the whole bank, or of the
            waveforms that occur, with :meth:`columns` called with positions therein.
        """
        intrinsic = {name: np.asarray(bank_table[name], float) for name in PARAMETERS}
        if self.frame is not None:
            intrinsic |= intrinsic_coordinates(intrinsic, self.f_ref)
        return intrinsic

    def columns(
        self,
        samples: Mapping[str, Any],
        positions: np.ndarray,
        intrinsic: Mapping[str, np.ndarray],
        dt_linfree: np.ndarray,
        uniforms: np.ndarray,
    ) -> dict[str, Any]:
        """Return all columns of standardised samples.

        Parameters
        ----------
        samples : mapping
            Columns ``i, e, o, lnl_marginalized, ln_posterior, bestfit_lnlike, d_h_1Mpc,
            h_h_1Mpc, weights, bank_id, ln_weight_unnormalized`` (n,).
        positions : (n,) int
            Rows of ``intrinsic`` that belong to ``i``.
        intrinsic : dict of (n_rows,) arrays
            From :meth:`intrinsic`.
        dt_linfree : (n,) float
            Linear-free time shifts of the waveforms [s].
        uniforms : (n,) float
            Random numbers in [0, 1) from which distances are drawn.
        """
        e = np.asarray(samples["e"])
        extrinsic = self._extrinsic
        n = len(e)
        out: dict[str, Any] = {name: intrinsic[name][positions] for name in PARAMETERS}
        out["l1"] = out["l2"] = np.zeros(n)
        out["f_ref"] = np.full(n, float(self.f_ref))
        for name in _EXTRINSIC_COLUMNS:
            if name in extrinsic.table:
                out[name] = extrinsic.table[name][e]
        out["t_geocenter_linfree"] = extrinsic.table["t_geocenter"][e]
        out |= samples
        phi_ref = np.asarray(samples["o"]) * (2 * np.pi / self.n_phi)
        out["phi_ref_linfree"] = phi_ref
        out["t_geocenter"] = out["t_geocenter_linfree"] - dt_linfree
        out["phi_ref"] = phi_ref
        out["ra"] = extrinsic.ra[e]
        out["dec"] = out["lat"]
        d_h, h_h = np.asarray(samples["d_h_1Mpc"]), np.asarray(samples["h_h_1Mpc"])
        distance = sample_distance(d_h, h_h, uniforms, self.table)
        out["d_luminosity"] = distance
        with np.errstate(divide="ignore", invalid="ignore"):
            out["bestfit_d_luminosity"] = h_h / d_h
        out["lnl"] = d_h / distance - h_h / (2 * distance**2)
        if self.frame is None:
            return out | _coordinates_by_row(out, self.prior)
        for name in INTRINSIC_COORDINATES:
            out[name] = intrinsic[name][positions]
        out |= self._extrinsic_coordinates(out, e, self.frame)
        return out

    def _extrinsic_coordinates(
        self, out: Mapping[str, np.ndarray], e: np.ndarray, frame: SamplingFrame
    ) -> dict[str, np.ndarray]:
        x = self._extrinsic
        assert x.costhetanet is not None and x.phinet is not None
        assert x.delay is not None and x.fplus is not None and x.fcross is not None
        t_refdet = out["t_geocenter"] + x.delay[e]
        factor = coordinates.geometric_factor(x.fplus[e], x.fcross[e], out["iota"])
        return {
            "costhetanet": x.costhetanet[e],
            "phinet_hat": coordinates.fold_azimuth(x.phinet[e], out["iota"]),
            "t_refdet": t_refdet,
            "phi_ref_hat": coordinates.phase_coordinate(
                out["phi_ref"], factor, t_refdet, frame
            ),
            "d_hat": coordinates.distance_coordinate(
                out["d_luminosity"], out["mchirp"], factor
            ),
        }


def has_own_coordinates(prior: Prior) -> bool:
    """Return whether the prior's coordinates are those that this package computes."""
    from cogwheel.gw_prior import CartesianIASPrior

    return type(prior) is CartesianIASPrior


def sidereal_time(tgps: float) -> float:
    """Return the Greenwich mean sidereal time [rad] at a GPS time [s]."""
    from cogwheel.utils import import_lal

    return float(import_lal().GreenwichMeanSiderealTime(tgps))


def sampling_frame(prior: Prior) -> SamplingFrame:
    """Return what the coordinates of a ``CartesianIASPrior`` refer to."""
    from cogwheel import gw_utils

    arguments = prior.get_init_dict()
    pair = arguments["detector_pair"]
    if len(pair) == 2:
        locations = np.array([gw_utils.DETECTORS[name].location for name in pair])
        axes = coordinates.network_axes(locations)
    else:
        axes = coordinates.single_detector_axes(
            *map(np.array, gw_utils.DETECTOR_ARMS[pair])
        )
    detector = gw_utils.DETECTORS[arguments["ref_det_name"]]
    frame = SamplingFrame(
        gmst=sidereal_time(arguments["tgps"]),
        net_axes=axes,
        location=np.array(detector.location, dtype=float),
        response=np.array(detector.response, dtype=float),
        f_avg=float(arguments["f_avg"]),
        phase_0=0.0,
    )
    if not arguments["par_dic_0"]:
        return frame
    return replace(frame, phase_0=_reference_phase(arguments["par_dic_0"], frame))


def _reference_phase(par_dic: Mapping[str, float], frame: SamplingFrame) -> float:
    lat = np.asarray(par_dic["dec"], float)
    lon = np.asarray(par_dic["ra"] - frame.gmst)
    response = coordinates.antenna_response(lat, lon, np.asarray(par_dic["psi"]), frame)
    return float(
        coordinates.detector_phase(
            coordinates.geometric_factor(*response, np.asarray(par_dic["iota"])),
            par_dic["t_geocenter"] + coordinates.detector_delay(lat, lon, frame),
            frame.f_avg,
            par_dic["phi_ref"],
        )
    )


def intrinsic_coordinates(
    intrinsic: Mapping[str, np.ndarray], f_ref: float
) -> dict[str, np.ndarray]:
    """Return the sampling coordinates that depend on the waveform alone."""
    m1, m2 = intrinsic["m1"], intrinsic["m2"]
    spins = tuple(
        intrinsic[name] for name in ("s1x_n", "s1y_n", "s1z", "s2x_n", "s2y_n", "s2z")
    )
    return (
        coordinates.mass_coordinates(m1, m2)
        | coordinates.aligned_spin_coordinates(m1, m2, intrinsic["s1z"], intrinsic["s2z"])
        | coordinates.inplane_spin_coordinates(m1, m2, spins, intrinsic["iota"], f_ref)
    )


def _extrinsic_columns(
    samples: pd.DataFrame | Mapping[str, np.ndarray],
    gmst: float,
    frame: SamplingFrame | None,
) -> ExtrinsicColumns:
    for name in ("lat", "lon", "psi", "t_geocenter"):
        if name not in samples:
            raise InputError(f"the extrinsic samples have no column {name}")
    table = {
        name: np.asarray(samples[name], dtype=float)
        for name in (*_EXTRINSIC_COLUMNS, "t_geocenter")
        if name in samples
    }
    lat, lon = table["lat"], table["lon"]
    ra = coordinates.right_ascension(lon, gmst)
    if frame is None:
        return ExtrinsicColumns(table, ra)
    costhetanet, phinet = coordinates.network_angles(lat, lon, frame)
    fplus, fcross = coordinates.antenna_response(lat, lon, table["psi"], frame)
    delay = coordinates.detector_delay(lat, lon, frame)
    return ExtrinsicColumns(table, ra, costhetanet, phinet, delay, fplus, fcross)


def _coordinates_by_row(
    columns: Mapping[str, np.ndarray], prior: Prior
) -> dict[str, np.ndarray]:
    """Return a prior's sampling coordinates by cogwheel's own, slow method."""
    import pandas as pd

    if len(columns["m1"]) == 0:
        return {name: np.empty(0) for name in prior.sampled_params}
    names = dict.fromkeys([*prior.standard_params, *prior.conditioned_on])
    frame = pd.DataFrame({name: columns[name] for name in names})
    prior.inverse_transform_samples(frame)
    return {name: frame[name].to_numpy(float) for name in prior.sampled_params}
