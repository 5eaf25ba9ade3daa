"""Frequency bins equal those that cogwheel makes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from dotpe_exec.banks.format import open_bank
from dotpe_exec.errors import InputError
from dotpe_exec.events.bins import pn_bins, pn_phase_tol_for

FREQUENCIES = np.arange(0, 1024 + 0.125, 0.125)


def cogwheel_bins(frequencies, fbounds, pn_phase_tol, approximant):
    """Return the bins of cogwheel's relative binning, without a likelihood around it."""
    from cogwheel.likelihood.relative_binning import BaseRelativeBinning

    class Bins(BaseRelativeBinning):
        def lnlike_and_metadata(self, par_dic):
            raise NotImplementedError

        def _set_splines(self):
            pass

        _set_summary = _set_splines

    likelihood = object.__new__(Bins)
    likelihood.event_data = SimpleNamespace(
        fbounds=np.array(fbounds), frequencies=frequencies, df=frequencies[1]
    )
    likelihood.waveform_generator = SimpleNamespace(approximant=approximant)
    likelihood.pn_phase_tol = pn_phase_tol
    return likelihood.fbin


@pytest.mark.parametrize("fbounds", [(15.0, 1024.0), (20.0, 512.0)])
@pytest.mark.parametrize("pn_phase_tol", [0.03, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("approximant", ["IMRPhenomXPHM", "IMRPhenomD_NRTidalv2"])
def test_bins_are_cogwheels(fbounds, pn_phase_tol, approximant):
    tides = approximant == "IMRPhenomD_NRTidalv2"
    np.testing.assert_array_equal(
        pn_bins(FREQUENCIES, fbounds, pn_phase_tol, tides),
        cogwheel_bins(FREQUENCIES, fbounds, pn_phase_tol, approximant),
    )


def test_golden_bins_are_reproduced(golden):
    frequencies = np.arange(0, 512 + 1 / 16, 1 / 16)
    fbin = pn_bins(frequencies, (20.0, 512.0), 0.2)
    np.testing.assert_array_equal(fbin, open_bank(golden / "bank_0").config.fbin)


@pytest.mark.parametrize("pn_phase_tol", [0.0, -1.0, np.nan, np.inf, 10.0])
def test_tolerance_that_makes_no_bins_is_refused(pn_phase_tol):
    with pytest.raises(InputError, match="pn_phase_tol is"):
        pn_bins(FREQUENCIES, (20.0, 512.0), pn_phase_tol)


def test_louder_events_get_smaller_tolerances():
    """Not to depend on rounding, in steps; halved where ln likelihood is four times."""
    assert (
        pn_phase_tol_for(-3.0) == pn_phase_tol_for(230.0) == pn_phase_tol_for(500.0) == 0.05
    )
    assert pn_phase_tol_for(1999.0) == pn_phase_tol_for(1001.0) == 0.025
    assert pn_phase_tol_for(2001.0) < 0.025
    lnlikes = np.geomspace(10, 1e5, 200)
    tolerances = np.array([pn_phase_tol_for(lnlike) for lnlike in lnlikes])
    assert np.all(np.diff(tolerances) <= 0)
    assert len(np.unique(tolerances)) < 20
    assert np.all(lnlikes * tolerances**2 <= 500 * 0.05**2 * 1.01)
