"""Configuration: validation, precedence, the cache of each machine."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotpe_exec import config as module
from dotpe_exec.config import (
    MulticoreConfig,
    get_shared_config_cache_path,
    load_cached_config,
    resolve_config,
    save_config,
)
from dotpe_exec.errors import InputError
from dotpe_exec.machine import machine_signature, usable_cores

sizes = st.none() | st.integers(1, 10**6)
configs = st.builds(
    MulticoreConfig,
    n_procs=sizes,
    i_batch=sizes,
    batches_per_task=sizes,
    pairs_per_task=sizes,
    e_blocksize=sizes,
    i_tile=sizes,
    e_tile=sizes,
    max_memory_gb=st.none() | st.floats(0.1, 1e4),
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@given(configs)
def test_configuration_survives_json(config):
    dic = json.loads(json.dumps(config.to_dict()))
    assert MulticoreConfig.from_dict(dic) == config


def test_nothing_is_set_unless_it_is_given():
    assert set(MulticoreConfig().to_dict().values()) == {None}


def test_configuration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        MulticoreConfig(2).n_procs = 3


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(MulticoreConfig)])
@pytest.mark.parametrize("value", [0, -1, "four", True, float("nan"), [1]])
def test_values_that_cannot_be_used_are_named(name, value):
    with pytest.raises(InputError, match=name):
        MulticoreConfig(**{name: value})


def test_sizes_are_whole_numbers():
    with pytest.raises(InputError, match=r"i_batch is 1\.5"):
        MulticoreConfig(i_batch=1.5)
    assert MulticoreConfig(i_batch=512.0).i_batch == 512


@pytest.mark.parametrize("dic", [{"n_proc": 1}, [1], "loky", 3])
def test_other_things_than_a_configuration_are_refused(dic):
    with pytest.raises(InputError, match="multicore_config"):
        MulticoreConfig.from_dict(dic)


# Precedence


def test_keyword_over_config_over_cache_over_default():
    cached = MulticoreConfig(n_procs=3, i_batch=300, batches_per_task=30, e_blocksize=30)
    given = MulticoreConfig(n_procs=2, i_batch=200, pairs_per_task=20)
    resolved = resolve_config(
        multicore_config=given, cached=cached, n_procs=1, batches_per_task=None
    )
    assert resolved.n_procs == 1
    assert resolved.i_batch == 200
    assert resolved.batches_per_task == 30
    assert resolved.pairs_per_task == 20
    assert resolved.e_blocksize == 30
    assert resolved.sources == {
        "n_procs": "keyword",
        "i_batch": "multicore_config",
        "batches_per_task": "cache",
        "pairs_per_task": "multicore_config",
        "e_blocksize": "cache",
    }


def test_defaults_come_from_the_machine_and_the_block_sizes():
    resolved = resolve_config()
    assert (resolved.n_procs, resolved.i_batch, resolved.e_blocksize) == (
        usable_cores(),
        512,
        512,
    )
    assert resolved.batches_per_task is None and resolved.pairs_per_task is None
    resolved = resolve_config(single_detector_blocksize=128, blocksize=64)
    assert resolved.sizes() == {"i_batch": 128, "i_blocksize": 64, "e_blocksize": 64}


def test_recorded_sizes_replace_those_asked_for():
    resolved = resolve_config(n_procs=3, i_batch=64)
    sizes = {"i_batch": 1, "i_blocksize": 2, "e_blocksize": 3}
    resumed = resolved.with_sizes(sizes)
    assert resumed.sizes() == sizes and resumed.n_procs == 3


def test_block_size_that_was_asked_for_wins_over_the_cache_but_not_over_i_batch():
    cached = MulticoreConfig(i_batch=2048)
    assert resolve_config(cached=cached).i_batch == 2048
    assert resolve_config(cached=cached, single_detector_blocksize=128).i_batch == 128
    assert resolve_config(single_detector_blocksize=128, i_batch=64).i_batch == 64


def test_configuration_may_be_a_dictionary():
    assert resolve_config(multicore_config={"i_batch": 7}).i_batch == 7


def test_bad_keyword_is_named():
    with pytest.raises(InputError, match="n_procs is 0"):
        resolve_config(n_procs=0)
    with pytest.raises(InputError, match="multicore_config"):
        resolve_config(multicore_config="fast")


# The cache


def test_cache_path_follows_xdg_and_names_the_machine(cache):
    path = get_shared_config_cache_path()
    assert path == cache / "dotpe" / f"multicore_config_{machine_signature()}.json"


def test_cache_path_is_in_the_home_directory_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert get_shared_config_cache_path().parent == tmp_path / ".cache" / "dotpe"


def test_saved_configuration_is_loaded(cache):
    assert load_cached_config() is None
    config = MulticoreConfig(n_procs=2, i_batch=1024)
    assert save_config(config, tuned_on="golden") == get_shared_config_cache_path()
    assert load_cached_config() == config
    content = json.loads(get_shared_config_cache_path().read_text())
    assert content["tuned_on"] == "golden" and content["version"] and content["created"]


@pytest.mark.parametrize("what", ["version", "kernels"])
def test_configuration_for_other_kernels_is_ignored(what):
    path = save_config(MulticoreConfig(n_procs=2))
    content = json.loads(path.read_text())
    content[what] = "other"
    path.write_text(json.dumps(content))
    assert load_cached_config() is None


def test_digest_of_the_kernels_follows_their_sources(monkeypatch, tmp_path):
    package = tmp_path / "package"
    (package / "kernels").mkdir(parents=True)
    (package / "kernels" / "coherent.py").write_text("x = 1")
    monkeypatch.setattr(module, "__file__", str(package / "config.py"))
    digests = set()
    for text in ("x = 1", "x = 2"):
        (package / "kernels" / "coherent.py").write_text(text)
        module.kernels_digest.cache_clear()
        digests.add(module.kernels_digest())
    module.kernels_digest.cache_clear()
    assert len(digests) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"format": 1}',
        b'{"format": 99, "config": {}, "version": "x", "kernels": "y"}',
        b'{"format": 1, "config": {"n_procs": -1}, "version": VERSION, "kernels": KERNELS}',
        b'{"format": 1, "config": {"evil": 1}, "version": VERSION, "kernels": KERNELS}',
        b'{"format": 1, "config": [], "version": VERSION, "kernels": KERNELS}',
    ],
)
def test_damaged_cache_is_said_and_never_fatal(content, caplog):
    content = content.replace(b"VERSION", json.dumps(module.__version__).encode())
    content = content.replace(b"KERNELS", json.dumps(module.kernels_digest()).encode())
    path = get_shared_config_cache_path()
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert load_cached_config() is None
    assert path.name in caplog.text


@given(st.binary(max_size=300))
def test_any_bytes_in_the_cache_are_survived(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("cache") / "config.json"
    path.write_bytes(content)
    assert load_cached_config(path) is None


def test_cache_that_cannot_be_written_is_said_and_never_fatal(cache, caplog):
    cache.write_text("a file where the folder should be")
    assert save_config(MulticoreConfig(n_procs=2)) is None
    assert "not kept" in caplog.text
    assert load_cached_config() is None


def test_directory_in_place_of_the_cache_file_is_survived(caplog):
    get_shared_config_cache_path().mkdir(parents=True)
    assert load_cached_config() is None
    assert save_config(MulticoreConfig(n_procs=2)) is None


def _save_often(path, n_procs):
    for _ in range(50):
        save_config(MulticoreConfig(n_procs=n_procs), path=path)


def test_concurrent_writers_never_leave_a_mixture(tmp_path):
    path = tmp_path / "config.json"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_save_often, args=(path, n)) for n in (1, 2)]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            seen.add(json.loads(path.read_text())["config"]["n_procs"])
    for writer in writers:
        writer.join()
    assert seen and seen <= {1, 2}
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
