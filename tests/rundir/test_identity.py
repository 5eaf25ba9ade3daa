"""What says whether a run is the same: content, not form."""

from __future__ import annotations

import json

import numpy as np
import pytest
from run_directories import make_identity

from dotpe_exec.digests import array_digest
from dotpe_exec.rundir.identity import RunIdentity, event_digest, fingerprint


def test_identity_depends_on_content_not_on_form():
    a = make_identity(parameters={"inds": [3, 1, 2] * 10, "cut": 20})
    b = make_identity(
        parameters={"cut": np.float64(20.0), "inds": np.array([3, 1, 2] * 10)}
    )
    c = make_identity(parameters={"cut": 20, "inds": np.array([3, 2, 1] * 10, np.int32)})
    assert a == b and a.digest == b.digest
    assert a.digest != c.digest
    assert a.differences(b) == []
    assert [d.split()[0] for d in a.differences(c)] == ["inds"]


def test_identity_survives_json():
    identity = make_identity(parameters={"x": [1, 2.5, "a", None], "y": {"k": np.inf}})
    read = RunIdentity.from_dict(json.loads(json.dumps(identity.to_dict())))
    assert read == identity and read.digest == identity.digest


def test_unknown_objects_have_no_identity():
    with pytest.raises(TypeError, match="identity of a object"):
        fingerprint({"x": object()})


def test_array_digest_sees_values_and_shapes():
    x = np.arange(6.0)
    assert array_digest(x) == array_digest(x.copy()[::1])
    assert array_digest(x) != array_digest(x.reshape(2, 3))
    assert array_digest(x) != array_digest(np.nextafter(x, 9))


def test_event_digest_sees_every_part_of_the_event(golden):
    from cogwheel.data import EventData

    def digest(**changes):
        event = EventData.from_npz(filename=golden / "event.npz")
        for name, value in changes.items():
            setattr(event, name, value)
        return event_digest(event)

    event = EventData.from_npz(filename=golden / "event.npz")
    strain = event.strain.copy()
    strain[0, 100] *= 1 + 1e-12
    reference = digest()
    assert reference == digest()
    assert len({reference, digest(strain=strain), digest(tgps=1.0), digest(injection=None),
                digest(tcoarse=event.tcoarse + 1e-3)}) == 5  # fmt: skip
