"""Euler angles of precession, against LALSimulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dotpe_exec.banks.prior import Proposal
from dotpe_exec.kernels.msa_angles import msa_angles, msa_constants
from dotpe_exec.waveforms.parameters import PARAMETERS

F_REF = 50.0
SPINS = ("s1x_n", "s1y_n", "s1z", "s2x_n", "s2y_n", "s2z")


def own_angles(par, frequencies):
    import lal

    pi_m = math.pi * (par["m1"] + par["m2"]) * lal.MTSUN_SI
    spins = np.array([par[name] for name in SPINS])
    constants, ok = msa_constants(
        par["m1"], par["m2"], spins[:3], spins[3:], float(np.cbrt(pi_m * F_REF))
    )
    return msa_angles(constants, np.cbrt(pi_m * frequencies)), ok


def lal_angles(par, frequencies):
    import lal
    import lalsimulation

    # The first call of this function sets constants that the angles depend on.
    sequence = lal.CreateREAL8Sequence(len(frequencies))
    sequence.data = frequencies
    masses = par["m1"] * lal.MSUN_SI, par["m2"] * lal.MSUN_SI
    spins = [par[name] for name in SPINS]
    options = lal.CreateDict()
    lalsimulation.SimIMRPhenomXPHMFrequencySequenceOneMode(
        sequence, 2, -2, *masses, *spins, 1e22, 0.0, 0.0, F_REF, options
    )
    angles = lalsimulation.SimIMRPhenomXPMSAAngles(
        sequence, *masses, *spins, 0.0, F_REF, 2, options
    )
    return [sequence.data for sequence in angles]


def test_angles_are_those_of_lalsimulation():
    frequencies = np.sort(np.append(np.geomspace(15.0, 300.0, 40), F_REF))
    at_reference = int(np.flatnonzero(frequencies == F_REF)[0])
    n_compared = 0
    for row in Proposal((8.0, 40.0), 0.05, -1.7).draw(60, np.random.default_rng(4)):
        par = dict(zip(PARAMETERS, row.tolist(), strict=True))
        (phiz, zeta, cosine, rounding), ok = own_angles(par, frequencies)
        alpha, gamma, lal_cosine = lal_angles(par, frequencies)
        used = rounding < 3e-12
        if not (ok and used[at_reference]):
            continue
        n_compared += 1
        alpha, gamma = alpha - alpha[at_reference], gamma - gamma[at_reference]
        # Near equal masses and for small spins the rounding of the constants shows.
        np.testing.assert_allclose(phiz[used], alpha[used], atol=1e-5)
        np.testing.assert_allclose(zeta[used], -gamma[used], atol=1e-5)
        np.testing.assert_allclose(cosine[used], lal_cosine[used], atol=1e-9)
        assert np.median(np.abs(phiz - alpha)) < 1e-7
    assert n_compared > 45


def test_angles_vanish_at_the_reference_frequency():
    par = {"m1": 30.0, "m2": 20.0} | dict(
        zip(SPINS, [0.3, 0, 0.2, 0, 0.4, 0.1], strict=True)
    )
    (phiz, zeta, _, _), ok = own_angles(par, np.array([F_REF]))
    assert ok
    assert abs(phiz[0]) < 1e-10
    assert abs(zeta[0]) < 1e-10


@pytest.mark.parametrize(
    "spins", [[0, 0, 0.3, 0.1, 0, 0.1], [0.1, 0, 0.3, 0, 0, -0.5], [0, 0, 0, 0, 0, 0]]
)
def test_spins_along_the_orbit_are_refused(spins):
    par = {"m1": 30.0, "m2": 20.0} | dict(zip(SPINS, map(float, spins), strict=True))
    _, ok = own_angles(par, np.array([F_REF]))
    assert not ok
