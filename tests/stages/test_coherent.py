"""The coherent stage: the accepted set is its definition, however it is computed."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from coherent_cases import CoherentCase, make_case

from dotpe_exec.banks.format import open_bank
from dotpe_exec.banks.waveforms import BankHandle
from dotpe_exec.errors import NonFiniteError
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.kernels.coherent_dense import bestfit_lnlike, coherent_dense
from dotpe_exec.kernels.waveforms import linear_free_waveforms
from dotpe_exec.stages.coherent import batch_size, coherent_sets
from dotpe_exec.stages.coherent_set import CoherentSet
from dotpe_exec.stages.coherent_tasks import coherent_task
from dotpe_exec.stages.discarded_probes import PROBES_PER_WAVEFORM
from dotpe_exec.stages.selection import Survivors

N_PHI = 6
BLOCKSIZE = 10


def write_bank(case: CoherentCase, folder: Path, bank_id: str) -> BankHandle:
    n_i, n_m, _, n_b = case.amplitudes_impb.shape
    (folder / "waveforms").mkdir(parents=True)
    for k, start in enumerate(range(0, n_i, BLOCKSIZE)):
        block = slice(start, start + BLOCKSIZE)
        np.save(folder / f"waveforms/amplitudes_block_{k}.npy", case.amplitudes_impb[block])
        np.save(folder / f"waveforms/phase_block_{k}.npy", case.phases_impb[block])
    return BankHandle(str(folder), bank_id, n_i, BLOCKSIZE, n_m, n_b)


def survivors_of(inds: np.ndarray, seed: int = 0) -> Survivors:
    lnlikes_di = np.random.default_rng(seed).uniform(0, 20, (2, len(inds)))
    return Survivors(np.asarray(inds), lnlikes_di, lnlikes_di.sum(axis=0))


class Problem:
    """One bank, or two with the same waveforms, on disk."""

    def __init__(self, folder: Path, case: CoherentCase, inds: dict[str, np.ndarray]):
        self.folder, self.case = folder, case
        self.banks = {name: write_bank(case, folder / name, name) for name in inds}
        self.survivors = {name: survivors_of(inds[name]) for name in inds}
        h_impb, self.dt_i = linear_free_waveforms(
            case.amplitudes_impb, case.phases_impb, case.summary.line_fit
        )
        self.dh_ieo, self.hh_ieo = coherent_dense(
            h_impb, case.summary, case.response_dpe, case.timeshift_dbe, N_PHI
        )
        self.lnlike_ieo = bestfit_lnlike(self.dh_ieo, self.hh_ieo)

    def run(self, runner: PhaseRunner | None = None, **options) -> dict[str, CoherentSet]:
        settings = {
            "n_phi": N_PHI,
            "i_blocksize": 8,
            "e_blocksize": 5,
            "max_bestfit_lnlike_diff": 20.0,
            "size_limit": 10**7,
            "seed": 3,
        }
        return coherent_sets(
            runner or PhaseRunner(ArrayStore(self.folder / "store")),
            self.banks,
            self.survivors,
            self.case.summary,
            self.case.response_dpe,
            self.case.timeshift_dbe,
            **(settings | options),
        )

    def expected(self, name: str, drop: float, size_limit: int) -> np.ndarray:
        """Rows (i, e, o) by the definition, ascending in bestfit_lnlike, then i, e, o."""
        rows = []
        for i in np.sort(self.survivors[name].inds):
            for e, o in np.ndindex(self.lnlike_ieo.shape[1:]):
                rows.append((self.lnlike_ieo[i, e, o], int(i), e, o))
        best = max(row[0] for row in rows)
        rows = sorted((-row[0], *row[1:]) for row in rows if row[0] > best - drop)
        rows = sorted((-row[0], *row[1:]) for row in rows[:size_limit])
        return np.array([row[1:] for row in rows])


@pytest.fixture
def problem(tmp_path):
    # The second bank has fewer survivors, in an order of their own.
    inds = {"a": np.arange(30), "b": np.array([25, 3, 17, 4, 11])}
    return Problem(tmp_path, make_case(2, n_i=30, n_e=12), inds)


def rows_of(coherent_set: CoherentSet) -> np.ndarray:
    return np.stack([coherent_set.i, coherent_set.e, coherent_set.o], axis=1)


def assert_identical(found: CoherentSet, expected: CoherentSet) -> None:
    for item in dataclasses.fields(CoherentSet):
        if item.name == "n_evaluated":
            continue
        ours, theirs = getattr(found, item.name), getattr(expected, item.name)
        if item.name == "probes":
            for part in dataclasses.fields(ours):
                np.testing.assert_array_equal(
                    getattr(ours, part.name), getattr(theirs, part.name)
                )
        else:
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("drop", [2.0, 20.0, 1e3])
@pytest.mark.parametrize("size_limit", [1, 37, 10**7])
def test_set_is_the_definition_for_each_bank(problem, drop, size_limit):
    sets = problem.run(max_bestfit_lnlike_diff=drop, size_limit=size_limit)
    for name, found in sets.items():
        np.testing.assert_array_equal(
            rows_of(found), problem.expected(name, drop, size_limit)
        )
        at = tuple(rows_of(found).T)
        largest = np.abs(problem.dh_ieo).max()
        np.testing.assert_allclose(
            found.d_h, problem.dh_ieo[at], rtol=0, atol=1e-8 * largest
        )
        np.testing.assert_allclose(found.h_h, problem.hh_ieo[at], rtol=1e-8)
        np.testing.assert_array_equal(
            found.bestfit_lnlike, bestfit_lnlike(found.d_h, found.h_h)
        )


@pytest.mark.parametrize("drop", [2.0, 20.0, 1e3])
def test_tasks_may_return_samples_or_pairs(problem, drop, monkeypatch):
    """What takes less memory; most samples of a pair are members where the drop is wide."""
    results = []

    def kept(task):
        results.append(coherent_task(task))
        return results[-1]

    monkeypatch.setattr("dotpe_exec.stages.coherent.coherent_task", kept)
    found = {}
    for most in (0, 4, N_PHI):
        monkeypatch.setattr("dotpe_exec.stages.coherent_tasks._SAMPLES_PER_PAIR", most)
        results.clear()
        found[most] = problem.run(max_bestfit_lnlike_diff=drop)
        if most == 0:
            assert not any(len(result.samples.i_s) for result in results)
            assert any(len(result.pairs.i_p) for result in results)
        if most == N_PHI:
            assert any(len(result.samples.i_s) for result in results)
            assert not any(len(result.pairs.i_p) for result in results)
    for name in problem.banks:
        assert_identical(found[0][name], found[N_PHI][name])
        assert_identical(found[4][name], found[N_PHI][name])


def test_size_limit_among_equals_takes_the_first(problem):
    """Without a signal to find, half of all samples tie at zero."""
    size_limit = 30 * 12 * N_PHI * 3 // 4
    found = problem.run(max_bestfit_lnlike_diff=1e6, size_limit=size_limit)["a"]
    assert found.bestfit_lnlike[0] == 0
    np.testing.assert_array_equal(rows_of(found), problem.expected("a", 1e6, size_limit))


@pytest.mark.parametrize("sizes", [(1, 12), (30, 1), (7, 4), (512, 512)])
def test_partition_changes_values_by_rounding_only(problem, sizes):
    reference = problem.run()
    other = problem.run(i_blocksize=sizes[0], e_blocksize=sizes[1])
    for name, found in other.items():
        np.testing.assert_array_equal(rows_of(found), rows_of(reference[name]))
        np.testing.assert_allclose(found.d_h, reference[name].d_h, rtol=1e-10)
        np.testing.assert_allclose(found.h_h, reference[name].h_h, rtol=1e-10)
        np.testing.assert_allclose(found.probes.d_h, reference[name].probes.d_h, rtol=1e-7)
        np.testing.assert_array_equal(found.probes.inside, reference[name].probes.inside)
        np.testing.assert_allclose(found.dt_linfree, reference[name].dt_linfree)


class ShuffledRunner(PhaseRunner):
    """Submits everything before the first result, with no floor, in another order."""

    def map(self, phase, function, tasks, *, n_tasks, refresh=None, **options):
        tasks = list(tasks)
        assert len(tasks) == n_tasks
        for k in np.random.default_rng(n_tasks).permutation(n_tasks):
            yield tasks[k], pickle.loads(pickle.dumps(function(tasks[k].payload)))


@pytest.mark.parametrize("size_limit", [37, 10**7])
def test_floors_and_order_of_arrival_do_not_change_a_bit(problem, size_limit):
    reference = problem.run(size_limit=size_limit)
    runner = ShuffledRunner(ArrayStore(problem.folder / "other"))
    shuffled = problem.run(runner, size_limit=size_limit)
    for name in problem.banks:
        assert_identical(shuffled[name], reference[name])
    assert shuffled["a"].n_evaluated > reference["a"].n_evaluated


def test_floor_is_not_part_of_a_task(problem):
    seen = []

    class Watching(PhaseRunner):
        def map(self, phase, function, tasks, *, refresh=None, **options):
            for task in tasks:
                payload = refresh(task.payload)
                seen.append(payload)
                assert payload == task.payload
                assert len(pickle.dumps(payload)) < 64_000
                yield task, function(payload)

    problem.run(Watching(ArrayStore(problem.folder / "store")))
    assert {payload.bank_id for payload in seen} == {"a", "b"}
    assert all(np.isfinite(payload.floor) for payload in seen)


def test_keys_are_unique_and_stable(problem):
    def keys(runner_class):
        found = []

        class Watching(runner_class):
            def map(self, phase, function, tasks, **options):
                for task, result in super().map(phase, function, tasks, **options):
                    found.append(task.key)
                    yield task, result

        problem.run(Watching(ArrayStore(problem.folder / "store")))
        return found

    serial, shuffled = keys(PhaseRunner), keys(ShuffledRunner)
    assert len(set(serial)) == len(serial) == (4 + 1) * 3
    assert sorted(serial) == sorted(shuffled)
    assert "a/000003.0002" in serial


def test_likeliest_batches_come_first(problem):
    order = []

    class Watching(PhaseRunner):
        def map(self, phase, function, tasks, **options):
            order.extend(task.payload for task in tasks)
            yield from super().map(phase, function, tasks, **options)

    problem.run(Watching(ArrayStore(problem.folder / "store")))
    best = [
        problem.survivors[p.bank_id].incoherent_lnlikes[p.batch.start : p.batch.stop].max()
        for p in order
    ]
    assert best == sorted(best, reverse=True)


def test_probes_are_members_exactly_where_the_set_has_them(problem):
    for size_limit in (37, 10**7):
        for name, found in problem.run(size_limit=size_limit).items():
            probes = found.probes
            members = set(map(tuple, rows_of(found).tolist()))
            keys = zip(probes.i.tolist(), probes.e.tolist(), probes.o.tolist(), strict=True)
            assert [key in members for key in keys] == probes.inside.tolist()
            n_survivors = len(problem.survivors[name].inds)
            assert len(probes.i) == n_survivors * PROBES_PER_WAVEFORM
            at = probes.i, probes.e, probes.o
            largest = np.abs(problem.dh_ieo).max()
            np.testing.assert_allclose(probes.d_h, problem.dh_ieo[at], atol=1e-8 * largest)
            np.testing.assert_allclose(probes.h_h, problem.hh_ieo[at], rtol=1e-8)


def test_some_probes_lie_inside_where_everything_is_kept(problem):
    sets = problem.run(max_bestfit_lnlike_diff=1e6)
    assert all(found.probes.inside.all() for found in sets.values())


def test_shifts_come_with_the_survivors(problem):
    for name, found in problem.run().items():
        np.testing.assert_array_equal(found.inds, problem.survivors[name].inds)
        np.testing.assert_allclose(found.dt_linfree, problem.dt_i[found.inds], atol=1e-12)


def test_bank_without_survivors_has_an_empty_set(problem):
    problem.survivors["b"] = survivors_of(np.array([], dtype=int))
    sets = problem.run()
    assert len(sets["b"].i) == len(sets["b"].probes.i) == len(sets["b"].dt_linfree) == 0
    assert len(sets["a"].i)
    problem.survivors["a"] = problem.survivors["b"]
    assert all(len(found.i) == 0 for found in problem.run().values())


def test_one_waveform_and_one_extrinsic_sample(tmp_path):
    problem = Problem(tmp_path, make_case(3, n_i=1, n_e=1), {"only": np.array([0])})
    found = problem.run()["only"]
    np.testing.assert_array_equal(rows_of(found), problem.expected("only", 20.0, 10**7))


@pytest.mark.parametrize("index", [0, 25])
def test_waveform_that_is_not_finite_is_named(tmp_path, index):
    case = make_case(2, n_i=30, n_e=12)
    case.phases_impb[index, 1, 0, 3] = np.nan
    problem = Problem(tmp_path, case, {"a": np.arange(30)})
    with pytest.raises(NonFiniteError, match=f"waveform {index} of a "):
        problem.run()


def test_responses_that_are_not_finite_are_refused(problem):
    problem.case.response_dpe[0, 0, 4] = np.nan
    with pytest.raises(NonFiniteError, match="extrinsic"):
        problem.run()


def test_golden_set(golden, tmp_path):
    """Members of both banks' sets that pass the reference's cut, which is over both."""
    from cogwheel.data import EventData

    from dotpe_exec.cogwheel_bridge import make_likelihood, make_summary

    reference = golden / "reference"
    arrays = np.load(reference / "arrays.npz")
    config = json.loads((golden / "bank_0" / "bank_config.json").read_text())
    par_dic_0 = json.loads((reference / "par_dic_0.json").read_text())
    event_data = EventData.from_npz(filename=golden / "event.npz")
    likelihood = make_likelihood(
        event_data, config["approximant"], par_dic_0, np.array(config["fbin"])
    )
    lnlikes = {f"bank_{k}": arrays[f"bank_{k}_lnlike_di"] for k in range(2)}
    best = max(lnlike_di.sum(axis=0).max() for lnlike_di in lnlikes.values())
    survivors = {}
    for name, lnlike_di in lnlikes.items():
        inds = np.flatnonzero(lnlike_di.sum(axis=0) >= best - 20)
        survivors[name] = Survivors(
            inds, lnlike_di[:, inds], lnlike_di[:, inds].sum(axis=0)
        )
    sets = coherent_sets(
        PhaseRunner(ArrayStore(tmp_path / "store")),
        {name: open_bank(golden / name, name).handle for name in survivors},
        survivors,
        make_summary(likelihood),
        np.load(reference / "response_dpe.npy"),
        np.load(reference / "timeshift_dbe.npy"),
        n_phi=16,
        i_blocksize=128,
        e_blocksize=128,
        max_bestfit_lnlike_diff=20,
        size_limit=10**7,
        seed=42,
    )
    expected = pd.read_feather(reference / "prob_samples_above_cut.feather")
    cut = expected["bestfit_lnlike"].max() - 20
    for k, (name, found) in enumerate(sets.items()):
        above = found.bestfit_lnlike > cut
        ours = pd.DataFrame(rows_of(found)[above], columns=["i", "e", "o"])
        ours = ours.assign(d_h=found.d_h[above], h_h=found.h_h[above])
        theirs = expected[expected["bank_id"] == name]
        both = ours.merge(theirs, on=["i", "e", "o"])
        assert len(both) == len(ours) == len(theirs) > 1000
        np.testing.assert_allclose(both["d_h"], both["d_h_1Mpc"], rtol=1e-6)
        np.testing.assert_allclose(both["h_h"], both["h_h_1Mpc"], rtol=1e-6)
        shifts = arrays[f"bank_{k}_dt_linfree"][found.inds]
        np.testing.assert_allclose(found.dt_linfree, shifts, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("n_survivors", "at_most", "expected"),
    [
        ([10], 512, 64),  # few: still batches worth sending
        ([1000, 356], 512, 64),  # two banks share
        ([100_000], 512, 400),  # 256 batches, in whole tiles
        ([10**6], 512, 512),
        ([10**6], 100, 100),  # as large as allowed
        ([], 512, 64),
    ],
)
def test_few_survivors_are_shared_among_many_batches(n_survivors, at_most, expected):
    survivors = {
        f"bank_{k}": SimpleNamespace(inds=np.arange(n)) for k, n in enumerate(n_survivors)
    }
    assert batch_size(survivors, at_most) == expected
