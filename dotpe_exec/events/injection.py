"""What is known of an injected signal: its inner products and likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cogwheel.data import EventData

    from ..kernels.distance import DistanceTable


def injection_inner_products(
    event_data: EventData, asd_drift_d: np.ndarray
) -> tuple[float, float] | None:
    """Return (d|h) and (h|h) of an event's injection at 1 Mpc, summed over detectors.

    Parameters
    ----------
    event_data : cogwheel.data.EventData
    asd_drift_d : (n_d,) float
        Inner products are divided by its square.

    Returns
    -------
    (float, float) or None
        None where the event has no injection, or one without inner products.
    """
    injection = event_data.injection
    if not injection or not {"d_h", "h_h"} <= injection.keys():
        return None
    d_luminosity = float(injection["par_dic"]["d_luminosity"])
    inverse_drift2_d = np.asarray(asd_drift_d, dtype=float) ** -2
    d_h = np.asarray(injection["d_h"], dtype=float) @ inverse_drift2_d
    h_h = np.asarray(injection["h_h"], dtype=float) @ inverse_drift2_d
    return float(d_h * d_luminosity), float(h_h * d_luminosity**2)


def injection_lnlike(
    event_data: EventData, asd_drift_d: np.ndarray, distance_table: DistanceTable
) -> dict[str, float] | None:
    """Return an injection's ln likelihood, maximised and marginalised over distance.

    Parameters
    ----------
    event_data : cogwheel.data.EventData
    asd_drift_d : (n_d,) float
    distance_table : DistanceTable

    Returns
    -------
    dict or None
        ``bestfit_lnlike`` and ``lnl_marginalized``; None without injection.
    """
    from ..kernels.distance import lnlike_marginalized

    inner_products = injection_inner_products(event_data, asd_drift_d)
    if inner_products is None:
        return None
    d_h, h_h = inner_products
    return {
        "bestfit_lnlike": 0.5 * max(d_h, 0.0) ** 2 / h_h,
        "lnl_marginalized": float(lnlike_marginalized(d_h, h_h, distance_table)),
    }
