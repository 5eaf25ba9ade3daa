"""Every file name of a run directory, and no other module's business."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+\-]*")

# By what they are, because overwriting removes exactly these and nothing else.
_RESULTS = ("summary_results.json", "samples.feather", "prob_samples.feather")
_OTHERS = (
    "run_kwargs.json",
    "Posterior.json",
    "extrinsic_samples.feather",
    "response_dpe.npy",
    "timeshift_dbe.npy",
    "run_report.json",
    "tasks.feather",
    "run_identity.json",
    "run_sizes.json",
    "run_inputs.json",
    "run_checksums.json",
    "profile_output.prof",
    "profile_output.txt",
    "trace.json",
    "skymap.fits",
    "calibration_curves.npz",
)
_BANK_FILES = (
    "intrinsic_samples.npz",
    "prob_samples.feather",
    "intrinsic_sample_processor_cache.json",
    "bank_config.json",
    "intrinsic_sample_bank.feather",
)
_WAVEFORMS = "waveforms"
_BANK_WAVEFORMS = ("amplitudes_block_*.npy", "phase_block_*.npy")


class RunFiles:
    """Where the files of a run are.

    Parameters
    ----------
    path : path
        The run directory; it need not exist.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    @property
    def run_kwargs(self) -> Path:
        """Arguments of the run (JSON)."""
        return self.path / "run_kwargs.json"

    @property
    def posterior(self) -> Path:
        """Cogwheel's ``Posterior`` with the reference waveform (JSON)."""
        return self.path / "Posterior.json"

    def event(self, event_name: str) -> Path:
        """The event's data (``.npz``), under its own name."""
        return self.path / f"{check_name('event', event_name)}.npz"

    @property
    def extrinsic_samples(self) -> Path:
        """Table of extrinsic samples (feather)."""
        return self.path / "extrinsic_samples.feather"

    @property
    def response(self) -> Path:
        """Antenna response of the extrinsic samples, (n_d, 2, n_e) (``.npy``)."""
        return self.path / "response_dpe.npy"

    @property
    def timeshift(self) -> Path:
        """Time-shift factors of the extrinsic samples, (n_d, n_b, n_e) (``.npy``)."""
        return self.path / "timeshift_dbe.npy"

    @property
    def prob_samples(self) -> Path:
        """Likelihoods and weights of all accepted (i, e, o), all banks (feather)."""
        return self.path / "prob_samples.feather"

    @property
    def samples(self) -> Path:
        """The samples with all their parameters (feather)."""
        return self.path / "samples.feather"

    @property
    def calibration_curves(self) -> Path:
        """Calibration curves that likelihoods are averaged over (``.npz``)."""
        return self.path / "calibration_curves.npz"

    @property
    def summary(self) -> Path:
        """Summary of the results (JSON)."""
        return self.path / "summary_results.json"

    @property
    def report(self) -> Path:
        """Timings, sizes and machine (JSON)."""
        return self.path / "run_report.json"

    @property
    def tasks(self) -> Path:
        """One row per task (feather)."""
        return self.path / "tasks.feather"

    @property
    def profile(self) -> Path:
        """Merged profile of all processes, for :mod:`pstats`."""
        return self.path / "profile_output.prof"

    @property
    def profile_text(self) -> Path:
        """The same profile as text."""
        return self.path / "profile_output.txt"

    @property
    def trace(self) -> Path:
        """Timeline of the tasks in Chrome's trace format (JSON)."""
        return self.path / "trace.json"

    @property
    def skymap(self) -> Path:
        """The sky map, where a report has made one (FITS)."""
        return self.path / "skymap.fits"

    def bank(self, bank_id: str) -> Path:
        """The folder of one bank's files."""
        return self.path / "banks" / check_name("bank id", bank_id)

    def intrinsic_samples(self, bank_id: str) -> Path:
        """Survivors of the incoherent selection (``.npz``)."""
        return self.bank(bank_id) / "intrinsic_samples.npz"

    def bank_prob_samples(self, bank_id: str) -> Path:
        """Likelihoods of one bank's accepted (i, e, o) (feather)."""
        return self.bank(bank_id) / "prob_samples.feather"

    def linfree_timeshifts(self, bank_id: str) -> Path:
        """Linear-free time shifts [s] by waveform (JSON)."""
        return self.bank(bank_id) / "intrinsic_sample_processor_cache.json"

    @property
    def adapting_folder(self) -> Path:
        """Waveforms that an adaptive bank needs for a moment, while the run lasts."""
        return self.path / "adapting"

    @property
    def checkpoint_folder(self) -> Path:
        """Results of finished tasks, while the run lasts."""
        return self.path / "checkpoint"

    @property
    def identity(self) -> Path:
        """Which run this is (JSON)."""
        return self.path / "run_identity.json"

    @property
    def sizes(self) -> Path:
        """Its batch sizes (JSON)."""
        return self.path / "run_sizes.json"

    @property
    def inputs(self) -> Path:
        """The waveform files that it read (JSON)."""
        return self.path / "run_inputs.json"

    @property
    def checksums(self) -> Path:
        """Checksums of the files of a finished run (JSON)."""
        return self.path / "run_checksums.json"

    def lasting(self, event_name: str) -> list[Path]:
        """Return the files that are the same in every run with the same inputs."""
        same = [self.posterior, self.event(event_name), self.extrinsic_samples,
                self.response, self.timeshift, self.prob_samples, self.samples]  # fmt: skip
        return [*same, *self._of_banks()]

    @property
    def lock(self) -> Path:
        """Who holds the directory."""
        return self.path / ".dotpe-exec.lock"

    def bank_folders(self) -> list[Path]:
        """Return the folders of banks that are there."""
        banks = self.path / "banks"
        if not banks.is_dir():
            return []
        # Not what lies elsewhere: overwriting removes files here.
        return sorted(p for p in banks.iterdir() if p.is_dir() and not p.is_symlink())

    def results(self) -> list[Path]:
        """Return the files with results that are there."""
        paths = [*(self.path / name for name in _RESULTS), *self._of_banks()]
        return [path for path in paths if path.is_file()]

    def everything(self) -> list[Path]:
        """Return all files but the event, the lock and the checkpoint, there or not."""
        names = (*_RESULTS, *_OTHERS)
        return [*(self.path / name for name in names), *self._of_banks()]

    def _of_banks(self) -> Iterator[Path]:
        for folder in self.bank_folders():
            yield from (folder / name for name in _BANK_FILES)
            for pattern in _BANK_WAVEFORMS:
                yield from sorted(waveforms_of(folder).glob(pattern))


def waveforms_of(bank_folder: Path) -> Path:
    """Return the folder of a bank's waveforms, which need not be there."""
    return bank_folder / _WAVEFORMS


def check_name(what: str, name: str) -> str:
    """Return a name that is to be part of a path, if it is safe.

    Raises
    ------
    InputError
        It holds anything but letters, digits and ``_ . + -``, or begins with other than a
        letter or digit.
    """
    if not isinstance(name, str) or not _SAFE_NAME.fullmatch(name):
        raise InputError(
            f"the {what} {name!r} cannot be part of a file name, expected letters, digits "
            "and _ . + -"
        )
    return name
