"""Tables too wide to be in memory whole: written in chunks, each a dictionary of columns.

The files are Arrow IPC files (feather version 2) of several record batches, which
``pandas.read_feather`` reads as one frame.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ..freed_memory import return_freed_memory

ROWS_PER_CHUNK = 2**17
"""Rows of a chunk: 50 columns of it take 52 MB."""


@dataclass(frozen=True)
class Repeated:
    """A column that repeats one text, of few that the table has: read as categories."""

    value: str
    among: tuple[str, ...]


def write_chunks(path: str | os.PathLike, chunks: Iterable[Mapping[str, object]]) -> int:
    """Write chunks of columns as one feather file.

    Parameters
    ----------
    path : path
        Written as it is; see :func:`dotpe_exec.atomic.atomic_write` for a safe one.
    chunks : iterable of dict
        The same columns in each: arrays of numbers of equal length, or a string (or
        :class:`Repeated`), which stands for a column that repeats it. At least one chunk,
        which may be empty.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    ValueError
        No chunk at all, or chunks that differ in their columns.
    """
    import pyarrow as pa

    n_rows = 0
    writer = schema = None
    # A sixth smaller than LZ4, at no cost that shows.
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1))
    try:
        for chunk in chunks:
            batch = _record_batch(chunk)
            if writer is None:
                schema = batch.schema
                writer = pa.ipc.new_file(os.fspath(path), schema, options=options)
            elif batch.schema != schema:
                raise ValueError("chunks of one table differ in their columns")
            writer.write_batch(batch)
            n_rows += len(batch)
    finally:
        if writer is not None:
            writer.close()
        pa.default_memory_pool().release_unused()
        return_freed_memory()  # a tenth of a gigabyte of columns and their buffers
    if writer is None:
        raise ValueError("a table needs at least one chunk, empty or not")
    return n_rows


def _record_batch(chunk: Mapping[str, object]):
    import pyarrow as pa

    n_rows = next(len(value) for value in chunk.values() if isinstance(value, np.ndarray))
    columns = {}
    for name, value in chunk.items():
        if isinstance(value, Repeated):
            codes = pa.array(np.full(n_rows, value.among.index(value.value), np.int16))
            columns[name] = pa.DictionaryArray.from_arrays(codes, pa.array(value.among))
        elif isinstance(value, np.ndarray):
            columns[name] = pa.array(value)
        else:
            columns[name] = pa.repeat(pa.scalar(value, pa.string()), n_rows)
    return pa.record_batch(list(columns.values()), names=list(columns))
