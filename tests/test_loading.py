"""Reading run directories, also those of the published code and damaged ones."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dotpe_exec.errors import MissingFileError, RunDirectoryError
from dotpe_exec.loading import load_run


@pytest.fixture
def published(golden, tmp_path):
    """A run directory laid out as the published code leaves it."""
    reference = golden / "reference"
    for name in ("Posterior.json", "summary_results.json", "extrinsic_samples.feather"):
        (tmp_path / name).write_bytes((reference / name).read_bytes())
    kwargs = json.loads((reference / "run_kwargs.json").read_text())
    kwargs["mchirp_guess"] = "None"
    kwargs["some_older_option"] = 3
    del kwargs["n_draws"]
    (tmp_path / "run_kwargs.json").write_text(json.dumps(kwargs))
    samples = (reference / "samples_above_cut.feather").read_bytes()
    (tmp_path / "samples.feather").write_bytes(samples)
    bank = tmp_path / "banks" / "bank_0"
    bank.mkdir(parents=True)
    np.savez(bank / "intrinsic_samples.npz", inds=np.arange(4), lnlikes_di=np.ones((3, 4)))
    (bank / "intrinsic_sample_processor_cache.json").write_text('{"3": 1e-3}')
    (tmp_path / "golden_hlv.npz").write_bytes(b"")
    (tmp_path / "unrelated.npz").write_bytes(b"")
    return tmp_path


def test_published_run_directory_is_read(published):
    run = load_run(published)
    assert run.kwargs["mchirp_guess"] is None
    assert run.kwargs["n_ext"] == 96
    assert run.kwargs["some_older_option"] == 3
    assert run.summary["n_i_inds_used"] == 75
    assert len(run.samples) and "d_luminosity" in run.samples
    assert len(run.extrinsic_samples) == 96
    assert run.bank_ids == ["bank_0"]
    assert run.intrinsic_samples("bank_0")["inds"].tolist() == [0, 1, 2, 3]
    assert run.linfree_timeshifts("bank_0") == {3: 1e-3}
    assert run.event_file == published / "golden_hlv.npz"
    assert run.report is None and run.tasks is None


def test_missing_and_foreign_directories_are_named(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere does not exist"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(RunDirectoryError, match="not a run directory"):
        load_run(tmp_path)


def test_missing_files_are_named_when_asked_for(tmp_path):
    (tmp_path / "run_kwargs.json").write_text("{}")
    run = load_run(tmp_path)
    with pytest.raises(MissingFileError, match=r"samples\.feather"):
        _ = run.samples
    with pytest.raises(MissingFileError, match=r"summary_results\.json"):
        _ = run.summary


def test_damaged_files_are_named(published):
    run = load_run(published)
    (published / "samples.feather").write_bytes(b"ARROW1 and then nothing")
    with pytest.raises(RunDirectoryError, match=r"samples\.feather is damaged"):
        _ = run.samples
    (published / "run_kwargs.json").write_text("[1, 2")
    with pytest.raises(RunDirectoryError, match=r"run_kwargs\.json is damaged"):
        _ = run.kwargs
    npz = published / "banks" / "bank_0" / "intrinsic_samples.npz"
    npz.write_bytes(npz.read_bytes()[:-200])
    with pytest.raises(RunDirectoryError, match=r"intrinsic_samples\.npz is damaged"):
        run.intrinsic_samples("bank_0")


def test_pickled_arrays_are_never_opened(published):
    path = published / "banks" / "bank_0" / "intrinsic_samples.npz"
    np.savez(path, inds=np.array([{"a": 1}], dtype=object))
    with pytest.raises(RunDirectoryError, match="damaged"):
        load_run(published).intrinsic_samples("bank_0")
