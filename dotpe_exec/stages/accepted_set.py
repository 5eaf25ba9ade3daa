"""The accepted set of one bank: the best (i, e, o), collected as they come.

What is kept is the top of a total order (bestfit_lnlike descending, then i, e, o), above
a threshold relative to the best. Both rules can be applied to any part at any time, so
the result depends neither on the order of arrival nor on when the buffers are cleaned.
"""

from __future__ import annotations

import math

import numpy as np

from ..freed_memory import return_freed_memory
from .ordering import order_with_ties
from .threaded_columns import take

# Buffers are cleaned when they hold this much more than what may be kept.
_SLACK = 1.25
_SMALLEST_BUFFER = 100_000


class AcceptedSet:
    """Members of the accepted set so far, in typed arrays (32 bytes per sample).

    Parameters
    ----------
    max_drop : float
        Samples must lie above the best minus this.
    size_limit : int
        At most this many are kept.
    """

    def __init__(self, max_drop: float, size_limit: int):
        self._max_drop = max_drop
        self._size_limit = size_limit
        self._best = -math.inf
        self._floor = -math.inf  # of the size limit, or a hint from outside
        self._chunks: list[tuple[np.ndarray, ...]] = []
        self._size = 0
        self._clean_size = 0

    @property
    def floor(self) -> float:
        """Samples that do not exceed this cannot belong to the set."""
        return max(self._floor, self._best - self._max_drop)

    def hint(self, lnlike: float) -> None:
        """Learn that the bank has a sample about as likely as this.

        It raises the floor, by a margin less than it could, and decides nothing.
        """
        self._floor = max(self._floor, lnlike - self._max_drop - 1e-6 * (1 + abs(lnlike)))

    def add(
        self, lnlike_s: np.ndarray, code_s: np.ndarray, dh_s: np.ndarray, hh_s: np.ndarray
    ) -> None:
        """Take in samples.

        Parameters
        ----------
        lnlike_s : (n,) float
            bestfit_lnlike.
        code_s : (n,) int64
            Unique, ascending in the order (i, e, o).
        dh_s, hh_s : (n,) float
        """
        if not len(lnlike_s):
            return
        self._best = max(self._best, float(lnlike_s.max()))
        keep = lnlike_s > self.floor
        self._chunks.append((lnlike_s[keep], code_s[keep], dh_s[keep], hh_s[keep]))
        self._size += int(keep.sum())
        # Cleaning costs time in proportion to the size: wait until it has grown.
        trigger = max(
            _SLACK * min(self._clean_size, self._size_limit),
            min(_SLACK * self._size_limit, _SMALLEST_BUFFER),
        )
        if self._size > trigger:
            self._clean()

    def finish(
        self, n_threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return lnlike, code, dh, hh of the set, ascending in lnlike, then in code.

        The collection is empty afterwards.
        """
        self._clean()
        columns = []
        for dtype in (float, np.int64, float, float):
            parts = [chunk[0] for chunk in self._chunks]
            self._chunks = [chunk[1:] for chunk in self._chunks]
            columns.append(np.concatenate([np.empty(0, dtype), *parts]))
        self._chunks = []
        return_freed_memory()  # the pieces
        order = order_with_ties(columns[0], columns[1], n_threads)
        for k in range(len(columns)):
            columns[k] = take(columns[k], order, n_threads)
        lnlike_s, code_s, dh_s, hh_s = columns
        return lnlike_s, code_s, dh_s, hh_s

    def _clean(self) -> None:
        """Drop what cannot belong to the set any more."""
        floor = self.floor
        self._keep([chunk[0] > floor for chunk in self._chunks])
        if self._size > self._size_limit:
            self._apply_size_limit()
        self._clean_size = self._size

    def _apply_size_limit(self) -> None:
        lnlike_s = np.concatenate([chunk[0] for chunk in self._chunks])
        n_dropped = len(lnlike_s) - self._size_limit
        lnlike_s.partition(n_dropped)
        lowest = float(lnlike_s[n_dropped])
        # Of those that are equal to the lowest one kept, the first in order stay.
        n_tied = self._size_limit - int((lnlike_s > lowest).sum())
        del lnlike_s
        tied = np.concatenate(
            [code_s[lnl_s == lowest] for lnl_s, code_s, *_ in self._chunks]
        )
        tied.partition(n_tied - 1)
        last = tied[n_tied - 1]
        self._keep(
            [
                (lnl_s > lowest) | ((lnl_s == lowest) & (code_s <= last))
                for lnl_s, code_s, *_ in self._chunks
            ]
        )
        return_freed_memory()  # as much as is kept, in pieces
        # Others equal to the lowest may still come before the last of them.
        self._floor = max(self._floor, float(np.nextafter(lowest, -np.inf)))

    def _keep(self, masks: list[np.ndarray]) -> None:
        for k, keep in enumerate(masks):
            if not keep.all():
                self._chunks[k] = tuple(column[keep] for column in self._chunks[k])
        self._chunks = [chunk for chunk in self._chunks if len(chunk[0])]
        self._size = sum(len(chunk[0]) for chunk in self._chunks)
