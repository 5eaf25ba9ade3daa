"""Orders of long columns, faster than ``np.argsort``.

NumPy sorts plain numbers several times faster than it finds the order of numbers. So each
key is packed into one number together with its position, and these are sorted.
"""

from __future__ import annotations

import numpy as np

from .threaded_columns import sort


def stable_order(keys: np.ndarray) -> np.ndarray:
    """Return ``np.argsort(keys, kind="stable")`` of integers that are not negative."""
    n_bits = _bits(len(keys))
    if int(keys.max(initial=0)) >= 1 << (63 - n_bits):
        return np.argsort(keys, kind="stable")
    packed = (keys.astype(np.int64) << n_bits) | np.arange(len(keys))
    packed.sort()
    return packed & ((1 << n_bits) - 1)


def order_with_ties(
    values: np.ndarray, codes: np.ndarray, n_threads: int = 1
) -> np.ndarray:
    """Return ``np.lexsort((codes, values))`` for floats without NaN, codes not negative.

    Values are sorted as fractions of their range, to as many bits as there is room for
    beside the position. Where these agree the full values and the codes decide: seldom.
    """
    n_bits = _bits(len(values))
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    with np.errstate(all="ignore"):
        scale = (1 << min(62 - n_bits, 52)) / (high - low)
    if not (0 < scale < np.inf):  # all the same, infinite, or none
        return np.lexsort((codes, values))
    # Rounding never turns an order around, it only makes values agree.
    packed = ((values - low) * scale).astype(np.int64) << n_bits
    packed |= np.arange(len(values))
    sort(packed, n_threads)
    order = packed & ((1 << n_bits) - 1)
    packed >>= n_bits
    same = packed[1:] == packed[:-1]
    if same.any():
        tied = np.zeros(len(order), dtype=bool)
        tied[1:] = same
        tied[:-1] |= same
        order[tied] = _order_tied(order[tied], packed[tied], values, codes)
    return order


def _order_tied(
    rows: np.ndarray, groups: np.ndarray, values: np.ndarray, codes: np.ndarray
) -> np.ndarray:
    """Order rows, of ascending groups, within their group by value, then by code."""
    by_code = stable_order(codes[rows])
    rows = rows[by_code[stable_order(groups[by_code])]]
    value_r = values[rows]
    differ = (value_r[1:] != value_r[:-1]) & (groups[1:] == groups[:-1])
    if differ.any():
        mixed = np.isin(groups, groups[1:][differ])
        these = rows[mixed]
        rows[mixed] = these[np.lexsort((codes[these], values[these]))]
    return rows


def _bits(n: int) -> int:
    """Return how many bits positions among n take."""
    return max(n - 1, 1).bit_length()
