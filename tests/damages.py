"""Strategies of tests that feed damaged files to readers."""

from __future__ import annotations

from hypothesis import strategies as st

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


@st.composite
def damages(draw):
    """A function from the bytes of a file to damaged ones."""
    kind = draw(st.sampled_from(["cut", "flip", "insert", "append", "replace"]))
    where = draw(st.floats(0, 1, exclude_max=True))
    data = draw(st.binary(min_size=1, max_size=24))
    # Most of what a parser reads is at either end.
    near = draw(st.sampled_from([None, 150, -150]))

    def damage(content):
        span = len(content) if near is None else min(abs(near), len(content))
        at = int(where * span) + (len(content) - span if near == -150 else 0)
        if kind == "cut":
            return content[:at]
        if kind == "append":
            return content + data
        if kind == "insert":
            return content[:at] + data + content[at:]
        if kind == "replace":
            return content[:at] + data + content[at + len(data) :]
        return content[:at] + bytes([content[at] ^ data[0]]) + content[at + 1 :]

    return damage
