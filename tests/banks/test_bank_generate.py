"""The waveforms that a bank holds, and what happens where there is none."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from synthetic_banks import FailingGenerator

from dotpe_exec.banks.format import open_bank
from dotpe_exec.banks.generate import (
    MOST_ATTEMPTS,
    GenerateTask,
    generate_waveforms,
    redraw,
)
from dotpe_exec.banks.prior import Proposal
from dotpe_exec.errors import BankError
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.waveforms import generation_way, generator
from dotpe_exec.waveforms.parameters import PARAMETERS

PROPOSAL = Proposal((20.0, 25.0), q_min=0.2, alpha=-1.7)
XPHM_MODES = ((2, 2), (2, 1), (3, 3), (3, 2), (4, 4))


@pytest.fixture
def make_task(tmp_path):
    store = ArrayStore(tmp_path)

    def make(
        parameters_ik,
        approximant="IMRPhenomXPHM",
        modes=XPHM_MODES,
        fbin=None,
        start=0,
        way=None,
    ):
        fbin = np.linspace(20.0, 400.0, 12) if fbin is None else fbin
        return GenerateTask(
            approximant=approximant,
            harmonic_modes=modes,
            way=way or generation_way(approximant, modes),
            f_ref=50.0,
            fbin=store.put(fbin),
            proposal=PROPOSAL,
            seed=7,
            start=start,
            parameters_ik=parameters_ik,
        )

    yield make
    store.close()


@pytest.mark.parametrize("k", [0, 1])
def test_golden_waveforms_are_reproduced(golden, make_task, k):
    bank = open_bank(golden / f"bank_{k}")
    inds = np.array([0, 5, 130, 383])
    rows = bank.table()[list(PARAMETERS)].to_numpy()[inds]
    result = generate_waveforms(make_task(rows, fbin=bank.config.fbin))
    amplitudes, phases = bank.handle.read(inds)
    np.testing.assert_allclose(result.amplitudes_impb, amplitudes, rtol=1e-9)
    np.testing.assert_allclose(result.phases_impb, phases, atol=1e-8)
    assert not result.attempts_i.any()


@pytest.mark.parametrize(
    ("approximant", "modes", "m_arr"),
    [
        ("IMRPhenomXAS", ((2, 2),), [2]),
        # It integrates the spins' motion for each call.
        pytest.param("IMRPhenomXODE", XPHM_MODES, [2, 1, 3, 4], marks=pytest.mark.slow),
        ("IMRPhenomXPHM", ((3, 3), (2, 2)), [3, 2]),
    ],
)
def test_other_approximants_and_modes(make_task, approximant, modes, m_arr):
    from cogwheel.waveform import WaveformGenerator

    aligned = approximant == "IMRPhenomXAS"
    # Heavy, and one alone, for IMRPhenomXODE's sake.
    proposal = Proposal((50.0, 60.0), 0.2, -1.7, aligned_spins=aligned)
    rows = proposal.draw(1, np.random.default_rng(0))
    task = make_task(rows, approximant, modes)
    result = generate_waveforms(task)
    h_impb = result.amplitudes_impb * np.exp(1j * result.phases_impb)
    # As those who use banks make one waveform: m by m, then all together.
    cogwheel = WaveformGenerator((), 0.0, 0.0, approximant, modes)
    assert cogwheel.m_arr.tolist() == m_arr
    for row, h_mpb in zip(rows, h_impb, strict=True):
        par_dic = dict(zip(PARAMETERS, row.tolist(), strict=True))
        par_dic |= {"l1": 0, "l2": 0, "f_ref": 50.0, "d_luminosity": 1, "phi_ref": 0}
        expected = cogwheel.get_hplus_hcross(task.fbin.load(), par_dic)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(h_mpb.sum(axis=0), expected, atol=1e-9 * scale)


def test_neighbours_do_not_change_a_waveform(make_task):
    row = PROPOSAL.draw(1, np.random.default_rng(0))[0]
    # Closer than what cogwheel's cache takes for the same.
    rows = np.stack([row, row * (1 + 1e-9), row])
    together = generate_waveforms(make_task(rows)).amplitudes_impb
    alone = generate_waveforms(make_task(rows[1:2])).amplitudes_impb
    np.testing.assert_array_equal(together[1], alone[0])
    assert np.any(together[0] != together[1])


@pytest.mark.parametrize("how", ["error", "nan", "zero"])
def test_parameters_without_a_waveform_are_drawn_again(make_task, monkeypatch, how):
    fails = lambda par_dic: par_dic["s1z"] > 0  # noqa: E731
    monkeypatch.setattr(generator, "generate_modes", FailingGenerator(fails, how))
    rows = PROPOSAL.draw(40, np.random.default_rng(1))
    failed = rows[:, PARAMETERS.index("s1z")] > 0
    result = generate_waveforms(make_task(rows, start=100, way="direct"))
    np.testing.assert_array_equal(result.attempts_i > 0, failed)
    for i in np.flatnonzero(failed):
        used = redraw(PROPOSAL, 7, 100 + i, result.attempts_i[i])
        assert used[PARAMETERS.index("s1z")] <= 0
        assert result.amplitudes_impb[i].flat[0] == pytest.approx(used[0])
    # A waveform depends on its own row and index alone.
    part = generate_waveforms(make_task(rows[20:], start=120, way="direct"))
    np.testing.assert_array_equal(part.amplitudes_impb, result.amplitudes_impb[20:])


def test_approximant_that_never_works_is_an_error(make_task):
    # In-plane spins, which this approximant refuses: each draw has them.
    rows = PROPOSAL.draw(1, np.random.default_rng(0))
    with pytest.raises(BankError, match="no waveform for 20 draws in a row for waveform 5"):
        generate_waveforms(make_task(rows, "IMRPhenomXAS", ((2, 2),), start=5))
    assert MOST_ATTEMPTS == 20


def test_failing_waveforms_print_nothing(make_task, capsys):
    rows = PROPOSAL.draw(1, np.random.default_rng(0))
    with pytest.raises(BankError):
        generate_waveforms(make_task(rows, "IMRPhenomXAS", ((2, 2),)))
    assert capsys.readouterr().out == ""


def test_tasks_are_small(make_task):
    task = make_task(
        PROPOSAL.draw(64, np.random.default_rng(0)), fbin=np.arange(1.0, 5000.0)
    )
    assert len(pickle.dumps(task)) < 8000
