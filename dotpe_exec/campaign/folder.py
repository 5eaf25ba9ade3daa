"""File names in a campaign's folder."""

from __future__ import annotations

import os
from pathlib import Path


class CampaignFiles:
    """Where the files of a campaign are.

    Parameters
    ----------
    path : path
        Its folder.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() follows links

    @property
    def settings(self) -> Path:
        """What the campaign is."""
        return self.path / "campaign.toml"

    def event(self, name: str) -> Path:
        """The data of an event."""
        return self.path / "events" / f"{name}.npz"

    def origin(self, name: str) -> Path:
        """Where the data of an event came from."""
        return self.path / "events" / f"{name}.json"

    def rundir(self, name: str) -> Path:
        """The run directory of an event."""
        return self.path / "runs" / name

    def job(self, name: str) -> Path:
        """What the analysis in an event's run directory is of."""
        return self.path / "jobs" / f"{name}.json"

    def outcome(self, name: str) -> Path:
        """How the analysis of an event ended."""
        return self.path / "outcomes" / f"{name}.json"

    def page(self, name: str) -> Path:
        """The report of one event."""
        return self.path / "report" / f"{name}.html"

    @property
    def report(self) -> Path:
        """The page about all events."""
        return self.path / "report.html"

    @property
    def table_csv(self) -> Path:
        """The table of all events, as text."""
        return self.path / "events.csv"

    @property
    def table_parquet(self) -> Path:
        """The table of all events."""
        return self.path / "events.parquet"

    @property
    def submit(self) -> Path:
        """The folder of what a scheduler is given."""
        return self.path / "submit"

    def make_folders(self) -> None:
        """Make the folders that files are written to."""
        for name in ("events", "runs", "jobs", "outcomes", "report"):
            (self.path / name).mkdir(parents=True, exist_ok=True)
