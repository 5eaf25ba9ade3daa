"""Pieces of the page: its style, tables, pictures, numbers."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from ..errors import DotpeExecError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

_DPI = 150
STYLE = """
:root { color-scheme: light; --line: #d7dce2; --soft: #f4f6f8; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1rem; color: #1d2430; background: #fff;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { margin: .5rem 0 0; font-size: 1.7rem; overflow-wrap: anywhere; }
h2 { margin: 2.2rem 0 .6rem; border-bottom: 2px solid var(--line); font-size: 1.3rem; }
h3 { margin: 1.4rem 0 .5rem; font-size: 1.05rem; overflow-wrap: anywhere; }
.note { color: #566; font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.path { overflow-wrap: anywhere; min-width: 12rem; }
thead th { background: var(--soft); }
tbody th { font-weight: 500; }
.figures { display: grid; gap: 1.2rem; grid-template-columns:
  repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); }
figure { margin: 0; }
img { width: 100%; height: auto; display: block; }
figcaption { color: #566; font-size: .9rem; }
.finding { margin: .6rem 0; padding: .6rem .9rem; background: #fff6e5;
  border-left: 4px solid #e69f00; }
.good { background: #e9f6f0; border-color: #009e73; }
.unusable { background: #fdecea; border-color: #c0392b; }
.missing { padding: 1rem; color: #566; background: var(--soft); }
pre { overflow-x: auto; padding: .8rem; background: var(--soft); font-size: .85rem; }
summary { cursor: pointer; color: var(--accent); }
a { color: var(--accent); }
@media (prefers-color-scheme: dark) {
  :root { color-scheme: dark; --line: #3a4350; --soft: #232a33; --accent: #6cb6e8; }
  body { color: #dfe5ec; background: #171c22; }
  .note, figcaption, .missing { color: #a9b4c0; }
  .finding { color: #1d2430; }
  img { background: #fff; border-radius: .3rem; }
}
@media (max-width: 40rem) { th, td { padding: .25rem .45rem; }
  td.number { white-space: normal; } }
@media print { details { display: none; } figure { break-inside: avoid; } }
"""


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], numeric: bool = True
) -> str:
    """Return a table; all columns but the first hold numbers, or else text that wraps."""
    kind = "number" if numeric else "path"

    def line(cells: Sequence[str], tag: str) -> str:
        first, *rest = cells
        others = "".join(
            f'<{tag} class="{kind}">{escape(cell).replace(chr(10), "<br>")}</{tag}>'
            for cell in rest
        )
        return f'<tr><th scope="row">{escape(first)}</th>{others}</tr>'

    body = "".join(line(row, "td") for row in rows)
    return (
        f'<div class="scroll"><table><thead>{line(header, "th")}</thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def picture(draw: Callable[[], Figure], caption: str) -> str:
    """Return a figure with the picture inside, or the reason why there is none."""
    try:
        figure = draw()
    except (DotpeExecError, KeyError) as error:
        logger.warning("%s: not shown: %s", caption, error)
        inside = f'<div class="missing">Not shown: {escape(str(error))}</div>'
    else:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=_DPI)
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        inside = f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
    return f"<figure>{inside}<figcaption>{escape(caption)}.</figcaption></figure>"


def formatted(value: Any, form: str) -> str:
    if value is None:
        return "–"
    return f"{int(value) if form == 'd' else value:{form}}"


def text(value: Any) -> str:
    return "–" if value is None else str(value)
