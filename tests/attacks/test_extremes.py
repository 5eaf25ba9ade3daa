"""Numerical extremes: the right evidence, or a finding or refusal that names why."""

from __future__ import annotations

import copy
import re
import shutil

import numpy as np
import pytest
from small_runs import PAR_DIC, arguments, summary_of

from dotpe_exec import run
from dotpe_exec.errors import DotpeExecError, EventError, InputError
from dotpe_exec.events import load_event, simulate_event

ALL = {"max_incoherent_lnlike_drop": 1e4, "max_bestfit_lnlike_diff": 1e4}
N_WAVEFORMS = 64


@pytest.fixture
def summarize(undamaged, tmp_path):
    """Return a function that runs with changed arguments and returns the summary."""
    numbers = iter(range(100))

    def summarize(folder=undamaged, **changes):
        rundir = tmp_path / str(next(numbers))
        return summary_of(run(**arguments(folder, rundir=rundir, **changes)))

    return summarize


@pytest.fixture
def event(undamaged):
    return load_event(undamaged / "event.npz")


def found(summary):
    return {finding["key"] for finding in summary["diagnostics"]["findings"]}


def test_evidences_of_single_waveforms_add_up(summarize):
    single = [summarize(preselected_indices=[i], **ALL)["ln_evidence"] for i in (0, 5, 40)]
    together = summarize(preselected_indices=[0, 5, 40], **ALL)["ln_evidence"]
    assert together == pytest.approx(np.logaddexp.reduce(single), abs=1e-6)


def test_identical_waveforms_count_once_each(undamaged, summarize, tmp_path):
    folder = shutil.copytree(undamaged, tmp_path / "identical")
    for name in ("checksums.json", "waveform_digests.npy"):
        (folder / "bank" / name).unlink()
    for kind in ("amplitudes", "phase"):
        path = folder / "bank" / "waveforms" / f"{kind}_block_0.npy"
        block = np.load(path)
        np.save(path, np.broadcast_to(block[5], block.shape).copy())
    weights = {"bank_logw_override": np.zeros(N_WAVEFORMS), **ALL}
    one = summarize(preselected_indices=[5], **weights)["ln_evidence"]
    eight = summarize(folder, preselected_indices=np.arange(8), **weights)
    assert eight["ln_evidence"] == pytest.approx(one + np.log(8), abs=1e-6)
    assert eight["n_effective_i"] == pytest.approx(8, rel=1e-6)


def test_weight_on_one_waveform_alone(summarize):
    weights = np.full(N_WAVEFORMS, -np.inf)
    weights[5] = 0.0
    with pytest.raises(InputError, match="is -inf for waveform 0"):
        summarize(bank_logw_override=weights)
    weights[weights == -np.inf] = -1e6
    one = summarize(
        bank_logw_override=np.zeros(N_WAVEFORMS), preselected_indices=[5], **ALL
    )
    all_but_weightless = summarize(bank_logw_override=weights, **ALL)
    assert all_but_weightless["ln_evidence"] == pytest.approx(one["ln_evidence"], abs=1e-6)
    assert all_but_weightless["n_effective_i"] == pytest.approx(1.0)


def test_size_limit_of_one_is_said(summarize):
    assert {"size_limit", "discarded_evidence"} <= found(summarize(size_limit=1))


@pytest.mark.parametrize("drawn", [False, True])
def test_one_of_everything(summarize, expected, drawn):
    changes = {"extrinsic_samples": None} if drawn else {}
    summary = summarize(n_ext=1, n_phi=1, n_t=1, **changes)
    correct = abs(summary["ln_evidence"] - expected["ln_evidence"]) < 0.5
    assert correct or {"n_effective_e", "n_effective"} & found(summary)
    assert summary["diagnostics"]["status"] == "unusable"


@pytest.mark.parametrize("seed", [3, pytest.param(4, marks=pytest.mark.slow)])
def test_noise_alone_is_no_signal(summarize, seed):
    noise = simulate_event("noise", "HL", duration=4.0, fmax=256.0, seed=seed)
    summary = summarize(event=noise, extrinsic_samples=None)
    assert "nothing_found" in found(summary)
    assert -10 < summary["ln_evidence"] < 5


@pytest.mark.parametrize("what", ["strain", "wht_filter"])
@pytest.mark.parametrize("n_detectors", [1, 2])
def test_zeros_are_refused(event, undamaged, tmp_path, what, n_detectors):
    event = copy.copy(event)
    setattr(event, what, getattr(event, what).copy())
    getattr(event, what)[:n_detectors] = 0
    with pytest.raises(EventError, match="detector H are all zero"):
        run(**arguments(undamaged, event=event, rundir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("d_luminosity", [40.0, 10.0])
@pytest.mark.parametrize("drawn", [False, True])
def test_very_loud_signal_is_refused_or_said_to_be_missed(summarize, d_luminosity, drawn):
    """Signal-to-noise ratios of 250 and 1000, in a bank that is far too coarse."""
    loud = simulate_event(
        "loud", "HL", duration=4.0, fmax=256.0, seed=1,
        injection=PAR_DIC | {"d_luminosity": d_luminosity},
    )  # fmt: skip
    try:
        summary = summarize(event=loud, **({"extrinsic_samples": None} if drawn else {}))
    except DotpeExecError as error:
        assert re.search("no sky position fits|the signal is too loud", str(error))
    else:
        assert {"bank_misses_peak", "largest_waveform_share"} & found(summary)
        assert summary["diagnostics"]["status"] == "unusable"


@pytest.mark.parametrize("factor", [1 / 30, 1 / 1000])
def test_nearer_sources_have_the_evidence_of_the_distance_prior(
    event, summarize, expected, factor
):
    """The same signal-to-noise ratio from a thirtieth or a thousandth of the distance.

    The prior of distance goes with its square: evidence goes with the cube.
    """
    summary = summarize(event=scaled(event, factor))
    right = expected["ln_evidence"] + 3 * np.log(factor)
    assert summary["ln_evidence"] == pytest.approx(right, abs=1e-3)


@pytest.mark.parametrize("factor", [30, 1000])
def test_sources_beyond_the_distances_of_the_prior_are_named(event, summarize, factor):
    assert "edge_upper_distance_edge" in found(summarize(event=scaled(event, factor)))


def scaled(event, factor):
    """The event with a signal ``factor`` times as far away, in noise so much weaker."""
    from cogwheel.data import EventData

    return EventData(
        event.eventname, event.frequencies, event.strain / factor,
        event.wht_filter * factor, event.detector_names, event.tgps, event.tcoarse,
    )  # fmt: skip
