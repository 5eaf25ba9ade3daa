"""The plug-in: what asimov calls to build, submit, watch and collect an analysis."""

from __future__ import annotations

import configparser
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asimov import config
from asimov.pipeline import Pipeline, PipelineException
from asimov.scheduler import LocalProcessScheduler, Slurm

from ...errors import DotpeExecError
from ..campaign import Campaign, make
from ..submit import Site, write_jobs
from ..tasks import FAILED, FINISHED
from .ledger import Configuration, configuration_of

_MOST_RESCUES = 5


class DotpeExec(Pipeline):
    """An analysis of one event by dotpe-exec, under asimov.

    Parameters
    ----------
    production : asimov.analysis.Analysis
        As the ledger has it.
    category : str, optional
        Folder of configurations in the event's repository.
    """

    name = "dotpe-exec"
    config_template = str(Path(__file__).with_name("dotpe-exec.ini"))
    available_outputs = ("posterior_samples",)
    log_patterns = ("submit/logs/*.out", "submit/logs/*.err", "submit/logs/*.log")
    STATUS = frozenset({"wait", "stuck", "stopped", "running", "finished"})

    @property
    def configuration(self) -> str:
        """The configuration from the ledger, for the template."""
        production = self.production
        with self._told():
            found = configuration_of(
                production.event.name,
                production.meta,
                production.psds or {},
                production.event.repository.directory,
            )
        if found.unused_priors:
            self.logger.warning(
                "The ledger's priors of %s are not used: dotpe-exec's are uniform in the "
                "detector-frame masses and effective spin, isotropic, uniform in volume",
                ", ".join(found.unused_priors),
            )
        return found.to_toml()

    # Building and submitting

    def build_dag(
        self, psds: Any = None, user: Any = None, clobber_psd: bool = False,
        dryrun: bool = False,
    ) -> None:  # fmt: skip
        """Make the campaign in the run directory, with the data of its event, and its jobs.

        Raises
        ------
        PipelineException
            The configuration is missing or wrong, or data cannot be read.
        """
        if dryrun:
            print(f"Will make a campaign of dotpe-exec in {self.production.rundir}")
            return
        folder = self._folder()
        with self._told():
            configuration = Configuration.read(self._configuration_file())
            # A name of its own: `events` holds what the campaign makes of it.
            event_file = folder / "data" / f"{configuration.event.get('name')}.npz"
            settings = configuration.settings(event_file)
            if not event_file.exists():
                configuration.make_event(event_file)
            campaign = make(folder, settings, executor="serial", progress=False)
            self._refuse_failed(campaign)
            write_jobs(campaign, self._system(), self._site(configuration))

    def submit_dag(self, dryrun: bool = False) -> int | None:
        """Submit the jobs; return the number that the scheduler gave.

        Raises
        ------
        PipelineException
            There is nothing to submit, or the scheduler refuses.
        """
        folder = self._folder()
        submit = folder / "submit"
        batch_name = f"{self.name}/{self.production.event.name}/{self.production.name}"
        path = submit / {"slurm": "events.sbatch"}.get(self._system(), "campaign.dag")
        self.before_submit(dryrun=dryrun)
        if dryrun:
            print(f"Will submit {path}")
            return None
        if not path.is_file():
            raise PipelineException(
                f"There is no {path}: build the analysis first",
                production=self.production.name,
            )
        try:
            if isinstance(self.scheduler, LocalProcessScheduler):
                number = self.scheduler.submit(
                    {
                        "executable": str(submit / "event.sh"),
                        "arguments": "0",
                        "output": str(submit / "logs" / "event_0.out"),
                        "error": str(submit / "logs" / "event_0.err"),
                        "name": batch_name,
                    }
                )
            elif isinstance(self.scheduler, Slurm):
                number = self.scheduler.submit(str(path))
            else:
                number = self.scheduler.submit_dag(str(path), batch_name=batch_name)
        except (RuntimeError, OSError) as error:
            raise PipelineException(
                f"The scheduler does not take {path}: {error}",
                production=self.production.name,
            ) from error
        self.production.status = "running"
        return int(number)

    def resurrect(self) -> None:
        """Submit again what was ended; an analysis that failed is not.

        Raises
        ------
        PipelineException
            It failed, with the reason, or was submitted often enough.
        """
        self._refuse_failed(Campaign(self._folder()))
        times = int(self.production.meta.get("resurrections", 0))
        if times >= _MOST_RESCUES:
            raise PipelineException(
                f"It was submitted again {times} times and has not finished",
                production=self.production.name,
            )
        self.production.meta["resurrections"] = times + 1
        self.production.job_id = self.submit_dag()

    def clean(self, dryrun: bool = False) -> None:
        """Remove the results; the next submission begins anew."""
        if dryrun:
            return
        campaign = Campaign(self._folder())
        for name in campaign.names:
            campaign.forget(name)
        shutil.rmtree(campaign.files.path / "results", ignore_errors=True)

    # Watching and collecting

    def detect_completion(self) -> bool:
        """Return whether the analysis is finished."""
        if not self.production.rundir:
            return False
        try:
            campaign = Campaign(self.production.rundir)
        except DotpeExecError:  # not built yet
            return False
        return all(state == FINISHED for state in campaign.status().values())

    def after_completion(self) -> None:
        """Write samples for other programs, and the page."""
        from ...export import to_bilby, to_pesummary

        campaign = Campaign(self._folder())
        results = campaign.files.path / "results"
        results.mkdir(exist_ok=True)
        with self._told():
            for name in campaign.names:
                rundir = campaign.files.rundir(name)
                label = self.production.name
                to_bilby(rundir, results / f"{label}_result.json")
                to_pesummary(rundir, results / f"{label}_pesummary.h5")
            campaign.report(executor="serial", progress=False)
        self.collect_pages()
        self._store_environment_files()
        super().after_completion()
        self.production.status = "uploaded"  # nothing is left to be processed

    def samples(self, absolute: bool = False) -> list[str]:
        """Return the files of posterior samples, as bilby's results."""
        if not self.production.rundir:
            return []
        found = sorted(Path(self.production.rundir).glob("results/*_result.json"))
        return [str(path.absolute() if absolute else path) for path in found]

    def collect_assets(self) -> dict[str, Any]:
        """Return what the analysis has produced so far, by kind."""
        assets: dict[str, Any] = {}
        if samples := self.samples(absolute=True):
            assets["samples"] = samples
        if self.production.rundir:
            folder = Path(self.production.rundir)
            for kind, pattern in (
                ("pesummary", "results/*_pesummary.h5"),
                ("report", "report.html"),
                ("config", "campaign.toml"),
            ):
                if found := sorted(folder.glob(pattern)):
                    assets[kind] = str(found[0])
        return assets

    def collect_pages(self) -> None:
        """Copy the event's page to where asimov's own pages are."""
        campaign = Campaign(self._folder())
        target = self._pages()
        for name in campaign.names:
            if campaign.files.page(name).is_file():
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(campaign.files.page(name), target / "dotpe-exec.html")

    def result_pages(self) -> list[tuple[str, str]]:
        """Return the event's page, for asimov's own."""
        if not (self._pages() / "dotpe-exec.html").is_file():
            return []
        place = f"{self.production.event.name}/{self.production.name}/dotpe-exec.html"
        return [("dotpe-exec", place)]

    # How it is done

    def _folder(self) -> Path:
        rundir = self.production.rundir
        if not rundir:
            raise PipelineException(
                "The analysis has no run directory", production=self.production.name
            )
        return Path(rundir)

    def _pages(self) -> Path:
        root = Path(config.get("project", "root"), config.get("general", "webroot"))
        return root / self.production.event.name / self.production.name

    def _configuration_file(self) -> Path:
        production = self.production
        (path,) = production.event.repository.find_prods(
            production.name, production.category
        )
        return Path(path)

    def _system(self) -> str:
        return "slurm" if isinstance(self.scheduler, Slurm) else "htcondor"

    def _site(self, configuration: Configuration) -> Site:
        site = dict(configuration.site)
        if "account" not in site and self._system() == "htcondor":
            with contextlib.suppress(configparser.Error):
                site["account"] = config.get("condor", "accounting")
        try:
            return Site(**site)
        except TypeError as error:
            raise PipelineException(
                f"[site]: {error}", production=self.production.name
            ) from error

    def _refuse_failed(self, campaign: Campaign) -> None:
        for name, state in campaign.status().items():
            if state == FAILED:
                sentence = (campaign.outcome(name) or {}).get("sentence")
                raise PipelineException(str(sentence), production=self.production.name)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn this package's errors into asimov's."""
        try:
            yield
        except DotpeExecError as error:
            raise PipelineException(str(error), production=self.production.name) from error
