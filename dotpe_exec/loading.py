"""Reading run directories: those of this package and the published code's.

Nothing is read before it is asked for, and no pickle is ever opened.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .atomic import read_json
from .errors import MissingFileError, RunDirectoryError
from .rundir.files import RunFiles

if TYPE_CHECKING:
    import pandas as pd
    from cogwheel.data import EventData
    from cogwheel.likelihood import RelativeBinningLikelihood

AnyRun = TypeVar("AnyRun", bound="StoredRun")


class StoredRun:
    """What is in a run directory, read when first used.

    Parameters
    ----------
    path : path
        The run directory.
    """

    def __init__(self, path: str | os.PathLike):
        self._files = RunFiles(path)
        self.path = self._files.path
        self._finished = self._stamp()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    @property
    def files(self) -> RunFiles:
        """Where everything is.

        Raises
        ------
        RunDirectoryError
            The directory holds another run by now, whose files say nothing of this one.
        """
        if self._finished is not None and self._stamp() != self._finished:
            raise RunDirectoryError(
                f"the run in {self.path} was removed, or done again, after it was loaded: "
                "load it once more"
            )
        return self._files

    def _stamp(self) -> tuple[int, int, int] | None:
        """Return what tells a finished run from another, None where nothing does.

        Checksums are the last file of a run of this package. Its summary is not asked,
        because a report adds what is known of the sky to it.
        """
        files = self._files
        last = files.checksums if files.identity.is_file() else files.summary
        try:
            status = last.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    @functools.cached_property
    def kwargs(self) -> dict[str, Any]:
        """Arguments of the run; what is missing in older directories is missing here.

        The published code writes some arguments that were None as the text "None".
        """
        kwargs = _expect_dict(self.files.run_kwargs)
        return {key: None if value == "None" else value for key, value in kwargs.items()}

    @functools.cached_property
    def summary(self) -> dict[str, Any]:
        """Content of ``summary_results.json``."""
        return _expect_dict(self.files.summary)

    @functools.cached_property
    def report(self) -> dict[str, Any] | None:
        """Content of ``run_report.json``, None where there is none."""
        return _expect_dict(self.files.report) if self.files.report.is_file() else None

    @functools.cached_property
    def samples(self) -> pd.DataFrame:
        """The samples with all their parameters."""
        return _read_feather(self.files.samples)

    @functools.cached_property
    def prob_samples(self) -> pd.DataFrame:
        """Likelihoods and weights of all accepted (i, e, o)."""
        return _read_feather(self.files.prob_samples)

    @functools.cached_property
    def extrinsic_samples(self) -> pd.DataFrame:
        """The extrinsic samples."""
        return _read_feather(self.files.extrinsic_samples)

    @functools.cached_property
    def tasks(self) -> pd.DataFrame | None:
        """One row per task, None where there is no such table."""
        return _read_feather(self.files.tasks) if self.files.tasks.is_file() else None

    @functools.cached_property
    def bank_ids(self) -> list[str]:
        """The banks that have files here."""
        return [folder.name for folder in self.files.bank_folders()]

    @functools.cached_property
    def event_file(self) -> Path | None:
        """The event's data, None where they were not kept.

        Found through the posterior, which names it, else as the only ``.npz`` file.
        """
        candidates = sorted(self.path.glob("*.npz"))
        if self.files.posterior.is_file():
            named = set(_named_files(read_json(self.files.posterior)))
            candidates = [path for path in candidates if path.name in named] or candidates
        return candidates[0] if len(candidates) == 1 else None

    @functools.cached_property
    def approximant(self) -> str | None:
        """The waveform model, None where the posterior is not there or names none."""
        name = self._waveform_generator.get("approximant")
        return name if isinstance(name, str) else None

    @functools.cached_property
    def _likelihood_arguments(self) -> dict[str, Any]:
        """Arguments of cogwheel's likelihood, empty where the posterior is not there."""
        if not self.files.posterior.is_file():
            return {}
        found = _find(read_json(self.files.posterior), "likelihood")
        arguments = found.get("init_kwargs") if isinstance(found, dict) else None
        return arguments if isinstance(arguments, dict) else {}

    @functools.cached_property
    def _waveform_generator(self) -> dict[str, Any]:
        """Arguments of cogwheel's waveform generator, empty as above."""
        generator = self._likelihood_arguments.get("waveform_generator")
        options = generator.get("init_kwargs") if isinstance(generator, dict) else None
        return options if isinstance(options, dict) else {}

    @functools.cached_property
    def prior_arguments(self) -> dict[str, Any]:
        """Arguments of cogwheel's prior, empty where the posterior is not there."""
        if not self.files.posterior.is_file():
            return {}
        found = _find(read_json(self.files.posterior), "prior")
        arguments = found.get("init_kwargs") if isinstance(found, dict) else None
        return arguments if isinstance(arguments, dict) else {}

    @property
    def harmonic_modes(self) -> list[tuple[int, int]] | None:
        """(l, m) of the waveforms, None where that is not known."""
        modes = self._waveform_generator.get("harmonic_modes")
        return None if modes is None else [(int(ell), int(m)) for ell, m in modes]

    @functools.cached_property
    def event(self) -> EventData:
        """The event's data, cogwheel's object.

        Raises
        ------
        MissingFileError, EventError
            It is not in the run directory, or damaged.
        """
        from .events import load_event

        if self.event_file is None:
            raise MissingFileError(
                f"{self.path} holds no event data (.npz), which the times of samples "
                "count from"
            )
        return load_event(self.event_file)

    @functools.cached_property
    def likelihood(self) -> RelativeBinningLikelihood:
        """The likelihood of the run, made again from event and reference waveform.

        Raises
        ------
        MissingFileError, RunDirectoryError, EventError
            Event or posterior are not in the run directory, or damaged.
        """
        from .cogwheel_bridge import make_likelihood

        arguments = self._likelihood_arguments
        if self.approximant is None or not {"fbin", "par_dic_0"} <= arguments.keys():
            raise MissingFileError(
                f"{self.files.posterior} is not there, or does not say which likelihood "
                "was computed"
            )
        likelihood = make_likelihood(
            self.event,
            self.approximant,
            arguments["par_dic_0"],
            np.asarray(arguments["fbin"], float),
            harmonic_modes=self.harmonic_modes,
            spline_degree=arguments.get("spline_degree", 3),
        )
        drift = self.summary.get("asd_drift") if self.files.summary.is_file() else None
        if isinstance(drift, dict):
            drift = [drift.get(name) for name in self.event.detector_names]
        if drift is not None:
            likelihood.asd_drift = np.array(drift, float)
        return likelihood

    @functools.cached_property
    def derived(self) -> pd.DataFrame:
        """Derived parameters of the samples, row by row (:mod:`dotpe_exec.derived`)."""
        from .derived import standard_parameters

        return standard_parameters(self.samples, float(self.event.tgps))

    @functools.cached_property
    def detectors(self) -> pd.DataFrame:
        """Arrival times and signal-to-noise ratios of the samples, row by row."""
        from .derived import detector_parameters

        return detector_parameters(self, self.samples)

    def intrinsic_samples(self, bank_id: str) -> dict[str, np.ndarray]:
        """Survivors of the incoherent selection: ``inds`` and their likelihoods.

        Raises
        ------
        MissingFileError, RunDirectoryError
        """
        path = self.files.intrinsic_samples(bank_id)
        _check_exists(path)
        try:
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except Exception as error:  # zipfile, zlib and NumPy raise many kinds
            raise RunDirectoryError(f"{path} is damaged, expected .npz: {error}") from error

    def bank_prob_samples(self, bank_id: str) -> pd.DataFrame:
        """Likelihoods of one bank's accepted (i, e, o)."""
        return _read_feather(self.files.bank_prob_samples(bank_id))

    def linfree_timeshifts(self, bank_id: str) -> dict[int, float]:
        """Linear-free time shifts [s] by waveform index."""
        path = self.files.linfree_timeshifts(bank_id)
        try:
            return {int(i): float(dt) for i, dt in _expect_dict(path).items()}
        except (TypeError, ValueError) as error:
            raise RunDirectoryError(f"{path} is damaged: {error}") from error


