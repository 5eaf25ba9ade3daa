"""Damaged files of any kind raise this package's errors and no others, at once."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from damages import JSON_VALUES, damages
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dotpe_exec.config import MulticoreConfig, load_cached_config, save_config
from dotpe_exec.errors import DotpeExecError, EventError, InputError, RunDirectoryError
from dotpe_exec.events import load_event, save_event, simulate_event
from dotpe_exec.loading import load_run
from dotpe_exec.rundir.directory import RunDirectory
from dotpe_exec.rundir.identity import RunIdentity
from dotpe_exec.stages.extrinsic_samples import load_extrinsic_samples, read_extrinsic_table
from dotpe_exec.validation import load_par_dic

SETTINGS = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
N_EXT = 6


def refuses(read, error_class=DotpeExecError) -> bool:
    """Read; whether it was refused, with an error of ours that says something."""
    try:
        read()
    except error_class as error:
        assert str(error)
        return True
    return False


def refuses_or_gives(kind, read, error_class=DotpeExecError) -> bool:
    """Whether reading is refused, or gives what it promises."""
    found = []
    return refuses(lambda: found.append(read()), error_class) or isinstance(found[0], kind)


@pytest.fixture(scope="module")
def event_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("event") / "event.npz"
    save_event(simulate_event("tiny", "HL", duration=4.0, fmax=32.0, seed=1), path)
    return path


@SETTINGS
@given(damage=damages())
def test_damaged_events(event_file, tmp_path, damage):
    path = tmp_path / "event.npz"
    path.write_bytes(damage(event_file.read_bytes()))
    if not refuses(lambda: load_event(path), EventError):
        event = load_event(path)
        assert np.isfinite(event.strain).all() and event.strain.shape[0] == 2


ARRAYS = st.one_of(
    st.integers(-(2**62), 2**62).map(np.asarray),
    st.floats().map(np.asarray),
    st.text(max_size=5).map(np.asarray),
    st.lists(st.floats(width=32), max_size=4).map(np.asarray),
    st.sampled_from(
        [
            np.zeros((2, 3, 0)),
            np.zeros(0),
            np.ones((2, 2), complex),
            np.array([b"H", b"L"]),
            np.array("2026-01-01", dtype="M8[D]"),
            np.zeros(2, dtype=[("a", "f8")]),
            np.array([True, False]),
        ]
    ),
)


@SETTINGS
@given(
    key=st.sampled_from(
        ["eventname", "frequencies", "strain", "wht_filter", "detector_names", "tgps",
         "tcoarse", "injection"]
    ),
    value=ARRAYS,
)  # fmt: skip
def test_events_with_any_array(event_file, tmp_path, key, value):
    with np.load(event_file) as archive:
        content = dict(archive)
    path = tmp_path / "event.npz"
    np.savez(path, **content | {key: value})
    refused = refuses(lambda: load_event(path), EventError)
    assert refused or key in ("eventname", "tgps", "tcoarse", "injection", "detector_names")


@SETTINGS
@given(injection=JSON_VALUES | JSON_VALUES.map(lambda value: {"par_dic": {}, "d_h": value}))
def test_events_with_any_injection(event_file, tmp_path, injection):
    with np.load(event_file) as archive:
        content = dict(archive)
    path = tmp_path / "event.npz"
    np.savez(path, **content | {"injection": json.dumps(injection)})
    if not refuses(lambda: load_event(path), EventError):
        assert isinstance(load_event(path).injection, dict | None)


@pytest.mark.parametrize("compressed", [False, True])
def test_events_that_promise_too_much_reserve_nothing(tmp_path, compressed):
    """A terabyte by the header alone, and 64 MB of zeros in 64 kB."""
    import tracemalloc
    import zipfile

    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 64000000000), }"
    content = b"\x93NUMPY\x01\x00\x76\x00" + header.ljust(117) + b"\n"
    path = tmp_path / "event.npz"
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("strain.npy", content + bytes(64 << 20 if compressed else 64))
    tracemalloc.start()
    assert refuses(lambda: load_event(path), EventError)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


@pytest.fixture(scope="module")
def samples_file(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("samples") / "extrinsic_samples.feather"
    names = ("lat", "lon", "psi", "t_geocenter", "weights", "log_prior_weights")
    pd.DataFrame({name: rng.uniform(0.1, 1, N_EXT) for name in names}).to_feather(path)
    return path


@SETTINGS
@given(damage=damages())
def test_damaged_extrinsic_samples(samples_file, tmp_path, damage):
    path = tmp_path / "extrinsic_samples.feather"
    path.write_bytes(damage(samples_file.read_bytes()))
    if not refuses(lambda: read_extrinsic_table(path, N_EXT), InputError):
        table, n_rows = read_extrinsic_table(path, N_EXT)
        assert len(table) == N_EXT <= n_rows
        assert np.isfinite(table.to_numpy()).all()


@SETTINGS
@given(damage=damages(), name=st.sampled_from(["response_dpe.npy", "timeshift_dbe.npy"]))
def test_damaged_arrays_beside_extrinsic_samples_are_computed_anew(
    samples_file, tmp_path, damage, name
):
    arguments = {"fbin": np.array([20.0, 30.0]), "detector_names": "HL", "tcoarse": 2.0}
    expected = load_extrinsic_samples(samples_file, N_EXT, **arguments)
    path = tmp_path / "extrinsic_samples.feather"
    path.write_bytes(samples_file.read_bytes())
    for at, array in (
        ("response_dpe.npy", expected.response_dpe),
        ("timeshift_dbe.npy", expected.timeshift_dbe),
    ):
        np.save(tmp_path / at, array)
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load_extrinsic_samples(path, N_EXT, **arguments)
    np.testing.assert_allclose(found.response_dpe, expected.response_dpe, atol=1e-4)
    np.testing.assert_allclose(found.timeshift_dbe, expected.timeshift_dbe, atol=2e-4)


IDENTITY = RunIdentity("ev", "0" * 32, {"bank_0": "1" * 32}, {"seed": 3, "n_ext": 8})


@SETTINGS
@given(content=JSON_VALUES | st.dictionaries(st.sampled_from(sorted(IDENTITY.to_dict())),
                                             JSON_VALUES))  # fmt: skip
def test_any_json_as_identity(tmp_path, content):
    directory = RunDirectory(tmp_path)
    directory.identity.write_text(json.dumps(content))
    assert refuses_or_gives(RunIdentity, directory.stored_identity, RunDirectoryError)
    full = IDENTITY.to_dict() | (content if isinstance(content, dict) else {})
    directory.identity.write_text(json.dumps(full))
    if not refuses(directory.stored_seed, RunDirectoryError):
        assert isinstance(directory.stored_identity().differences(IDENTITY), list)


@SETTINGS
@given(damage=damages())
def test_damaged_identity_and_sizes(tmp_path, damage):
    directory = RunDirectory(tmp_path)
    directory.identity.write_bytes(damage(json.dumps(IDENTITY.to_dict()).encode()))
    assert refuses_or_gives(RunIdentity, directory.stored_identity, RunDirectoryError)
    directory.sizes.write_bytes(damage(b'{"i_batch": 16, "e_blocksize": 512}'))
    sizes = {"i_batch": 1, "e_blocksize": 2}
    if not refuses(lambda: directory.record_sizes(sizes), RunDirectoryError):
        assert directory.record_sizes(sizes).keys() == sizes.keys()


@SETTINGS
@given(content=JSON_VALUES)
def test_any_json_in_a_run_directory(tmp_path, content):
    run = RunDirectory(tmp_path)
    (tmp_path / "banks" / "bank_0").mkdir(parents=True, exist_ok=True)
    for path in (run.run_kwargs, run.summary, run.posterior, run.report,
                 run.linfree_timeshifts("bank_0")):  # fmt: skip
        path.write_text(json.dumps(content))
    loaded = load_run(tmp_path)
    assert refuses_or_gives(dict, lambda: loaded.kwargs)
    assert refuses_or_gives(dict, lambda: loaded.summary)
    assert refuses_or_gives(dict, lambda: loaded.report)
    assert refuses_or_gives(Path | None, lambda: loaded.event_file)
    assert refuses_or_gives(dict, lambda: loaded.linfree_timeshifts("bank_0"))


@SETTINGS
@given(damage=damages())
def test_damaged_results(tmp_path, damage):
    run = RunDirectory(tmp_path)
    run.run_kwargs.write_text("{}")
    folder = tmp_path / "banks" / "bank_0"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(run.intrinsic_samples("bank_0"), inds=np.arange(20))
    pd.DataFrame({"m1": np.arange(9.0)}).to_feather(run.samples)
    for path in (run.intrinsic_samples("bank_0"), run.samples):
        path.write_bytes(damage(path.read_bytes()))
    loaded = load_run(tmp_path)
    assert refuses_or_gives(
        dict, lambda: loaded.intrinsic_samples("bank_0"), RunDirectoryError
    )
    assert refuses_or_gives(pd.DataFrame, lambda: loaded.samples, RunDirectoryError)


@SETTINGS
@given(content=JSON_VALUES | st.dictionaries(st.sampled_from(["m1", "ra"]), JSON_VALUES))
def test_any_json_as_reference_parameters(tmp_path, content):
    path = tmp_path / "par_dic_0.json"
    path.write_text(json.dumps(content))
    if not refuses(lambda: load_par_dic(path), InputError):
        assert all(np.isfinite(value) for value in load_par_dic(path).values())


@SETTINGS
@given(damage=damages(), replaced=st.none() | JSON_VALUES)
def test_damaged_cache_of_the_configuration(tmp_path, damage, replaced):
    path = save_config(MulticoreConfig(n_procs=2, i_batch=64), path=tmp_path / "c.json")
    if replaced is None:
        path.write_bytes(damage(path.read_bytes()))
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"config": replaced}))
    config = load_cached_config(path)
    assert config is None or isinstance(config, MulticoreConfig)
