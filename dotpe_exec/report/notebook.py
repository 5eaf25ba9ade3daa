"""Figures that show themselves as the last line of a notebook's cell."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.figure import Figure


class Picture(Figure):
    """A figure that belongs to no window and shows as a picture in notebooks."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=120)
        return buffer.getvalue()


def picture(**options: Any) -> Picture:
    """Return an empty figure; arguments as for :class:`matplotlib.figure.Figure`."""
    return Picture(**options)