def load_run(path: str | os.PathLike) -> StoredRun:
    """Open a run directory for reading; :func:`dotpe_exec.load` gives more.

    Raises
    ------
    MissingFileError
        There is no such directory.
    RunDirectoryError
        It is not a run directory.
    """
    return opened(StoredRun(path))


def opened(run: AnyRun) -> AnyRun:
    """Return a run, if its path is that of a run directory.

    Raises
    ------
    MissingFileError, RunDirectoryError
        As :func:`load_run`.
    """
    if not run.path.is_dir():
        raise MissingFileError(f"the run directory {run.path} does not exist")
    if not (run.files.run_kwargs.is_file() or run.files.summary.is_file()):
        raise RunDirectoryError(
            f"{run.path} is not a run directory: neither {run.files.run_kwargs.name} nor "
            f"{run.files.summary.name} is in it"
        )
    return run


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist")


def _expect_dict(path: Path) -> dict[str, Any]:
    _check_exists(path)
    content = read_json(path)
    if not isinstance(content, dict):
        raise RunDirectoryError(
            f"{path} holds a {type(content).__name__}, expected a JSON object"
        )
    return content


def _read_feather(path: Path) -> pd.DataFrame:
    import pandas as pd

    _check_exists(path)
    try:
        return pd.read_feather(path)
    except Exception as error:  # pyarrow raises many kinds
        raise RunDirectoryError(f"{path} is damaged, expected feather: {error}") from error


def _find(content: Any, key: str) -> Any:
    """Return the first value of ``key`` anywhere in nested dictionaries."""
    if not isinstance(content, dict):
        return None
    if key in content:
        return content[key]
    return next(
        (found for item in content.values() if (found := _find(item, key)) is not None),
        None,
    )


def _named_files(content: Any) -> list[str]:
    """Return the names of ``.npz`` files anywhere in nested JSON."""
    if isinstance(content, str):
        return [Path(content).name] if content.endswith(".npz") else []
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        return [name for item in content for name in _named_files(item)]
    return []
