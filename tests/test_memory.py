"""Memory of workers: predicted, and kept within what there is."""

from __future__ import annotations

import numpy as np
import pytest

from dotpe_exec.config import resolve_config
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.memory import (
    BASE_BYTES,
    ProblemSize,
    coherent_worker_bytes,
    fit_memory,
    incoherent_worker_bytes,
    worker_bytes,
)
from dotpe_exec.monitor import Monitor
from dotpe_exec.stages.coherent import coherent_sets
from dotpe_exec.stages.incoherent import Candidates, incoherent_lnlikes
from dotpe_exec.stages.selection import Survivors
from dotpe_exec.workload import synthetic_workload

SIZE = ProblemSize(n_m=4, n_b=378, n_ext=512)
GB = 10**9


def test_enough_memory_changes_nothing(caplog):
    config = resolve_config(n_procs=2)
    assert fit_memory(config, SIZE, 64 * GB) == config
    assert caplog.text == ""


def test_batches_shrink_before_workers_go(caplog):
    config = resolve_config(n_procs=100, blocksize=2048)
    fitted = fit_memory(config, SIZE, 20 * GB)
    assert fitted.n_procs == 100 and 32 <= fitted.i_blocksize < 2048
    assert fitted.n_procs * worker_bytes(SIZE, fitted) <= 0.8 * 20 * GB
    assert len(caplog.records) == 1 and "per coherent batch" in caplog.text


def test_workers_go_when_batches_cannot_shrink():
    fitted = fit_memory(resolve_config(n_procs=100), SIZE, 2 * GB)
    assert fitted.i_blocksize == 32 and 1 < fitted.n_procs < 100
    assert fitted.n_procs * worker_bytes(SIZE, fitted) <= 0.8 * 2 * GB


def test_one_worker_is_left_whatever_happens():
    assert fit_memory(resolve_config(n_procs=4), SIZE, 1).n_procs == 1


def test_cap_of_the_configuration_counts():
    config = resolve_config(n_procs=8, max_memory_gb=1.0)
    assert fit_memory(config, SIZE, 64 * GB).n_procs * BASE_BYTES < 1 * GB


def test_small_batches_stay_as_they_are():
    fitted = fit_memory(resolve_config(n_procs=100, blocksize=8), SIZE, 1 * GB)
    assert fitted.i_blocksize == 8


def test_prediction_grows_with_what_is_held():
    small = coherent_worker_bytes(SIZE, 128)
    assert small > incoherent_worker_bytes(SIZE) > BASE_BYTES
    assert coherent_worker_bytes(SIZE, 256) - small == 128 * (48 * 2 * 4 * 378 + 32_000)


@pytest.mark.slow
@pytest.mark.parametrize(("n_b", "i_blocksize"), [(378, 64), (378, 512), (96, 256)])
def test_prediction_is_within_thirty_percent_of_a_worker(n_b, i_blocksize):
    size = ProblemSize(4, n_b, 512)
    # Every other waveform: nothing can be read without a copy.
    inds = np.arange(0, 2048, 2)
    survivors = Survivors(inds, np.zeros((3, len(inds))), np.zeros(len(inds)))
    with synthetic_workload(2048, n_b) as workload:
        name = workload.bank.bank_id
        with (
            Monitor(progress=False) as monitor,
            PhaseRunner(workload.store, "process", n_procs=1, monitor=monitor) as runner,
        ):
            incoherent_lnlikes(
                runner,
                {name: Candidates(workload.bank, inds)},
                workload.incoherent_summary,
                n_phi=32,
                i_batch=512,
            )
            coherent_sets(
                runner,
                {name: workload.bank},
                {name: survivors},
                workload.summary,
                workload.response_dpe,
                workload.timeshift_dbe,
                n_phi=32,
                i_blocksize=i_blocksize,
                e_blocksize=512,
                max_bestfit_lnlike_diff=20.0,
                size_limit=10**6,
                seed=0,
            )
    phases = monitor.report()["phases"]
    predicted = {
        "incoherent": incoherent_worker_bytes(size),
        "coherent": coherent_worker_bytes(size, i_blocksize),
    }
    for phase, expected in predicted.items():
        measured = phases[phase]["peak_worker_memory_bytes"]
        assert measured == pytest.approx(expected, rel=0.3), phase
