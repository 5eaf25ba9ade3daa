"""The templates of pages, and pictures that a page holds itself."""

from __future__ import annotations

import base64
import functools
import io
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import DotpeExecError

if TYPE_CHECKING:
    import jinja2
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

_DPI = 150


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dotpe_exec", "resources"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["held"] = held
    return environment


_TOGETHER = re.compile(r"\[[^][]*\]|\([^()]*\)|\S+ ± \S+")


def held(text: str) -> str:
    """Return text whose numbers and intervals are not broken over lines."""
    return _TOGETHER.sub(lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)


def render_template(template: str, /, **context: Any) -> str:
    """Return a page; everything in the context is escaped.

    Parameters
    ----------
    template : str
        A file of ``dotpe_exec/resources``.
    **context
        What the template asks for; what it does not get is an error.
    """
    return _environment().get_template(template).render(**context)


@dataclass(frozen=True)
class Picture:
    """A picture with its caption, or why there is none.

    Parameters
    ----------
    caption : str
    source : str
        Address that holds the picture itself; empty without one.
    missing : str
        Why there is none.
    wide : bool
        Whether it takes the page's width.
    """

    caption: str
    source: str = ""
    missing: str = ""
    wide: bool = False


def picture(draw: Callable[[], Figure], caption: str, *, wide: bool = False) -> Picture:
    """Draw a picture for a page; what it needs and is not there is the reason for none."""
    try:
        figure = draw()
    except (DotpeExecError, KeyError) as error:
        logger.warning("%s: not shown: %s", caption, error)
        return Picture(caption, missing=str(error), wide=wide)
    return Picture(caption, source=embedded(figure), wide=wide)


def embedded(figure: Figure, dpi: int | None = None) -> str:
    """Return a figure as the address of an image that a page holds itself."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi or _DPI)
    return data_address(buffer.getvalue(), "image/png")


def data_address(content: bytes, kind: str) -> str:
    """Return bytes as an address of themselves."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
