"""Accepted sets, synthetic and golden, from which the results stage starts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dotpe_exec.stages.coherent_set import CoherentSet, Probes
from dotpe_exec.stages.discarded_probes import PROBES_PER_WAVEFORM
from dotpe_exec.stages.results import (
    BankPosterior,
    CombinedPosterior,
    aggregate,
    marginalize_bank,
)

N_PHI, N_EXT, N_INT = 8, 20, 50


def make_probes(survivors, rng=None, inside=True):
    """Probes of waveforms of SNR 5 at 1 Gpc."""
    i = np.repeat(survivors, PROBES_PER_WAVEFORM)
    e = np.zeros(len(i), int) if rng is None else rng.integers(N_EXT, size=len(i))
    d_h, h_h = np.full(len(i), 25e3), np.full(len(i), 25e6)
    return Probes(i, e, np.zeros(len(i), int), d_h, h_h, np.full(len(i), inside))


def make_set(rng, size, n_survivors=10):
    """An accepted set in the order that the coherent stage promises."""
    survivors = np.sort(rng.choice(N_INT, n_survivors, replace=False))
    code = rng.choice(n_survivors * N_EXT * N_PHI, size, replace=False)
    i, e, o = np.unravel_index(code, (n_survivors, N_EXT, N_PHI))
    overlap = rng.uniform(8, 10, size)
    order = np.argsort(overlap)
    norm_h = (overlap * rng.uniform(500, 4000, size))[order]
    overlap = overlap[order]
    return CoherentSet(
        i=survivors[i][order],
        e=e[order].astype(np.int32),
        o=o[order].astype(np.int32),
        d_h=overlap * norm_h,
        h_h=norm_h**2,
        bestfit_lnlike=overlap**2 / 2,
        inds=survivors,
        dt_linfree=rng.normal(scale=1e-3, size=n_survivors),
        probes=make_probes(survivors, rng),
        n_evaluated=size,
    )


def empty_set():
    """The accepted set of a bank that lost all waveforms in the selection."""
    return make_set(np.random.default_rng(0), 0, n_survivors=0)


def make_bank_posterior(table, coherent_set, bank_id="bank_0", n_int=N_INT, **kwargs):
    """Marginalise with weights that are smooth functions of the index."""
    arguments = {
        "log_prior_weights_i": np.sin(np.arange(N_INT)),
        "log_prior_weights_e": np.cos(np.arange(N_EXT)),
        "n_phi": N_PHI,
        "n_int": n_int,
        "table": table,
    }
    return marginalize_bank(bank_id, coherent_set, **(arguments | kwargs))


def make_posterior(table, sizes=(400, 300), size_limit=10**7) -> CombinedPosterior:
    """A posterior of several banks."""
    banks = [
        make_bank_posterior(
            table, make_set(np.random.default_rng(k), size), f"bank_{k}", N_INT + 10 * k
        )
        for k, size in enumerate(sizes)
    ]
    return aggregate(banks, size_limit=size_limit)


@dataclass(frozen=True)
class GoldenCase:
    """The reference run: its inputs of the results stage, and what it made of them."""

    banks: list[BankPosterior]
    tables: dict[str, pd.DataFrame]
    extrinsic: pd.DataFrame
    prob_samples: pd.DataFrame
    samples: pd.DataFrame
    summary: dict[str, Any]
    prior: Any


def load_golden(golden: Path, table) -> GoldenCase:
    """The golden accepted set above its cut, marginalised by our code."""
    from cogwheel.gw_prior import CartesianIASPrior

    reference = golden / "reference"
    arrays = np.load(reference / "arrays.npz")
    prob_samples = pd.read_feather(reference / "prob_samples_above_cut.feather")
    extrinsic = pd.read_feather(reference / "extrinsic_samples.feather")
    posterior = json.loads((reference / "Posterior.json").read_text())
    prior_kwargs = posterior["init_kwargs"]["prior"]["init_kwargs"]
    banks, tables = [], {}
    for bank_id, rows in prob_samples.groupby("bank_id", sort=True):
        bank = pd.read_feather(golden / bank_id / "intrinsic_sample_bank.feather")
        tables[bank_id] = bank
        coherent_set = CoherentSet(
            i=rows["i"].to_numpy(),
            e=rows["e"].to_numpy(np.int32),
            o=rows["o"].to_numpy(np.int32),
            d_h=rows["d_h_1Mpc"].to_numpy(),
            h_h=rows["h_h_1Mpc"].to_numpy(),
            bestfit_lnlike=rows["bestfit_lnlike"].to_numpy(),
            inds=np.arange(len(bank)),
            dt_linfree=arrays[f"{bank_id}_dt_linfree"],
            probes=make_probes(np.arange(len(bank))),
            n_evaluated=len(rows),
        )
        banks.append(
            marginalize_bank(
                bank_id,
                coherent_set,
                log_prior_weights_i=bank["log_prior_weights"].to_numpy(),
                log_prior_weights_e=extrinsic["log_prior_weights"].to_numpy(),
                n_phi=16,
                n_int=len(bank),
                table=table,
            )
        )
    return GoldenCase(
        banks=banks,
        tables=tables,
        extrinsic=extrinsic,
        prob_samples=prob_samples,
        samples=pd.read_feather(reference / "samples_above_cut.feather"),
        summary=json.loads((reference / "summary_results.json").read_text()),
        prior=CartesianIASPrior(**prior_kwargs),
    )
