"""Ways to damage the files that a run reads: their bytes, and what they hold.

None changes what a file means, so that an undamaged run's result is the only right one.
"""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import feather

Change = Callable[[Any], Any]

NOT_NUMBERS = [None, True, "", "text", [], [1.0], {}, {"a": 1}, float("nan"), float("inf"),
               -float("inf"), 10**400, "1e400"]  # fmt: skip


def damage_bytes(path: Path, rng: random.Random) -> str:
    """Damage a few bytes, most likely near either end, where formats keep their order."""
    content = path.read_bytes()
    span = rng.choice([len(content), min(200, len(content))])
    at = rng.randrange(span) + rng.choice([0, len(content) - span])
    data = rng.randbytes(rng.randint(1, 24))
    kinds = {
        "cut": content[:at],
        "flip": content[:at] + bytes([content[at] ^ (data[0] or 1)]) + content[at + 1 :],
        "insert": content[:at] + data + content[at:],
        "append": content + data,
        "replace": content[:at] + data + content[at + len(data) :],
        "zeros": content[:at] + bytes(min(4096, len(content) - at)) + content[at + 4096 :],
        "empty": b"",
        "doubled": content + content,
    }
    kind = rng.choice(list(kinds))
    path.write_bytes(kinds[kind])
    return f"{path.name}: {kind} at {at}"


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def promising(array: np.ndarray, rng: random.Random) -> bytes:
    """An array whose header promises far more than there is."""
    header = str(
        {
            "descr": rng.choice([array.dtype.str, "|O", "<U4000000000"]),
            "fortran_order": rng.random() < 0.5,
            "shape": rng.choice([(2**40,), (2**62, 2**62), (-1, 5), (10**30,), (3, 0, 2)]),
        }
    )
    header = header.ljust(245) + "\n"
    magic = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    return magic + header.encode() + array.tobytes()


