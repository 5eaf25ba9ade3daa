"""Parts of a run's banks as banks of their own, and the errors stated for them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from bench_scripts import run_script

from dotpe_exec.errors import InputError
from dotpe_exec.kernels.importance import logsumexp

N_EXT, N_PHI = 5, 2


def write_run(folder, rng, sizes, *, start=0, **kwargs):
    """Write a run whose banks have waveforms of likelihoods drawn at random.

    Returns ln of the likelihoods times weights, an array (i, e, o) for each bank.
    """
    banks, results = {}, {}
    for bank_id, n_int in sizes.items():
        ln_i = rng.normal(scale=0.7, size=(n_int, 1, 1))
        ln_ieo = ln_i + rng.normal(scale=0.1, size=(n_int, N_EXT, N_PHI))
        i, e, _ = (axis.ravel() for axis in np.indices(ln_ieo.shape))
        table = pd.DataFrame({"i": i + start, "e": e, "ln_posterior": ln_ieo.ravel()})
        table = table.sample(frac=1, random_state=1).reset_index(drop=True)
        (folder / "banks" / bank_id).mkdir(parents=True)
        table.to_feather(folder / "banks" / bank_id / "prob_samples.feather")
        banks[bank_id], results[bank_id] = ln_ieo, {"N_k": n_int * N_EXT * N_PHI}
    kwargs = {"n_ext": N_EXT, "n_phi": N_PHI, "i_int_start": start, **kwargs}
    (folder / "run_kwargs.json").write_text(json.dumps(kwargs))
    summary = {"per_bank_results": results}
    (folder / "summary_results.json").write_text(json.dumps(summary))
    return banks


@pytest.fixture(scope="module")
def script(bench):
    return bench("intrinsic_error")


def test_parts_are_consecutive_waveforms_of_every_bank(script, tmp_path):
    sizes = {"bank_0": 35, "bank_1": 24}
    banks = write_run(tmp_path, np.random.default_rng(1), sizes, start=100)
    figures = script.part_figures(script.read_terms(tmp_path), 4)
    for part, found in enumerate(figures):
        # Of 35 waveforms, three do not fill a fifth part.
        parts = banks["bank_0"][8 * part :][:8], banks["bank_1"][6 * part :][:6]
        expected = np.log(sum(np.exp(ln_ieo).mean() for ln_ieo in parts))
        assert found.ln_evidence == pytest.approx(expected)
        share_i = np.concatenate([np.exp(x).sum(axis=(1, 2)) / len(x) for x in parts])
        n_effective = share_i.sum() ** 2 / (share_i**2).sum()
        assert found.n_effective_i == pytest.approx(n_effective)


def test_whole_bank_is_the_mean_of_its_parts(script, tmp_path):
    banks = write_run(tmp_path, np.random.default_rng(2), {"bank_0": 64})
    found = [f.ln_evidence for f in script.part_figures(script.read_terms(tmp_path), 8)]
    whole = logsumexp(banks["bank_0"].ravel()) - np.log(banks["bank_0"].size)
    assert logsumexp(np.array(found)) - np.log(8) == pytest.approx(whole)


def test_stated_error_is_the_scatter_of_independent_parts(script, tmp_path):
    write_run(tmp_path, np.random.default_rng(3), {"bank_0": 16_000})
    table = script.error_table(script.read_terms(tmp_path), [400, 200])
    assert [row["banks"] for row in table.rows] == [400, 200]
    assert [row["waveforms_each"] for row in table.rows] == [40, 80]
    for row in table.rows:
        assert row["ratio"] == pytest.approx(1, abs=0.15)
        assert row["ratio_for_Z"] == pytest.approx(1, abs=0.15)
    larger, smaller = (row["scatter_of_ln_Z"] for row in table.rows)
    assert larger / smaller == pytest.approx(np.sqrt(2), rel=0.15)


def test_waveforms_that_were_chosen_are_no_draws(script, tmp_path):
    rng = np.random.default_rng(4)
    write_run(tmp_path, rng, {"bank_0": 8}, preselected_indices=[1, 2])
    with pytest.raises(InputError, match="is a run with preselected_indices"):
        script.read_terms(tmp_path)


def test_parts_of_one_waveform_have_no_error(script, tmp_path):
    write_run(tmp_path, np.random.default_rng(5), {"bank_0": 8})
    with pytest.raises(InputError, match="part 0 of 8 has no weight, or one waveform"):
        script.part_figures(script.read_terms(tmp_path), 8)


def test_script_prints_the_table_and_writes_it(tmp_path):
    write_run(tmp_path, np.random.default_rng(6), {"bank_0": 64})
    figures = tmp_path / "figures.json"
    done = run_script(
        "validation/intrinsic_error.py", tmp_path, "--parts", 8, 4, "--json", figures
    )
    assert done.returncode == 0, done.stderr
    assert "| 8 | 8 |" in done.stdout
    (table,) = json.loads(figures.read_text())["tables"]
    assert [row["banks"] for row in table["rows"]] == [8, 4]
