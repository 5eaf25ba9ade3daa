"""Damaged event files are named before work starts, and nothing changes."""

from __future__ import annotations

import json

import numpy as np
from damaged_files import (
    Damage,
    Pickled,
    each,
    named,
    replace_by_folder,
    rewrite_event,
    truncate,
    with_value,
    write,
)

from dotpe_exec.errors import BankError, EventError, InputError, MissingFileError


def old_form_with_infinite_psd(folder):
    """As early versions of cogwheel wrote it, with a hole in the noise's spectrum."""
    with np.load(folder / "event.npz") as archive:
        content = dict(archive)
    filters = content.pop("wht_filter")
    psd = np.full(filters.shape, 4.0)
    psd[0, np.flatnonzero(filters[0])[5]] = np.inf
    np.savez(folder / "event.npz", **content, fd_filter=2 * filters, psd=psd)


EVENTS = [
    Damage("empty", write("event.npz", b""), EventError, "event.npz"),
    Damage("text", write("event.npz", b"strain"), EventError, "event.npz"),
    Damage("truncated", truncate("event.npz", -100), EventError, "event.npz"),
    Damage("half", truncate("event.npz", 5000), EventError, "event.npz"),
    Damage("folder", replace_by_folder("event.npz"), MissingFileError, "event.npz"),
    Damage(
        "one array",
        lambda f: np.save((f / "event.npz").open("wb"), np.ones(3)),
        EventError,
        "event.npz",
    ),
    *(
        Damage(f"without {key}", rewrite_event(**{key: None}), EventError, f"lacks {key}")
        for key in (
            "eventname",
            "frequencies",
            "strain",
            "wht_filter",
            "detector_names",
            "tgps",
            "tcoarse",
        )
    ),
    Damage(
        "objects",
        rewrite_event(strain=np.array([Pickled()], dtype=object)),
        EventError,
        "event.npz",
    ),
    Damage(
        "NaN in strain",
        rewrite_event(strain=with_value(np.nan, 0, 100)),
        EventError,
        "strain of detector H",
    ),
    Damage(
        "infinity in filter",
        rewrite_event(wht_filter=with_value(np.inf, 1, 100)),
        EventError,
        "wht_filter of detector L",
    ),
    Damage("all zero", rewrite_event(strain=lambda a: 0 * a), EventError, "all zero"),
    Damage(
        "strain of one detector",
        rewrite_event(strain=lambda a: a[:1]),
        EventError,
        "strain has shape (1,",
    ),
    Damage(
        "short strain",
        rewrite_event(strain=lambda a: a[:, :-1]),
        EventError,
        "strain has shape",
    ),
    Damage(
        "integer strain",
        rewrite_event(strain=lambda a: a.real.astype(int)),
        EventError,
        "type int64",
    ),
    Damage(
        "complex filter",
        rewrite_event(wht_filter=lambda a: a + 0j),
        EventError,
        "wht_filter has shape",
    ),
    Damage(
        "frequencies as matrix",
        rewrite_event(frequencies=lambda a: a[None]),
        EventError,
        "frequencies have shape",
    ),
    Damage(
        "frequencies from 20 Hz",
        rewrite_event(frequencies=lambda a: a + 20),
        EventError,
        "frequencies must start at 0",
    ),
    Damage(
        "NaN in frequencies",
        rewrite_event(frequencies=with_value(np.nan, 7)),
        EventError,
        "frequencies",
    ),
    Damage(
        "unknown detector",
        rewrite_event(detector_names=np.array(["H", "X"])),
        EventError,
        "detector 'X'",
    ),
    Damage(
        "detector twice",
        rewrite_event(detector_names=np.array(["H", "H"])),
        EventError,
        "a detector twice",
    ),
    Damage(
        "one name",
        rewrite_event(detector_names=np.array("HL")),
        EventError,
        "detector_names",
    ),
    Damage(
        "no detectors",
        rewrite_event(detector_names=np.array([], dtype=str)),
        EventError,
        "no detectors",
    ),
    Damage("tcoarse outside", rewrite_event(tcoarse=100.0), EventError, "tcoarse is 100.0"),
    Damage("tcoarse NaN", rewrite_event(tcoarse=np.nan), EventError, "tcoarse is"),
    Damage("tgps as text", rewrite_event(tgps="now"), EventError, "tgps is"),
    Damage("tgps as array", rewrite_event(tgps=np.zeros(2)), EventError, "tgps is"),
    Damage("name with a path", rewrite_event(eventname="../../x"), EventError, "'../../x'"),
    Damage("name with a space", rewrite_event(eventname="a b"), InputError, "'a b'"),
    Damage("empty name", rewrite_event(eventname=""), EventError, "its name ''"),
    Damage("injection not JSON", rewrite_event(injection="{"), EventError, "not JSON"),
    Damage("injection a list", rewrite_event(injection="[1]"), EventError, "par_dic"),
    Damage(
        "injection of other detectors",
        rewrite_event(injection='{"par_dic": {}, "d_h": [1.0]}'),
        EventError,
        "d_h",
    ),
    *(
        Damage(
            f"injection with {name} {value}",
            rewrite_event(injection=json.dumps({"par_dic": {name: value}})),
            EventError,
            f"{name} of its injection is",
        )
        for name, value in (
            ("d_luminosity", "far"),
            ("d_luminosity", -3.0),
            ("d_luminosity", None),
            ("m1", True),
            ("iota", "edge-on"),
            ("s1z", np.nan),
        )
    ),
    Damage("before GPS time", rewrite_event(tgps=-1e9), EventError, "tgps is -1000000000"),
    Damage("far future", rewrite_event(tgps=1e10), EventError, "tgps is 10000000000"),
    Damage(
        "strain in other units",
        rewrite_event(strain=lambda a: a * 1e-3),
        EventError,
        "times as loud as its wht_filter says",
    ),
    Damage(
        "huge noise level of one detector",
        rewrite_event(wht_filter=lambda a: a * np.array([[1.0], [1e-60]])),
        EventError,
        "data of detector L are 1e-60 times as loud",
    ),
    Damage(
        "filter passes 0 Hz",
        rewrite_event(wht_filter=with_value(1e20, 1, 0)),
        EventError,
        "wht_filter of detector L is 1e+20 at 0 Hz",
    ),
    Damage(
        "old form, other shapes",
        rewrite_event(wht_filter=None, fd_filter=np.ones((2, 5)), psd=np.ones(7)),
        EventError,
        "shapes differ",
    ),
    Damage(
        "old form, infinite noise level where the filter passes",
        old_form_with_infinite_psd,
        EventError,
        "its psd is infinite where its fd_filter is not zero",
    ),
    Damage(
        "coarser grid",
        rewrite_event(
            frequencies=lambda a: a[:-1:3],
            strain=lambda a: a[:, :-1:3],
            wht_filter=lambda a: a[:, :-1:3],
            tcoarse=0.5,
        ),
        BankError,
        "are not frequencies of tiny",
    ),
    Damage(
        "too few frequencies",
        rewrite_event(
            frequencies=lambda a: a[:300],
            strain=lambda a: a[:, :300],
            wht_filter=lambda a: a[:, :300],
        ),
        BankError,
        "the bank's bins reach 100.0 Hz",
    ),
]


@each(EVENTS)
def test_damaged_event_is_named(folder, monkeypatch, damage):
    monkeypatch.chdir(folder)
    named(folder, damage)
