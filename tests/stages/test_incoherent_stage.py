"""The incoherent stage: any partition into tasks, any form of candidates, same numbers."""

import pickle

import numpy as np
import pytest

from dotpe_exec.banks.waveforms import BankHandle
from dotpe_exec.errors import NonFiniteError
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.kernels.incoherent_dense import incoherent_lnlike_dense
from dotpe_exec.kernels.summary import IncoherentSummary, LineFit, Summary
from dotpe_exec.stages.incoherent import Candidates, incoherent_lnlikes

N_B, N_I, BLOCKSIZE = 20, 150, 40


def make_summary(n_d=2):
    rng = np.random.default_rng(0)
    fbin_b = np.linspace(20, 400, N_B)
    noise = rng.normal(size=(2, n_d, 2, 2, N_B))
    line_fit = LineFit(fbin_b, np.exp(0.1j * fbin_b), np.ones(N_B), 0)
    return IncoherentSummary(
        Summary(
            fbin_b=fbin_b,
            m_arr=np.array([2, 3]),
            dh_weights_dmpb=noise[0] + 1j * noise[1],
            hh_weights_dmppb=np.ones((n_d, 3, 2, 2, N_B))
            * np.array([1, 2, 1])[:, None, None, None],
            asd_drift_d=np.ones(n_d),
            line_fit=line_fit,
        ),
        4 + 1e-3 * np.tile(np.arange(16.0), (n_d, 1)),
    )


def make_bank(folder, bank_id, seed):
    rng = np.random.default_rng(seed)
    amplitudes = rng.uniform(0.5, 1, (N_I, 2, 2, N_B))
    phases = rng.uniform(-3, 3, (N_I, 2, 2, N_B))
    (folder / "waveforms").mkdir(parents=True)
    for k, start in enumerate(range(0, N_I, BLOCKSIZE)):
        block = slice(start, start + BLOCKSIZE)
        np.save(folder / f"waveforms/amplitudes_block_{k}.npy", amplitudes[block])
        np.save(folder / f"waveforms/phase_block_{k}.npy", phases[block])
    return BankHandle(str(folder), bank_id, N_I, BLOCKSIZE, 2, N_B), amplitudes, phases


@pytest.fixture
def runner(tmp_path):
    with PhaseRunner(ArrayStore(tmp_path / "store")) as runner:
        yield runner


@pytest.fixture
def bank(tmp_path):
    return make_bank(tmp_path / "bank_a", "bank_a", 1)


@pytest.mark.parametrize("i_batch", [1000, 64, 7])
def test_several_banks_and_forms_of_indices(runner, tmp_path, bank, i_batch):
    bank_b, amplitudes_b, phases_b = make_bank(tmp_path / "bank_b", "b/c", 2)
    bank_a, amplitudes, phases = bank
    inds = np.random.default_rng(3).permutation(N_I)[:90]
    summary = make_summary()
    lnlikes = incoherent_lnlikes(
        runner,
        {
            "some": Candidates(bank_a, range(30, 141)),
            "chosen": Candidates(bank_b, inds),
            "none": Candidates(bank_b, range(0)),
        },
        summary,
        n_phi=6,
        i_batch=i_batch,
    )
    expected = incoherent_lnlike_dense(amplitudes[30:141], phases[30:141], summary, 6)
    np.testing.assert_allclose(lnlikes["some"], expected, rtol=1e-10)
    expected = incoherent_lnlike_dense(amplitudes_b[inds], phases_b[inds], summary, 6)
    np.testing.assert_allclose(lnlikes["chosen"], expected, rtol=1e-10)
    assert lnlikes["none"].shape == (2, 0)


def test_bits_do_not_depend_on_batches(runner, bank):
    def run(inds, i_batch):
        some = {"a": Candidates(bank[0], inds)}
        return incoherent_lnlikes(runner, some, make_summary(), n_phi=6, i_batch=i_batch)[
            "a"
        ]

    whole = run(range(N_I), N_I)
    for i_batch in (1, 13, 40):
        np.testing.assert_array_equal(run(range(N_I), i_batch), whole)
    np.testing.assert_array_equal(run(np.arange(N_I)[::-1], 50), whole[:, ::-1])


def test_tasks_are_small_and_have_stable_keys(runner, bank, monkeypatch):
    seen = []

    def spy(phase, function, tasks, **kwargs):
        seen.extend(tasks)
        assert kwargs["n_tasks"] == len(seen)
        assert kwargs["work"](seen[-1].payload) == 150 - 2 * 64
        return iter([(task, function(task.payload)) for task in reversed(seen)])

    monkeypatch.setattr(runner, "map", spy)
    some = {"a": Candidates(bank[0], np.arange(N_I))}
    lnlikes_di = incoherent_lnlikes(runner, some, make_summary(), n_phi=6, i_batch=64)["a"]
    assert np.isfinite(lnlikes_di).all()  # whatever the order of arrival
    assert [task.key for task in seen] == ["a/000000", "a/000001", "a/000002"]
    assert max(len(pickle.dumps(task)) for task in seen) < 8192


@pytest.mark.parametrize("kind", ["amplitudes", "phase"])
def test_nan_in_a_waveform_is_named_by_bank_file_and_index(runner, bank, kind):
    path = f"{bank[0].folder}/waveforms/{kind}_block_2.npy"
    block = np.load(path)
    block[13, 1, 1, 5] = np.nan
    np.save(path, block)
    with pytest.raises(NonFiniteError, match=r"waveform 93 of bank_a .*block_2\.npy"):
        incoherent_lnlikes(
            runner,
            {"a": Candidates(bank[0], range(N_I))},
            make_summary(),
            n_phi=6,
            i_batch=60,
        )


def test_large_batches_take_little_memory(runner, bank, monkeypatch):
    read, held = BankHandle.read, []

    def spy(self, inds):
        held.append(len(inds))
        return read(self, inds)

    monkeypatch.setattr(BankHandle, "read", spy)
    some = {"a": Candidates(bank[0], range(5, N_I))}
    incoherent_lnlikes(runner, some, make_summary(), n_phi=6, i_batch=N_I)
    assert sum(held) == N_I - 5
    assert max(held) <= 64
