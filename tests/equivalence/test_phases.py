"""The likelihood phases on random problems: every executor, every partition, one answer."""

from __future__ import annotations

import dataclasses
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from coherent_cases import make_case
from hypothesis import given, settings
from hypothesis import strategies as st

from dotpe_exec.banks.waveforms import BankHandle
from dotpe_exec.executors.loky import LokyExecutor
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.process import ProcessExecutor
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.kernels.summary import IncoherentSummary
from dotpe_exec.stages.coherent import coherent_sets
from dotpe_exec.stages.incoherent import Candidates, incoherent_lnlikes
from dotpe_exec.stages.selection import select

EXECUTORS = ("threads", "process", "loky")
MODES = [(2,), (2, 1), (1, 2, 3), (2, 1, 3, 4), (4, 3, 2)]


@pytest.fixture(scope="module")
def executors():
    """Warm executors of the user's making, so that examples cost little."""
    with (
        ThreadPoolExecutor(3) as threads,
        ProcessExecutor(2) as process,
        LokyExecutor(2) as loky,
    ):
        yield {"threads": threads, "process": process, "loky": loky}


@dataclasses.dataclass(frozen=True)
class Problem:
    """Sizes and contents of a run's likelihood phases."""

    seed: int
    modes: tuple[int, ...]
    n_d: int
    n_i: int
    n_e: int
    n_phi: int
    n_t: int
    n_banks: int
    drop: float
    max_diff: float
    size_limit: int
    preselected: bool
    tied: bool


problems = st.builds(
    Problem,
    seed=st.integers(0, 1000),
    modes=st.sampled_from(MODES),
    n_d=st.integers(1, 3),
    n_i=st.integers(1, 20),
    n_e=st.integers(1, 12),
    n_phi=st.integers(1, 9),
    n_t=st.integers(1, 6),
    n_banks=st.integers(1, 3),
    drop=st.sampled_from([0.0, 3.0, 20.0, 1e4]),
    max_diff=st.sampled_from([0.5, 5.0, 20.0, 1e4]),
    size_limit=st.sampled_from([1, 7, 50, 10**7]),
    preselected=st.booleans(),
    tied=st.booleans(),
)


@dataclasses.dataclass(frozen=True)
class Partition:
    """How the work is cut up and grouped."""

    i_batch: int
    i_blocksize: int
    e_blocksize: int
    per_message: int | None


partitions = st.builds(
    Partition,
    i_batch=st.integers(1, 30),  # also larger than the input
    i_blocksize=st.integers(1, 30),
    e_blocksize=st.integers(1, 20),
    per_message=st.sampled_from([None, 1, 2, 5]),
)


