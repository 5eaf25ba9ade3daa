"""A run as the report sees it: its directory, and its banks where they are still there."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DotpeExecError
from ..loading import StoredRun, load_run
from .corner import with_derived_columns
from .truth import injected_parameters

if TYPE_CHECKING:
    import pandas as pd

    from .skymap import SkyMap


_N_PRIOR = 20000
_MOST_WAVEFORMS = 1500
"""Whose signal-to-noise ratios are computed: each takes nearly a millisecond."""


class RunView:
    """A run directory with a label.

    Parameters
    ----------
    run : StoredRun
    label : str
    """

    def __init__(self, run: StoredRun, label: str):
        self.run = run
        self.label = label

    @property
    def event_name(self) -> str:
        """Name of the event: that of its file, or as it was given."""
        if self.run.event_file is not None:
            return self.run.event_file.stem
        return Path(str(self.run.kwargs.get("event", "unknown event"))).stem

    @functools.cached_property
    def bank_tables(self) -> dict[str, pd.DataFrame]:
        """Tables of the banks of this run, without those that are gone or others now."""
        from ..banks.format import open_banks

        try:
            banks = open_banks(self.run.kwargs.get("bank_folder"))
            tables = {bank_id: bank.table() for bank_id, bank in banks.items()}
        except (DotpeExecError, OSError):
            tables = self._kept_bank_tables()
        return {b: table for b, table in tables.items() if self._is_ours(b, table)}

    def _kept_bank_tables(self) -> dict[str, pd.DataFrame]:
        """Tables of banks that a run drew itself, and which may be without waveforms."""
        import pandas as pd

        from ..banks.format import TABLE_NAME

        paths = {b: self.run.files.bank(b) / TABLE_NAME for b in self.run.bank_ids}
        return {b: pd.read_feather(path) for b, path in paths.items() if path.is_file()}

    def _is_ours(self, bank_id: str, table: pd.DataFrame) -> bool:
        """Whether the samples' masses are those of this table."""
        samples = self.samples_of(bank_id)
        inds = samples["i"].to_numpy()
        return bool(
            len(inds) == 0
            or (
                inds.max() < len(table)
                and np.allclose(table["m1"].to_numpy()[inds], samples["m1"], rtol=1e-6)
            )
        )

    @functools.cached_property
    def skymap(self) -> SkyMap:
        """The run's sky map: that of its directory, or made once."""
        from .skymap import kept_skymap, make_skymap

        return kept_skymap(self.run) or make_skymap(self.run)

    def keep_skymap(self) -> None:
        """Take the sky map from the run directory, or make it and keep it there."""
        from .skymap import stored_skymap

        self.__dict__["skymap"] = stored_skymap(self.run)

    @functools.cached_property
    def prior(self) -> pd.DataFrame | None:
        """Draws from the run's prior with derived columns, None where it is not known."""
        from ..derived import binary_parameters
        from ..run_prior import prior_draws

        try:
            draws = prior_draws(self.run, _N_PRIOR)
            derived = binary_parameters(draws, float(self.run.event.tgps))
        except (DotpeExecError, KeyError):
            return None
        return with_derived_columns(draws.assign(**{n: derived[n] for n in derived}))

    @functools.cached_property
    def truth(self) -> dict[str, float] | None:
        """Parameters of the injected signal, None for real data."""
        return injected_parameters(self.run)

    @functools.cached_property
    def detectors(self) -> pd.DataFrame:
        """Samples with what each detector saw of them; of many, some drawn by weight."""
        from ..derived import detector_parameters

        samples = self.run.samples
        if "detectors" in self.run.__dict__ or (
            samples["i"].nunique() <= _MOST_WAVEFORMS  # of each bank
        ):
            return samples.assign(**self.run.detectors)
        some = samples.sample(
            _MOST_WAVEFORMS, replace=True, weights="weights", random_state=0
        )
        return some.assign(weights=1.0, **detector_parameters(self.run, some))

    def columns(self, source: str) -> list[str]:
        """Return the names of derived columns; none where they cannot be computed."""
        owner = self if source == "detectors" else self.run
        try:
            return list(getattr(owner, source))
        except (DotpeExecError, KeyError):
            return []

    def with_column(self, name: str) -> pd.DataFrame | None:
        """Return the samples with a column, derived if need be; None without it.

        Of what detectors saw, there may be fewer samples than of the rest.
        """
        samples = with_derived_columns(self.run.samples)
        if name in samples:
            return samples
        if name in self.columns("derived"):
            return samples.assign(**{name: self.run.derived[name]})
        return self.detectors if name in self.columns("detectors") else None

    def samples_of(self, bank_id: str) -> pd.DataFrame:
        """Return the samples from one bank."""
        samples = self.run.samples
        if "bank_id" not in samples:
            return samples
        return samples[samples["bank_id"].astype(str) == bank_id]


def open_views(rundirs: Sequence[str | os.PathLike]) -> list[RunView]:
    """Open run directories and give them labels that tell them apart.

    Raises
    ------
    MissingFileError, RunDirectoryError
        A directory does not exist, or is not that of a finished run.
    """
    runs = [load_run(path) for path in rundirs]
    for run in runs:
        _ = run.summary, run.samples  # refuse unfinished runs before any drawing
    return [RunView(run, label) for run, label in zip(runs, labels_of(runs), strict=True)]


def labels_of(runs: Sequence[StoredRun]) -> list[str]:
    """Return labels of runs that tell them apart: names of directories, or more of them."""
    paths = [run.path.resolve() for run in runs]
    labels = [path.name for path in paths]
    if len(set(labels)) < len(labels):
        labels = [f"{path.parent.name}/{path.name}" for path in paths]
    if len(set(labels)) < len(labels):
        labels = [f"{k}: {label}" for k, label in enumerate(labels, start=1)]
    return labels
