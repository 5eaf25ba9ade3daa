"""Whether the best waveform fits the data of each detector: chi-squared in bands.

The waveform of the sample with the largest likelihood is compared with the data of one
detector at a time, in bands that hold equal parts of its expected squared signal-to-noise
ratio (:mod:`dotpe_exec.kernels.chi_squared`). Its amplitude and phase in the detector drop
out; masses, spins and time were fitted to the data, which lowers chi-squared a little, so
that p-values err towards a fit that is called good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..executors.phases import PhaseRunner
from ..executors.task import Task
from ..kernels.chi_squared import cell_overlaps, chi_squared, equal_bands
from .binning_error import full_data, sample_points
from .exact_tasks import CellOverlaps, CellTask, FullData, frequency_cells, waveform_cells

if TYPE_CHECKING:
    import pandas as pd

N_BANDS = 16
"""Bands of frequencies."""

N_CELLS = 1024
"""Cells, equal in the logarithm of frequency, that bands are made of."""


def goodness_of_fit(
    runner: PhaseRunner, likelihood: Any, sample: pd.DataFrame
) -> dict[str, dict[str, float]] | None:
    """Return chi-squared of a waveform in each detector.

    Parameters
    ----------
    runner : PhaseRunner
        Runs the phase ``"goodness of fit"``.
    likelihood : cogwheel.likelihood.CBCLikelihood
        With the data and ``asd_drift``.
    sample : pandas.DataFrame
        Waveform parameters, one row; none where nothing was accepted.

    Returns
    -------
    dict or None
        By detector: ``chi_squared``, ``n_degrees_of_freedom``, ``p_value`` (the
        probability of Gaussian noise to give more), ``n_bands``, and ``snr``, the absolute
        value of the complex matched-filter signal-to-noise ratio. Detectors in which the
        waveform has no power are left out. None without a sample.
    """
    if not len(sample):
        return None
    par_dic = {name: float(sample[name].iloc[0]) for name in likelihood.params}
    sums = _cells(runner, likelihood, par_dic)
    four_df = 4 * likelihood.event_data.df
    return {
        name: _fit(four_df * dh_c / drift**2, four_df * hh_c / drift**2)
        for name, dh_c, hh_c, drift in zip(
            likelihood.event_data.detector_names,
            sums.dh_dc,
            sums.hh_dc,
            likelihood.asd_drift,
            strict=True,
        )
        if hh_c.any()
    }


def _fit(dh_c: np.ndarray, hh_c: np.ndarray) -> dict[str, float]:
    from scipy.special import chdtrc

    starts_j = equal_bands(hh_c, N_BANDS)
    value, snr = chi_squared(
        np.add.reduceat(dh_c, starts_j), np.add.reduceat(hh_c, starts_j)
    )
    n_free = 2 * len(starts_j) - 2
    return {
        "chi_squared": value,
        "n_degrees_of_freedom": n_free,
        "p_value": float(chdtrc(n_free, value)) if n_free else 1.0,
        "n_bands": len(starts_j),
        "snr": snr,
    }


def _cells(runner: PhaseRunner, likelihood: Any, par_dic: dict[str, float]) -> CellOverlaps:
    """Return the overlaps of data and waveform in each cell of frequencies."""
    from ..cogwheel_bridge import lal_source

    generator = likelihood.waveform_generator
    data = full_data(likelihood.event_data)
    source = lal_source(generator, par_dic)
    if source is None:
        return _cells_here(generator, data, par_dic)
    handle = runner.store.put(data)
    points = sample_points(generator, [par_dic])
    task = Task("waveform", CellTask(source, handle, points, N_CELLS))
    ((_, cells),) = runner.map("goodness of fit", waveform_cells, [task], n_tasks=1)
    return cells


def _cells_here(generator: Any, data: FullData, par_dic: dict[str, float]) -> CellOverlaps:
    """Return the same for a waveform that does not come from LALSimulation."""
    h_df = generator.get_strain_at_detectors(data.frequencies_f, par_dic)
    ends = data.frequencies_f[[0, -1]]
    cell_f = frequency_cells(data.frequencies_f, ends, N_CELLS)
    return CellOverlaps(
        *cell_overlaps(h_df, data.blued_strain_df, data.weight_df, cell_f, N_CELLS)
    )