def run_phases(problem: Problem, partition: Partition, executor) -> dict:
    """Run incoherent phase, selection and coherent phase; return all they give."""
    rng = np.random.default_rng(problem.seed)
    case = make_case(
        problem.seed, n_i=problem.n_i, m_arr=problem.modes, n_d=problem.n_d, n_e=problem.n_e
    )
    amplitudes, phases = case.amplitudes_impb, case.phases_impb
    if problem.tied:  # twins: equal likelihoods at every threshold and limit
        amplitudes, phases = (np.concatenate([a, a]) for a in (amplitudes, phases))
    n_i, n_m, _, n_b = amplitudes.shape
    times_dt = 8.0 + 1e-3 * (np.arange(problem.n_t) + rng.random((problem.n_d, 1)))
    with TemporaryDirectory() as folder:
        banks, candidates = {}, {}
        for k in range(problem.n_banks):
            waveforms = Path(folder) / f"bank_{k}" / "waveforms"
            waveforms.mkdir(parents=True)
            blocksize = 7
            for block, start in enumerate(range(0, n_i, blocksize)):
                part = slice(start, start + blocksize)
                np.save(waveforms / f"amplitudes_block_{block}.npy", amplitudes[part])
                np.save(waveforms / f"phase_block_{block}.npy", phases[part])
            bank_id = f"bank_{k}"
            banks[bank_id] = BankHandle(
                str(waveforms.parent), bank_id, n_i, blocksize, n_m, n_b
            )
            inds = range(n_i)
            if problem.preselected:  # out of order, with gaps
                inds = rng.permutation(n_i)[: max(1, n_i // 2)]
            candidates[bank_id] = Candidates(banks[bank_id], inds)
        with PhaseRunner(ArrayStore(folder), executor, n_procs=3) as runner:
            lnlikes = incoherent_lnlikes(
                runner,
                candidates,
                IncoherentSummary(case.summary, times_dt),
                n_phi=problem.n_phi,
                i_batch=partition.i_batch,
                tasks_per_message=partition.per_message,
            )
            survivors = select(candidates, lnlikes, problem.drop)
            sets = coherent_sets(
                runner,
                banks,
                survivors,
                case.summary,
                case.response_dpe,
                case.timeshift_dbe,
                n_phi=problem.n_phi,
                i_blocksize=partition.i_blocksize,
                e_blocksize=partition.e_blocksize,
                max_bestfit_lnlike_diff=problem.max_diff,
                size_limit=problem.size_limit,
                seed=problem.seed,
                pairs_per_message=partition.per_message,
            )
    return {"lnlikes": lnlikes, "survivors": survivors, "sets": sets}


def arrays_of(found: dict) -> dict[str, np.ndarray]:
    """Every array that the phases gave, by name; counts of work done are not results."""
    arrays = {f"lnlikes/{bank_id}": a for bank_id, a in found["lnlikes"].items()}
    for bank_id, some in found["survivors"].items():
        arrays |= {f"survivors/{bank_id}/{k}": v for k, v in vars(some).items()}
    for bank_id, coherent_set in found["sets"].items():
        for name, value in vars(coherent_set).items():
            if name == "probes":
                arrays |= {f"probes/{bank_id}/{k}": v for k, v in vars(value).items()}
            elif name != "n_evaluated":
                arrays[f"sets/{bank_id}/{name}"] = value
    return arrays


def assert_same_bits(found: dict, expected: dict) -> None:
    ours, theirs = arrays_of(found), arrays_of(expected)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert array.dtype == theirs[name].dtype, name
        assert array.tobytes() == theirs[name].tobytes(), name


@pytest.mark.parametrize("name", EXECUTORS)
@settings(
    max_examples=6,
    deadline=None,
)
@given(problem=problems, partition=partitions)
def test_same_partition_gives_the_same_bits(name, executors, problem, partition):
    found = run_phases(problem, partition, executors[name])
    assert_same_bits(found, run_phases(problem, partition, "serial"))


@settings(max_examples=10, deadline=None)
@given(problem=problems, one=partitions, other=partitions)
def test_another_partition_gives_the_same_set(problem, one, other):
    found, expected = (run_phases(problem, part, "serial") for part in (one, other))
    for bank_id, survivors in expected["survivors"].items():
        np.testing.assert_allclose(
            found["lnlikes"][bank_id], expected["lnlikes"][bank_id], rtol=1e-10
        )
        np.testing.assert_array_equal(found["survivors"][bank_id].inds, survivors.inds)
        ours, theirs = found["sets"][bank_id], expected["sets"][bank_id]
        if problem.tied and len(theirs.i) == problem.size_limit:
            # Which of equal samples stays at the limit is decided by the last bits, which
            # the sizes of batches change: only how likely they are is the same.
            np.testing.assert_allclose(
                np.sort(ours.bestfit_lnlike), np.sort(theirs.bestfit_lnlike), rtol=1e-10
            )
            continue
        order = (np.lexsort((s.o, s.e, s.i)) for s in (ours, theirs))
        ours_order, theirs_order = order
        for axis in "ieo":
            np.testing.assert_array_equal(
                getattr(ours, axis)[ours_order], getattr(theirs, axis)[theirs_order]
            )
        for value in ("d_h", "h_h", "bestfit_lnlike"):
            np.testing.assert_allclose(
                getattr(ours, value)[ours_order],
                getattr(theirs, value)[theirs_order],
                rtol=1e-10,
            )


def imported_modules(payload) -> tuple[str, ...]:
    """Task: the top-level packages that this worker has loaded."""
    return tuple(sorted({name.split(".")[0] for name in sys.modules}))


@pytest.mark.parametrize("executor_class", [ProcessExecutor, LokyExecutor])
def test_workers_of_the_phases_stay_light(executor_class):
    problem = Problem(1, (2, 1), 2, 12, 6, 4, 4, 1, 1e4, 20.0, 10**7, False, False)
    with executor_class(1) as executor:
        run_phases(problem, Partition(4, 4, 4, 1), executor)
        loaded = executor.submit(imported_modules, None).result()
    heavy = {"cogwheel", "lal", "lalsimulation", "pandas", "matplotlib", "pyarrow"}
    assert not heavy & set(loaded)
    assert "numba" in loaded  # the worker did run the kernels
