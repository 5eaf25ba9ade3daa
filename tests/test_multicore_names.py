"""The published version's import paths and words of the command line."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

import dotpe_exec
from dotpe_exec.cli import main


def test_names_are_at_the_published_import_paths():
    from dotpe_exec import multicore
    from dotpe_exec.multicore import config

    for name in multicore.__all__:
        assert getattr(multicore, name) is getattr(dotpe_exec, name)
    assert config.MulticoreConfig is dotpe_exec.MulticoreConfig
    path = dotpe_exec.config.get_shared_config_cache_path
    assert config.get_shared_config_cache_path is path
    with pytest.raises(AttributeError):
        _ = multicore.spam


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--bank", "a"], {"bank_folder": "a", "n_int": None}),
        (
            ["--bank", "a", "b", "--n_int", "100", "200"],
            {"bank_folder": "a,b", "n_int": [100, 200]},
        ),
        (["--n_int", "5", "--bank-folder", "a,b"], {"bank_folder": "a,b", "n_int": 5}),
        (["--bank_folder", "a", "--n_workers", "3"], {"bank_folder": "a", "n_procs": 3}),
    ],
)
def test_published_words_are_understood(monkeypatch, words, expected):
    seen = {}

    def run_multicore(**arguments):
        seen.update(arguments)
        raise dotpe_exec.errors.InputError("enough")

    monkeypatch.setattr("dotpe_exec.inference.run_multicore", run_multicore, raising=False)
    CliRunner().invoke(main, ["run", "--event", "GW150914", *words])
    assert {name: seen[name] for name in expected} == expected


def test_stray_words_are_still_refused():
    done = CliRunner().invoke(main, ["run", "--event", "GW150914", "spam", "--bank", "a"])
    assert done.exit_code == 2
    assert "unexpected extra argument" in done.output


def test_what_to_cite_is_bibtex():
    done = CliRunner().invoke(main, ["cite"])
    assert done.exit_code == 0
    assert done.output.startswith("@article{") and "2507.16022" in done.output
