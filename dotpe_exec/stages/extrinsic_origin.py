"""Which reference waveform extrinsic samples were drawn with.

Their arrival times are those of linear-free waveforms, shifted to be in phase with the
reference waveform: with another reference the same times mean another place in the data.
So the file says whose they are, in the metadata of its schema.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..atomic import atomic_write
from ..errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_KEY = b"dotpe_exec.reference"
# What the shape of the reference's (2, 2) mode depends on, and what counts as the same.
_TOLERANCES = {
    "m1": 0.02, "m2": 0.02, "s1x_n": 0.01, "s1y_n": 0.01, "s1z": 0.01, "s2x_n": 0.01,
    "s2y_n": 0.01, "s2z": 0.01, "iota": 0.01, "f_ref": 1e-3,
}  # fmt: skip


def write_extrinsic_table(
    path: str | os.PathLike, table: pd.DataFrame, par_dic_0: Mapping[str, float] | None
) -> None:
    """Write extrinsic samples atomically, with the reference that they belong to.

    Parameters
    ----------
    path : path
    table : pandas.DataFrame
    par_dic_0 : dict or None
        Parameters of the reference waveform; None where it is not known.
    """
    import pyarrow
    from pyarrow import feather

    content = pyarrow.Table.from_pandas(table.reset_index(drop=True), preserve_index=False)
    if par_dic_0 is not None:
        shape = {name: float(par_dic_0.get(name, 0.0)) for name in _TOLERANCES}
        metadata = {**(content.schema.metadata or {}), _KEY: json.dumps(shape).encode()}
        content = content.replace_schema_metadata(metadata)
    with atomic_write(path) as temporary:
        feather.write_feather(content, str(temporary))


def check_origin(path: str | os.PathLike, par_dic_0: Mapping[str, float]) -> bool:
    """Refuse samples that were drawn with another reference waveform.

    Parameters
    ----------
    path : path
        The table.
    par_dic_0 : dict
        Parameters of this run's reference waveform.

    Returns
    -------
    bool
        Whether the file says whose samples they are; others' files do not.

    Raises
    ------
    InputError
    """
    origin = _origin(path)
    if origin is None:
        return False
    for name, tolerance in _TOLERANCES.items():
        ours, theirs = par_dic_0.get(name, 0.0), origin.get(name)
        if not isinstance(theirs, int | float) or not abs(theirs - ours) <= tolerance:
            raise InputError(
                f"extrinsic_samples: {path} was drawn with another reference waveform, "
                f"whose {name} is {theirs} (this run's: {ours:g}); arrival times belong to "
                "the reference: give the par_dic_0 of the run that drew them, or draw anew"
            )
    return True


def _origin(path: str | os.PathLike) -> dict | None:
    import pyarrow

    try:
        with pyarrow.OSFile(os.fspath(path), "rb") as file:
            metadata = pyarrow.ipc.open_file(file).schema.metadata or {}
        origin = json.loads(metadata[_KEY])
    except (pyarrow.ArrowException, OSError, KeyError, ValueError):
        return None  # Another program's, or of an older version
    return origin if isinstance(origin, dict) else None
