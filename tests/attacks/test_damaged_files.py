"""Whole runs with damaged files: our own error, or the right result; nothing else.

A dozen of each kind by default, hundreds with ``-m slow``.
"""

from __future__ import annotations

import random
import shutil
import signal
import warnings
from dataclasses import dataclass, field

import mutations
import pytest
from rough_extrinsic import roughen_extrinsic
from small_runs import arguments, infer_arguments, summary_of

from dotpe_exec import infer, run
from dotpe_exec.errors import DotpeExecError

FEW, MANY = 12, 300
LONGEST = 60  # seconds

TABLE = "bank/intrinsic_sample_bank.feather"
CONFIG = "bank/bank_config.json"
EXTRINSIC = "extrinsic/extrinsic_samples.feather"
BLOCKS = [f"bank/waveforms/{kind}_block_{k}.npy" for kind in ("amplitudes", "phase")
          for k in (0, 1)]  # fmt: skip
CHECKSUMS = ["bank/checksums.json", "bank/waveform_digests.npy",
             "extrinsic/run_checksums.json"]  # fmt: skip


@dataclass(frozen=True)
class Attack:
    """What is damaged and how, and whether that can be seen before work begins.

    Where files carry checksums, any of their bytes may be damaged. Without, what is
    damaged is how things are written: nobody can see that a number was another.
    """

    damage: object
    files: list[str]
    with_checksums: bool
    seen_beforehand: bool = True
    changes: dict = field(default_factory=dict)  # of the run's arguments
    by_infer: bool = False

    def analyse(self, folder):
        if self.by_infer:
            few = {"n_effective": 2, "max_waveforms": 100, "n_ext": 16}
            with pytest.MonkeyPatch.context() as patch:
                roughen_extrinsic(patch)
                return infer(**infer_arguments(folder, rundir=folder / "run", **few))
        return run(**arguments(folder, **self.changes))

    def tolerance(self):
        """Of ln evidence. What `infer` draws depends on the last bits of the data."""
        return 2.0 if self.by_infer else 1e-3


ATTACKS = {
    "event, bytes": Attack(mutations.damage_bytes, ["event.npz"], True),
    "event, structure": Attack(mutations.restructure_event, ["event.npz"], True),
    "tables, bytes": Attack(mutations.damage_bytes, [TABLE, EXTRINSIC], True),
    "tables, structure": Attack(mutations.restructure_table, [TABLE, EXTRINSIC], False),
    "blocks, bytes": Attack(mutations.damage_bytes, BLOCKS, True, False),
    "blocks, structure": Attack(mutations.restructure_block, BLOCKS, False, False),
    "JSON, bytes": Attack(mutations.damage_bytes, [CONFIG, *CHECKSUMS], True),
    "JSON, structure": Attack(
        mutations.restructure_json, [CONFIG, "par_dic_0.json"], False,
        changes={"coherent_posterior_kwargs": None},
    ),
    "event of infer, bytes": Attack(
        mutations.damage_bytes, ["event.npz"], True, by_infer=True
    ),
    "event of infer, structure": Attack(
        mutations.restructure_event, ["event.npz"], True, by_infer=True
    ),
}  # fmt: skip


class TooLongError(BaseException):
    """Nothing catches it by accident."""


@pytest.fixture
def not_for_ever():
    def end(*_):
        raise TooLongError

    before = signal.signal(signal.SIGALRM, end)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def inferred(undamaged, tmp_path_factory):
    """The summary of a run of infer that nobody disturbed."""
    folder = shutil.copytree(undamaged, tmp_path_factory.mktemp("inferred") / "inputs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return summary_of(ATTACKS["event of infer, bytes"].analyse(folder))


def outcome(folder, expected, attack):
    """Run; return what is wrong with how that ended, or nothing."""
    signal.alarm(LONGEST)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rundir = attack.analyse(folder)
    except DotpeExecError as error:
        if attack.seen_beforehand and (folder / "run").exists():
            return f"refused late: {error}"
        if not 10 < len(str(error)) < 800 or "Traceback" in str(error):
            return f"refused in strange words: {error}"
        return None
    except TooLongError:
        return "hangs"
    except Exception as error:
        return f"traceback: {error!r}"
    finally:
        signal.alarm(0)
    difference = summary_of(rundir)["ln_evidence"] - expected["ln_evidence"]
    if abs(difference) < attack.tolerance():
        return None
    return f"ln evidence is off by {difference}"


def _sizes():
    for name, attack in ATTACKS.items():
        few, many = (2, 75) if attack.by_infer else (FEW, MANY)
        # Of an event's bytes nearly all are seen before it is asked what for.
        slow = [pytest.mark.slow] if attack.by_infer and "bytes" in name else []
        yield pytest.param(name, few, marks=slow, id=f"{name}-few")
        yield pytest.param(name, many, marks=pytest.mark.slow, id=f"{name}-many")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("name", "n_cases"), list(_sizes()))
def test_damaged_files_end_in_an_error_of_ours_or_in_the_right_result(
    name, n_cases, undamaged, tmp_path, not_for_ever, request
):
    attack = ATTACKS[name]
    expected = request.getfixturevalue("inferred" if attack.by_infer else "expected")
    failures = {}
    for number in range(n_cases):
        rng = random.Random(f"{name} {number}")
        folder = shutil.copytree(undamaged, tmp_path / str(number))
        if not attack.with_checksums:
            for checksums in CHECKSUMS:
                (folder / checksums).unlink()
        done = attack.damage(folder / rng.choice(attack.files), rng)
        if wrong := outcome(folder, expected, attack):
            failures[f"{number}: {done}"] = wrong
        shutil.rmtree(folder)
    assert failures == {}
