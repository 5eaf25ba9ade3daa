"""Types for which compiled functions are needed, so that they can be compiled ahead.

Numba compiles a function when it is first called, for the types of that call. The first
run on a machine would so compile everything in one process, in turn, each time when all
else waits for it. The types are always the same but for the number of modes; with the
list below any process can compile any function at any time. Functions that compiled
functions call are compiled along with them.

A test compares the list with what a run compiles, and prints the lines that are missing.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from .compiling import is_kept

INCOHERENT = """
interpolation.interpolate_modes c16[3] f8[2] f8[1] c16[3]
incoherent_loops.fill_waveforms f8[4]r f8[4]r i8 f8[1]r f8[1]r f8[1]r f8[5]
incoherent_loops.fill_norms f8[5] f8[6]r i8[2]r f8[6]
incoherent_loops.fill_screen f8[5] f8[6] f8[1]r f4[5]r f4[4]r f4[6] f8[3] f8[1]
incoherent_maximum.decide f8[5] f8[6] f4[6] f8[3] f8[1] f8[1]r f8 f8[5]r f8[4]r f8[3]r \
f8[3]r f4[3]r i8[1]r i8 f8 i8[1]r f8[2]
"""
"""What the first two stages of a run call, in the order in which they do.

A line is a function and its arguments: NumPy's codes of types, arrays with their number
of dimensions and r where they are read-only, s where they are strided; ``modes`` and
``orders`` are tuples, see :func:`.coherent_pairs.at_phase`.
"""

EXTRINSIC = """
distance._lnlike_marginalized f8[1] f8[1] f8[1]r f8[1]r f8[2]r f8 f8[1]
waveforms._shifts f8[2]r f8[2]r f8[1]r f8[1]r f8[1]r
waveforms._waveforms f8[4]r f8[4]r f8[1] f8[1] c16[4]
sky._consistent_samples i8[2] f8[1]s i8[1] i8[1] i8[1]
proposals._mixture_density i8[2] f8[3] f8[1]
extrinsic._marginalized_lnlike f4[3] f4[2] f4[2] f4[3] f8[1] i8[1] f4[2] f4[2] f4[2] f8 \
f8 f8
"""
"""What the extrinsic stage calls."""

COHERENT = """
coherent._store c16[2] i8 i8 i8[1]r i8[1]r f8[4] f8[5]
coherent_norms._fill_norms c16[4] f8[4]r f8[4]r i8[2]r f8[3] f8[4]
coherent._gather_lead f8[4] i8 i8[1]r i8[1] f4[3]
coherent_screen._interpolate f4[3] i4[2] f4[3] f4[2]
coherent_screen._reach f4[2] f4[2] f4[1] f4[1] f4 modes orders b1[2]
coherent_screen._reach_at_phases f4[2] f4[2] f4[1] f4[1] f4[2] f4[2] f4 modes orders b1[2]
coherent_screen._marked b1[2] i8 i8[1] i4 i4
coherent_pairs.pair_modes f8[4] f8[3]r i4[1] i4[1]
coherent_pairs.pair_norms f8[3] f8[2]r i4[1] i4[1]
coherent_pairs._pair_maxima f8[3] f8[2] f8[3]r modes orders
coherent_pairs._pair_values f8[3] f8[2] f8[3]r i4[1] modes orders
coherent_pairs._expand_pairs f8[3] f8[2] f8[3]r f8 modes orders
distance._sample_distance f8[1] f8[1] f8[1] f8 f8[1]
"""
"""What the last two stages call."""

WAVEFORMS = """
msa_angles.msa_constants f8 f8 f8[1] f8[1] f8
msa_angles._nutation f8[1] f8[1] f8[2] f8[2]
msa_angles._add_secular f8[1] f8[1] f8[2] f8[2]
cube_roots.cube_root f8
cube_roots.scaled_cubes f8[1] f8 f8
angle_rounding.choose_frequencies f8[1] i8[1] i8 i8 f8 i8
angle_rounding.compare_angles f8[2] f8[2] i8[1] i8
angle_rounding.put_angles f8[2] f8 f8 f8[2] i8[1] i8 i8 f8[2]
twist.n_frequencies_used c16[2]
twist.twist_up c16[2] i8[1] i8[1] i8[1] f8[3] f8[3] f8[2] f8[2] f8[2] f8 f8 f8[3] f8[3]
"""
"""What making precessing waveforms the fast way calls."""


def compile_share(
    n_modes: int,
    n_orders: int,
    share: int = 0,
    n_shares: int = 1,
    *,
    waveforms: bool = False,
) -> None:
    """Compile one in so many of the functions, or load them from the cache on disk.

    Parameters
    ----------
    n_modes, n_orders : int
        Number of modes, and of phase orders, 0 included.
    share, n_shares : int
        The first is one of 0, 1, ..., n_shares - 1.
    waveforms : bool
        Begin with those that make waveforms.
    """
    lines = WAVEFORMS if waveforms else ""
    # One process is not ahead for long. When the run reaches the extrinsic stage, it
    # compiles what that needs, and does not wait for each function in turn.
    alone = INCOHERENT + COHERENT + EXTRINSIC
    lines += alone if n_shares == 1 else INCOHERENT + EXTRINSIC + COHERENT
    for function, types in list(signatures(lines, n_modes, n_orders))[share::n_shares]:
        _compiled(function).compile(types)


def load_kept(n_modes: int, n_orders: int, *, waveforms: bool = False) -> None:
    """Load the functions whose compiled code is on disk, and compile nothing.

    Parameters
    ----------
    n_modes, n_orders : int
        Number of modes, and of phase orders, 0 included.
    waveforms : bool
        Also those that make waveforms.
    """
    lines = (WAVEFORMS if waveforms else "") + INCOHERENT + EXTRINSIC + COHERENT
    for function, types in signatures(lines, n_modes, n_orders):
        compiled = _compiled(function)
        if is_kept(compiled, types):
            compiled.compile(types)


def _compiled(function: str) -> Any:
    module, _, name = function.partition(".")
    return getattr(importlib.import_module(f".{module}", __package__), name)


def signatures(
    lines: str, n_modes: int, n_orders: int
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield ``"module.function"`` and the types of its arguments, for each line."""
    from numba import types

    tuples = {
        "modes": types.UniTuple(types.int64, n_modes),
        "orders": types.UniTuple(types.int64, n_orders - 1)
        if n_orders > 1
        else types.Tuple(()),
    }
    for line in filter(None, lines.splitlines()):
        function, *codes = line.split()
        yield (
            function,
            tuple(tuples[code] if code in tuples else _type(code) for code in codes),
        )


def _type(code: str) -> Any:
    """Return numba's type of ``f8``, or ``f8[2]r``: see ``INCOHERENT``."""
    import numpy as np
    from numba import from_dtype, types

    scalar, _, dimensions = code.partition("[")
    dtype = from_dtype(np.dtype(scalar))
    if not dimensions:
        return dtype
    n_dimensions, _, how = dimensions.partition("]")
    return types.Array(dtype, int(n_dimensions), "A" if how == "s" else "C", how == "r")
