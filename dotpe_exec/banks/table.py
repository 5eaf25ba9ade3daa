"""The table of a bank: intrinsic parameters and prior weights, one row per waveform."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import BankError
from ..npy_files import reading
from ..waveforms.parameters import PARAMETERS

#: Columns that a bank's table must have.
TABLE_COLUMNS = (*PARAMETERS, "log_prior_weights")


#: ln weights beyond it are lost in rounding when they are summed up with likelihoods.
LARGEST_LOG_WEIGHT = 1e6


def read_table_columns(
    path: Path, names: tuple[str, ...] = TABLE_COLUMNS
) -> dict[str, np.ndarray]:
    """Return columns of a bank's table as float64 arrays.

    Raises
    ------
    MissingFileError
    BankError
        The file is damaged, or a column is missing or does not hold numbers.
    """
    import pyarrow as pa
    from pyarrow import feather

    with reading(path):
        try:
            with path.open("rb") as file:
                table = feather.read_table(file, memory_map=False)
            # Arrow trusts the lengths of its buffers until asked to check them.
            table.validate(full=True)
        except OSError as error:
            if error.errno is not None:
                raise
            raise ValueError(f"not a feather file ({error})") from error
        except MemoryError as error:  # Arrow's is one, too
            raise BankError(
                f"{path} cannot be read: it takes more memory than there is (or is "
                "damaged, and asks for more than it holds)"
            ) from error
        except Exception as error:
            # Arrow raises errors of many classes on damaged files.
            raise ValueError(f"not a feather file ({error})") from error
    columns = {}
    for name in names:
        if table.column_names.count(name) != 1:
            found = "no" if name not in table.column_names else "more than one"
            raise BankError(f"{path} has {found} column {name}, expected one")
        column = table.column(name)
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            raise BankError(f"{path}: column {name} is {column.type}, expected numbers")
        columns[name] = column.to_numpy().astype(np.float64)
    return columns


def check_table_columns(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Check the values of a bank's table: rows there, finite, masses positive.

    Raises
    ------
    BankError
        Naming file, column and row.
    """
    if len(columns["m1"]) == 0:
        raise BankError(f"{path} has no rows, expected one for each waveform")
    for name, column in columns.items():
        bad = np.flatnonzero(~np.isfinite(column))
        if len(bad):
            raise BankError(
                f"{path}: {name} is {column[bad[0]]} in row {bad[0]}, expected a finite "
                "number"
            )
    weights = columns.get("log_prior_weights", np.zeros(0))
    bad = np.flatnonzero(np.abs(weights) > LARGEST_LOG_WEIGHT)
    if len(bad):
        raise BankError(
            f"{path}: log_prior_weights is {weights[bad[0]]:g} in row {bad[0]}, expected "
            f"at most {LARGEST_LOG_WEIGHT:.0e} either way"
        )
    for name in ("m1", "m2"):
        bad = np.flatnonzero(columns[name] <= 0)
        if len(bad):
            raise BankError(
                f"{path}: {name} is {columns[name][bad[0]]} in row {bad[0]}, expected a "
                "positive mass"
            )
