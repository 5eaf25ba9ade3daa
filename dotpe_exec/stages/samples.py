"""The tables of samples, chunk by chunk: ``prob_samples`` and ``samples``.

A chunk is a dictionary of columns as :func:`dotpe_exec.stages.tables.write_chunks` writes
it; no table is ever in memory as a whole, unless asked for by :func:`to_frame`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels.importance import logsumexp
from ..seeds import generator
from ..waveforms.parameters import PARAMETERS
from .results import BankPosterior
from .sample_rows import FEWEST_WRITTEN, SampleRows, weights, written_rows
from .tables import ROWS_PER_CHUNK, Repeated

_LOGARITHMS = ("lnl_marginalized", "ln_posterior", "ln_weight_unnormalized")

if TYPE_CHECKING:
    import pandas as pd

    from .standardize import Standardizer


def bank_sample_chunks(
    bank: BankPosterior, n_rows: int = ROWS_PER_CHUNK
) -> Iterator[dict[str, Any]]:
    """Yield the columns of a bank's own ``prob_samples``: weights sum to 1 in the bank.

    As :func:`.written_rows`, rows of negligible weight are not among them.
    """
    ln_norm = logsumexp(bank.ln_posterior)
    (written,) = written_rows([bank.ln_posterior])
    finish = _finish(len(written), [bank])
    for rows in _row_chunks(written, n_rows):
        if ln_norm == -np.inf:
            row_weights = np.zeros(len(rows))
        else:
            row_weights = np.exp(bank.ln_posterior[rows] - ln_norm)
        yield finish(_bank_columns(bank, rows, row_weights))


def sample_chunks(
    samples: SampleRows, n_rows: int = ROWS_PER_CHUNK
) -> Iterator[dict[str, Any]]:
    """Yield the columns of ``prob_samples`` of some rows, one bank after the other."""
    finish = _finish(len(samples), samples.posterior.banks)
    for k, rows in _bank_row_chunks(samples, n_rows):
        yield finish(_sample_columns(samples, k, rows))


def _finish(
    n_rows: int, banks: Sequence[BankPosterior]
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what is done to chunks of a table: nothing, or :func:`compact` long ones."""
    if n_rows <= FEWEST_WRITTEN:
        return lambda columns: columns
    types = {"i": np.dtype(np.int32)}
    for name in ("e", "o"):
        largest = max(getattr(bank.coherent_set, name).max(initial=0) for bank in banks)
        types[name] = np.promote_types(np.min_scalar_type(-1 - int(largest)), np.int16)
    bank_ids = tuple(bank.bank_id for bank in banks)
    return lambda columns: compact(columns, types, bank_ids)


def compact(
    columns: dict[str, Any], types: Mapping[str, np.dtype], bank_ids: tuple[str, ...]
) -> dict[str, Any]:
    """Return columns in the shortest types that are exact enough for their readers.

    Indices as ``types`` says, floats in single precision, ``bank_id`` as one of
    ``bank_ids``; logarithms are rounded to 2^-10 and weights to 12 bits, which compresses
    well. Rounding errors of so many rows average out.
    """
    short: dict[str, Any] = {}
    for name, values in columns.items():
        if not isinstance(values, np.ndarray):
            short[name] = Repeated(values, bank_ids)
        elif name in types:
            short[name] = values.astype(types[name])
        elif name in _LOGARITHMS:
            short[name] = (np.round(values * 2**10) / 2**10).astype(np.float32)
        elif name == "weights":
            mantissa, exponent = np.frexp(values)
            short[name] = np.ldexp(np.round(mantissa * 2**12) / 2**12, exponent).astype(
                np.float32
            )
        else:
            short[name] = values.astype(np.float32)
    return short


def standardized_chunks(
    samples: SampleRows,
    bank_tables: Mapping[str, pd.DataFrame | Mapping[str, np.ndarray]],
    standardizer: Standardizer,
    *,
    seed: int,
    n_rows: int = ROWS_PER_CHUNK,
) -> Iterator[dict[str, Any]]:
    """Yield all columns of ``samples`` of some rows, one bank after the other.

    Parameters
    ----------
    samples : SampleRows
    bank_tables : mapping
        Intrinsic parameters by bank id, one row per waveform.
    standardizer : Standardizer
    seed : int
        The run's seed. The distance of a row depends on it and on the row's place among
        these rows only.
    n_rows : int
        Rows per chunk.
    """
    rng = generator(seed, "d_luminosity")
    last = None
    for k, rows in _bank_row_chunks(samples, n_rows):
        bank = samples.posterior.banks[k]
        if k != last:
            last = k
            order = np.argsort(bank.coherent_set.inds, kind="stable")
            inds = bank.coherent_set.inds[order]
            dt_linfree = bank.coherent_set.dt_linfree[order]
            table = bank_tables[bank.bank_id]
            intrinsic = standardizer.intrinsic(
                {name: np.asarray(table[name])[inds] for name in PARAMETERS}
            )
        columns = _sample_columns(samples, k, rows)
        positions = np.searchsorted(inds, columns["i"])
        yield standardizer.columns(
            columns, positions, intrinsic, dt_linfree[positions], rng.random(len(rows))
        )


def standardize(
    samples: SampleRows,
    bank_tables: Mapping[str, pd.DataFrame | Mapping[str, np.ndarray]],
    standardizer: Standardizer,
    *,
    seed: int,
) -> pd.DataFrame:
    """Return all columns of some rows as one frame; see :func:`standardized_chunks`."""
    return to_frame(standardized_chunks(samples, bank_tables, standardizer, seed=seed))


def to_frame(chunks: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Return chunks as one frame."""
    import pandas as pd

    frames = [
        pd.DataFrame(
            {k: v.value if isinstance(v, Repeated) else v for k, v in chunk.items()}
        )
        for chunk in chunks
    ]
    full = [frame for frame in frames if len(frame)]
    return pd.concat(full or frames[:1], ignore_index=True)


def _bank_row_chunks(samples: SampleRows, n_rows: int) -> Iterator[tuple[int, np.ndarray]]:
    empty = len(samples) == 0
    for k, rows in enumerate(samples.rows):
        # A table needs its columns even without rows, but once only.
        if len(rows) or (empty and k == 0):
            for chunk in _row_chunks(rows, n_rows):
                yield k, chunk


def _row_chunks(rows: np.ndarray, n_rows: int) -> Iterator[np.ndarray]:
    for start in range(0, max(len(rows), 1), n_rows):
        yield rows[start : start + n_rows]


def _bank_columns(
    bank: BankPosterior, rows: np.ndarray, row_weights: np.ndarray
) -> dict[str, Any]:
    members = bank.coherent_set
    return {
        "i": members.i[rows].astype(np.int64),
        "e": members.e[rows].astype(np.int64),
        "o": members.o[rows].astype(np.int64),
        "lnl_marginalized": bank.lnl_marginalized[rows],
        "ln_posterior": bank.ln_posterior[rows],
        "bestfit_lnlike": members.bestfit_lnlike[rows],
        "d_h_1Mpc": members.d_h[rows],
        "h_h_1Mpc": members.h_h[rows],
        "weights": row_weights,
    }


def _sample_columns(samples: SampleRows, k: int, rows: np.ndarray) -> dict[str, Any]:
    bank = samples.posterior.banks[k]
    row_weights = (
        np.ones(len(rows)) if samples.drawn else weights(samples.posterior, k, rows)
    )
    columns = _bank_columns(bank, rows, row_weights)
    columns["bank_id"] = bank.bank_id
    columns["ln_weight_unnormalized"] = columns["ln_posterior"] - np.log(bank.n_total)
    return columns
