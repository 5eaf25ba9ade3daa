"""Banks of one run share their phases, and each one's results are as if it were alone."""

from __future__ import annotations

import numpy as np
import pytest
from coherent_cases import make_case

from dotpe_exec.banks.waveforms import BankHandle
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.kernels.summary import IncoherentSummary
from dotpe_exec.stages.coherent import coherent_sets
from dotpe_exec.stages.incoherent import Candidates, incoherent_lnlikes
from dotpe_exec.stages.selection import select

SIZES = {"large": 17, "small": 3, "middle": 8}


class Recorder(PhaseRunner):
    """A runner that notes which phases ran, and over which tasks."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.phases = []

    def map(self, phase, function, tasks, **kwargs):
        tasks = list(tasks)
        self.phases.append((phase, [task.key.partition("/")[0] for task in tasks]))
        return super().map(phase, function, tasks, **kwargs)


@pytest.fixture(scope="module")
def case():
    return make_case(3, n_i=sum(SIZES.values()), m_arr=(2, 1, 3), n_d=2, n_e=9)


@pytest.fixture(scope="module")
def banks(case, tmp_path_factory):
    """Banks of the case's waveforms, one after the other."""
    made, first = {}, 0
    for bank_id, n_i in SIZES.items():
        folder = tmp_path_factory.mktemp(bank_id)
        (folder / "waveforms").mkdir()
        part = slice(first, first + n_i)
        np.save(folder / "waveforms/amplitudes_block_0.npy", case.amplitudes_impb[part])
        np.save(folder / "waveforms/phase_block_0.npy", case.phases_impb[part])
        _, n_m, _, n_b = case.amplitudes_impb.shape
        made[bank_id] = BankHandle(str(folder), bank_id, n_i, n_i, n_m, n_b)
        first += n_i
    yield made


def run_phases(case, banks):
    """Return likelihoods, accepted sets and phases of a run without a selection."""
    times_dt = 8.0 + 1e-3 * np.arange(5) + np.zeros((2, 1))
    candidates = {k: Candidates(bank, range(SIZES[k])) for k, bank in banks.items()}
    with Recorder(ArrayStore(), "serial") as runner:
        lnlikes = incoherent_lnlikes(
            runner,
            candidates,
            IncoherentSummary(case.summary, times_dt),
            n_phi=8,
            i_batch=4,
        )
        sets = coherent_sets(
            runner,
            banks,
            select(candidates, lnlikes, np.inf),
            case.summary,
            case.response_dpe,
            case.timeshift_dbe,
            n_phi=8,
            i_blocksize=4,
            e_blocksize=5,
            max_bestfit_lnlike_diff=5.0,
            size_limit=10**6,
            seed=1,
        )
    return lnlikes, sets, runner.phases


@pytest.fixture(scope="module")
def together(case, banks):
    return run_phases(case, banks)


@pytest.mark.parametrize("bank_id", SIZES)
def test_bank_has_the_results_that_it_has_alone(case, banks, together, bank_id):
    lnlikes, sets, _ = run_phases(case, {bank_id: banks[bank_id]})
    np.testing.assert_array_equal(lnlikes[bank_id], together[0][bank_id])
    alone, shared = sets[bank_id], together[1][bank_id]
    assert len(alone.i) > 0
    for name in ("i", "e", "o", "inds"):
        np.testing.assert_array_equal(getattr(shared, name), getattr(alone, name))
    for name in ("d_h", "h_h", "bestfit_lnlike", "dt_linfree"):
        np.testing.assert_allclose(
            getattr(shared, name), getattr(alone, name), rtol=1e-10, atol=1e-15
        )
    np.testing.assert_array_equal(shared.probes.e, alone.probes.e)
    np.testing.assert_array_equal(shared.probes.inside, alone.probes.inside)


def test_tasks_of_all_banks_are_one_stream(together):
    (incoherent, first), (coherent, second) = together[2]
    assert (incoherent, coherent) == ("incoherent", "coherent")
    for keys, n_blocks in ((first, 1), (second, 2)):
        for bank_id, n_i in SIZES.items():
            assert keys.count(bank_id) == -(-n_i // 4) * n_blocks
