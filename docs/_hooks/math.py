"""Turn formulas into MathML when the site is built: pages need no script and no network."""

import html
import re

from latex2mathml.converter import convert

_FORMULA = re.compile(
    r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL
)


def on_page_content(content, **_):
    """Replace what the arithmatex extension marked."""

    def mathml(match):
        display = "block" if match[2] == "[" else "inline"
        return convert(html.unescape(match[3]), display=display)

    return _FORMULA.sub(mathml, content)
