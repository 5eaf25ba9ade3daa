"""Warnings are shown, or collected by the thread whose work they are about."""

from __future__ import annotations

import threading
import warnings

import pytest

from dotpe_exec.warned import collected_warnings, warn


def test_a_warning_names_the_line_that_asked_for_it():
    with pytest.warns(UserWarning, match="of this line") as caught:
        warn("of this line")
    assert caught[0].filename == __file__


def test_the_level_is_that_of_the_standard_library():
    def inner(function):
        function("of the caller", stacklevel=2)

    with pytest.warns(UserWarning, match="of the caller") as caught:
        inner(warn)
        inner(warnings.warn)
    assert len({one.lineno for one in caught}) == 2
    assert all(one.filename == __file__ for one in caught)


def test_collected_warnings_are_those_of_this_thread_alone():
    seen = []
    with collected_warnings() as kept, warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        warn("mine")
        with collected_warnings() as inner:
            warn("of a part")
        other = threading.Thread(target=lambda: (warn("of another"), seen.append(1)))
        other.start()
        other.join()
    assert (kept, inner) == (["mine"], ["of a part"])
    assert seen == [1] and [str(one.message) for one in shown] == ["of another"]