def put(value: float) -> Change:
    def change(array):
        array = np.array(array)
        array.flat[array.size // 3] = value
        return array

    return change


OF_ARRAYS: dict[str, Change] = {
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "Fortran order": np.asfortranarray,
    "objects": lambda a: a.astype(object),
    "text": lambda a: a.astype(str),
    "bytes": lambda a: a.astype(str).astype(np.bytes_),
    "dates": lambda a: np.zeros(a.shape, "M8[s]"),
    "records": lambda a: np.zeros(a.shape, [("a", "f8")]),
    "truths": lambda a: np.ones(a.shape, bool),
    "integers": lambda a: np.ones(a.shape, np.int64),
    "single precision": lambda a: a.astype(np.complex64 if a.dtype.kind == "c" else "f4"),
    "more dimensions": lambda a: a[None],
    "fewer dimensions": lambda a: a.reshape(-1)[: len(a)],
    "transposed": lambda a: a.T[..., None],
    "cut": lambda a: a[..., :-1],
    "cut rows": lambda a: a[:-1],
    "doubled": lambda a: np.concatenate([a, a]),
    "empty": lambda a: a[:0],
    "NaN": put(np.nan),
    "infinity": put(np.inf),
    "scalar": lambda a: np.asarray(a.reshape(-1)[-1]),
}


def _negated(array: np.ndarray) -> np.ndarray:
    return -array


def _partly_negated(array: np.ndarray) -> np.ndarray:
    return np.where(np.arange(array.shape[-1]) % 3 == 0, -array, array)


def _disordered(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[[5, 6]] = array[[6, 5]]
    return array


OF_ONE: dict[str, dict[str, Change]] = {
    "wht_filter": {
        "negative": _negated,
        "partly negative": _partly_negated,
        "complex": lambda a: a + 0j,
        "zero": lambda a: 0 * a,
        "dead detector": lambda a: a * np.array([[1.0], [0.0]]),
        "huge": lambda a: a * 1e300,
        "tiny": lambda a: a * 1e-300,
    },
    "strain": {
        "real": lambda a: a.real,
        "zero": lambda a: 0 * a,
        "one detector zero": lambda a: a * np.array([[0.0], [1.0]]),
        "huge": lambda a: a * 1e200,
    },
    "frequencies": {
        "descending": lambda a: a[::-1],
        "disordered": _disordered,
        "all the same": lambda a: 0 * a + 20.0,
        "doubled steps": lambda a: np.repeat(a[::2], 2)[: len(a)],
        "complex": lambda a: a + 0j,
        "negative": lambda a: -a,
    },
    "detector_names": {
        "twice": lambda a: np.array(["H", "H"]),
        "unknown": lambda a: np.array(["H", "Q"]),
        "as bytes": lambda a: a.astype(np.bytes_),
        "one text": lambda a: np.array("HL"),
        "more": lambda a: np.array(["H", "L", "V"]),
        "of the network": lambda a: np.array(["H1", "L1"]),
    },
}


def restructure_event(path: Path, rng: random.Random) -> str:
    """Write an event's arrays otherwise."""
    with np.load(path) as archive:
        content = dict(archive)
    members = {key: npy(array) for key, array in content.items()}
    key = rng.choice(["strain", "wht_filter", "frequencies", "detector_names", *members])
    array = content[key]
    kind = rng.choice(
        ["array", "array", "array", "promise", "lost", "twice", "psd", "other form"]
    )
    compression = zipfile.ZIP_STORED
    if kind == "array" and array.ndim == 0:
        value = rng.choice([v for v in NOT_NUMBERS if not isinstance(v, dict)])
        value = np.asarray(value, dtype=object) if value == 10**400 else np.asarray(value)
        members[key] = npy(value)
        kind = f"{value!r}"
    elif kind == "array":
        changes = {
            name: change
            for name, change in OF_ARRAYS.items()
            if array.dtype.kind in "fc" or name in ("more dimensions", "cut", "doubled")
        }
        changes = rng.choice([changes, {**OF_ONE.get(key, changes)}])
        kind = rng.choice(list(changes))
        members[key] = npy(changes[kind](array))
    elif kind == "promise":
        members[key] = promising(array, rng)
    elif kind == "lost":
        del members[key]
    elif kind == "psd":
        # As early versions of cogwheel wrote it.
        psd = np.full(content["wht_filter"].shape, 4.0)
        value = rng.choice([4.0, 0.0, -4.0, np.nan, np.inf])
        psd[0, 200] = value
        members["psd"] = npy(psd)
        members["fd_filter"] = npy(2 * content["wht_filter"])
        del members["wht_filter"]
        key, kind = "psd", f"{value}"
    elif kind == "other form":
        compression = zipfile.ZIP_DEFLATED
        members = {
            **dict(sorted(members.items(), reverse=True)),
            "foreign": npy(np.array([{}], dtype=object)),
        }
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
        if kind == "twice":
            archive.writestr(f"{key}.npy", npy(np.roll(array, 1)))
    return f"{key}: {kind}"


OF_COLUMNS: dict[str, Change] = {
    "text": lambda c: c.cast(pa.string()),
    "single precision": lambda c: c.cast(pa.float32()),
    "truths": lambda c: pa.array([True] * len(c)),
    "dates": lambda c: pa.array([0] * len(c), pa.timestamp("s")),
    "lists": lambda c: pa.array([[value] for value in c.to_pylist()]),
    "objects": lambda c: pa.array([{"a": value} for value in c.to_pylist()]),
    "categories": lambda c: c.dictionary_encode(),
    "binary": lambda c: pa.array([b"\x00" * 8] * len(c)),
    "nothing": lambda c: pa.nulls(len(c)),
    "a hole": lambda c: pa.array([None, *c.to_pylist()[1:]], c.type),
    "NaN": lambda c: pa.array([*c.to_pylist()[:-1], float("nan")]),
    "infinity": lambda c: pa.array([float("inf"), *c.to_pylist()[1:]]),
    "huge": lambda c: pa.array([1e308, *c.to_pylist()[1:]]),
}


def restructure_table(path: Path, rng: random.Random) -> str:
    """Write a table's columns otherwise."""
    table = feather.read_table(path)
    names = table.column_names
    name = rng.choice(names)
    at = names.index(name)
    compression = rng.choice(["uncompressed", "lz4", "zstd"])
    kind = rng.choice(
        ["column", "column", "lost", "renamed", "twice", "order", "rows", "no rows",
         "chunks", "metadata"]
    )  # fmt: skip
    options: dict[str, Any] = {"compression": compression}
    if kind == "column":
        kind = rng.choice(list(OF_COLUMNS))
        if kind == "huge" and name == "t_geocenter":
            kind = "NaN"
        column = OF_COLUMNS[kind](table.column(at).combine_chunks())
        table = table.set_column(at, name, column)
    elif kind == "lost":
        table = table.drop_columns([name])
    elif kind == "renamed":
        table = table.rename_columns([n + " " * (n == name) for n in names])
    elif kind == "twice":
        table = table.append_column(name, table.column(rng.randrange(len(names))))
    elif kind == "order":
        table = table.select(rng.sample(names, len(names)))
    elif kind == "rows":
        table = table.slice(0, rng.randrange(1, len(table)))
    elif kind == "no rows":
        table = table.slice(0, 0)
    elif kind == "chunks":
        options["chunksize"] = rng.randint(1, 9)
    else:
        kind, options = "without metadata", {}
        table = table.replace_schema_metadata(None)
    feather.write_feather(table, str(path), **options)
    return f"{name}: {kind} ({compression})"


def restructure_block(path: Path, rng: random.Random) -> str:
    """Write a block of waveforms otherwise, or exchange it with its other half."""
    array = np.load(path)
    kind = rng.choice([*OF_ARRAYS, "promise", "promise", "exchanged", "archive"])
    if kind == "promise":
        path.write_bytes(promising(array, rng))
    elif kind == "exchanged":
        other = path.with_name(
            path.name.replace("amplitudes", "PHASE")
            .replace("phase", "amplitudes")
            .replace("PHASE", "phase")
        )
        mine, theirs = path.read_bytes(), other.read_bytes()
        path.write_bytes(theirs)
        other.write_bytes(mine)
    elif kind == "archive":
        np.savez(path.open("wb"), array)
    else:
        path.write_bytes(npy(OF_ARRAYS[kind](array)))
    return f"{path.name}: {kind}"


def restructure_json(path: Path, rng: random.Random) -> str:
    """Write JSON otherwise, or put in place of a value what cannot be one."""
    content = json.loads(path.read_text())
    key = rng.choice(list(content))
    kind = rng.choice(
        ["value", "value", "value", "lost", "order", "twice", "list", "encoding", "deep",
         "mark"]
    )  # fmt: skip
    text = json.dumps(content)
    encoding = "utf-8"
    if kind == "value":
        value = rng.choice([v for v in NOT_NUMBERS if v is not None])
        text = json.dumps(content | {key: value})
        kind = f"{value!r}"[:20]
    elif kind == "lost":
        text = json.dumps({k: v for k, v in content.items() if k != key})
    elif kind == "order":
        text = json.dumps(dict(rng.sample(list(content.items()), len(content))), indent=7)
    elif kind == "twice":
        text = text[:-1] + f", {json.dumps(key)}: {json.dumps(content[key])}}}"
    elif kind == "list":
        text = json.dumps([content])
    elif kind == "encoding":
        encoding = rng.choice(["utf-16", "utf-32", "utf-8-sig"])
    elif kind == "deep":
        text = "[" * 100_000
    else:
        text = text + rng.choice(["", "\n\n", "}", "\x00", ","])
    path.write_text(text, encoding=encoding)
    return f"{path.name}, {key}: {kind}"
