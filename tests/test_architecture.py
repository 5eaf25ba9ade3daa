"""Imports point one way: computed from the imports themselves.

What is imported inside functions counts as well; what only a type checker sees does not.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "dotpe_exec"

# Rooms (packages and modules of the root) from the ground up: each may import what stands
# in the layers below its own, and itself.
LAYERS = (
    {"freed_memory", "gc_pause"},
    {
        "_lazy",
        "_version",
        "errors",
        "interrupts",
        "lean_cogwheel",
        "logged_prints",
        "types",
        "verdict",
        "warned",
    },
    {"validation"},
    {
        "atomic",
        "cache_folder",
        "digests",
        "machine",
        "npy_files",
        "optional",
        "seeds",
    },
    {"config", "executors", "kernels", "rundir"},
    {"waveforms"},
    {"cogwheel_bridge", "distance_table", "monitor", "profiling"},
    {"events"},
    {"derived"},
    {"loading"},
    {"banks"},
    {"run_prior", "stages"},
    {"adaptive"},
    {"inference", "report"},
    {"export", "tuning"},
    {"reweighting"},
    {"result"},
    {"campaign", "demo"},
    {"multicore"},
    {"cli"},
    {"__init__", "__main__"},
)
HEAVY = {"cogwheel", "lal", "lalsimulation", "matplotlib", "pandas", "pyarrow", "scipy"}


def imports_of(tree: ast.AST, within_function: bool = False) -> Iterator[tuple]:
    """Yield (level, module, names, within a function) of every import that is run."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((0, alias.name, [], within_function) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            yield node.level, node.module or "", names, within_function
        deeper = within_function or isinstance(node, ast.FunctionDef)
        yield from imports_of(node, deeper)


@functools.lru_cache
def graph(only_at_import: bool = False) -> tuple[dict[str, set], dict[str, set]]:
    """Return what each file imports of this package's files, and of other packages."""
    files = {
        path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.rglob("*.py")
    }
    own: dict[str, set] = {}
    foreign: dict[str, set] = {}
    for file in files:
        own[file], foreign[file] = set(), set()
        tree = ast.parse((ROOT / f"{file}.py").read_text(encoding="utf-8"))
        for level, module, names, within_function in imports_of(tree):
            if only_at_import and within_function:
                continue
            if not level:
                foreign[file].add(module.partition(".")[0])
                continue
            parts = file.split("/")[:-level] + (module.split(".") if module else [])
            for name in names or [""]:
                found = [
                    path
                    for tail in ([name], [name, "__init__"], [], ["__init__"])
                    if (path := "/".join([*parts, *tail])) in files
                ]
                own[file].update(found[:1])
    return own, foreign


def layer_of(file: str) -> int:
    room = file.partition("/")[0]
    found = [level for level, rooms in enumerate(LAYERS) if room in rooms]
    assert found, f"{room} has no place in LAYERS (and in docs/architecture.md?)"
    return found[0]


def test_no_import_points_upwards():
    own, _ = graph()
    wrong = [
        f"{file} imports {other}"
        for file, others in own.items()
        for other in others
        if file.partition("/")[0] != other.partition("/")[0]
        and layer_of(other) >= layer_of(file)
    ]
    assert wrong == []


def test_no_circle_of_files():
    own, _ = graph()
    left = {file: set(others) - {file} for file, others in own.items()}
    while free := [file for file, others in left.items() if not others & left.keys()]:
        for file in free:
            del left[file]
    assert sorted(left) == []


def test_kernels_import_numpy_and_numba_only():
    own, foreign = graph()
    kernels = [file for file in own if file.startswith("kernels/")]
    assert len(kernels) > 10
    for file in kernels:
        assert foreign[file] - sys.stdlib_module_names <= {"numpy", "numba"}, file
        assert all(other.startswith("kernels/") for other in own[file]), file


@pytest.mark.parametrize(
    "module",
    [
        "executors/worker",
        "stages/coherent_tasks",
        "stages/exact_tasks",
        "stages/extrinsic_tasks",
        "stages/incoherent_tasks",
    ],
)
def test_workers_import_nothing_heavy(module):
    own, foreign = graph(only_at_import=True)
    seen, waiting = set(), [module]
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        folders = file.split("/")[:-1]
        waiting += [f"{folder}/__init__" for folder in folders if folder]
        waiting += own[file]
    assert not any(file.startswith("cogwheel_bridge/") for file in seen)
    assert {name for file in seen for name in foreign[file]} & HEAVY == set()


def test_every_room_is_explained():
    page = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {path.name for path in ROOT.iterdir() if path.suffix == ".py"} | {
        f"{path.name}/" for path in ROOT.iterdir() if (path / "__init__.py").is_file()
    }
    assert [room for room in sorted(rooms) if f"`{room}`" not in page] == []


def test_every_room_stands_in_the_documentation_once():
    text = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = [path.name for path in ROOT.glob("*.py")]
    rooms += [f"{path.name}/" for path in ROOT.iterdir() if path.is_dir()]
    rooms = [room for room in rooms if not room.startswith("__pycache__")]
    table = [line.split("|")[2].strip() for line in text.splitlines() if line[:1] == "|"]
    entries = {room: table.count(f"`{room}`") for room in rooms}
    assert {room: n for room, n in entries.items() if n != 1} == {}
