"""Long columns worked on range by range, by several threads of one process.

NumPy lets other threads run while it computes on plain numbers, so that what the driving
process does with 10^7 samples is shared among threads once its workers are idle.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

ROWS_AT_A_TIME = 2**18
_SAMPLED = 2**12  # numbers that tell where to divide others


def for_ranges(function: Callable[[slice], None], n: int, n_threads: int) -> None:
    """Call a function with slices that together cover ``range(n)``, in any order.

    Parameters
    ----------
    function : callable
        Its effect on different slices must be independent.
    n : int
    n_threads : int
    """
    slices = [slice(k, k + ROWS_AT_A_TIME) for k in range(0, n, ROWS_AT_A_TIME)]
    if n_threads == 1 or len(slices) < 2:
        for some in slices:
            function(some)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        for future in [pool.submit(function, some) for some in slices]:
            future.result()


def take(column: np.ndarray, rows: np.ndarray, n_threads: int) -> np.ndarray:
    """Return ``column[rows]``, rows not negative."""
    taken = np.empty(len(rows), column.dtype)

    def fill(some: slice) -> None:
        # With "raise" NumPy would first write into a copy of the output.
        np.take(column, rows[some], out=taken[some], mode="clip")

    for_ranges(fill, len(rows), n_threads)
    return taken


def sort(numbers: np.ndarray, n_threads: int) -> None:
    """Sort in place, as ``numbers.sort()``."""
    if n_threads == 1 or len(numbers) <= ROWS_AT_A_TIME:
        numbers.sort()
        return
    # Each thread sorts the numbers between two that a sample says are far enough apart.
    sample = np.sort(numbers[:: len(numbers) // _SAMPLED])
    edges = sample[np.arange(1, n_threads) * len(sample) // n_threads]

    def between(k: int) -> np.ndarray:
        some = numbers if k == 0 else numbers[numbers >= edges[k - 1]]
        some = some[some < edges[k]] if k < len(edges) else some
        some.sort()
        return some

    with ThreadPoolExecutor(n_threads) as pool:
        np.concatenate(list(pool.map(between, range(n_threads))), out=numbers)
