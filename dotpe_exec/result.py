"""The result of a run as an object: samples, evidence, verdict, pictures, exports."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .loading import StoredRun, opened

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure

    from .report.skymap import SkyMap
    from .reweighting import Reweighted
    from .verdict import Verdict


class Run(StoredRun):
    """A finished run; everything is read, and computed, when first used.

    In a notebook it shows verdict and results.

    Parameters
    ----------
    path : path
        The run directory.
    """

    # Numbers

    @property
    def ln_evidence(self) -> float:
        """ln evidence, relative to noise; -inf where nothing fits."""
        value = self.summary.get("ln_evidence")
        return float("-inf") if value is None else float(value)

    @property
    def ln_evidence_error(self) -> float:
        """Its standard error; NaN where that is not known."""
        value = self.summary.get("ln_evidence_error")
        return float("nan") if value is None else float(value)

    def table(self, *names: str) -> pd.DataFrame:
        """Return columns of the samples, derived ones too, and their ``weights``.

        Parameters
        ----------
        *names : str
            Columns of ``samples``, ``derived`` or ``detectors``, or ``q``; only what is
            asked for is computed. Without names: all columns of ``samples`` and
            ``derived``.

        Raises
        ------
        InputError
            There is no such column.
        """
        import pandas as pd

        samples = self.samples
        if not names:
            new = self.derived.columns.difference(samples.columns, sort=False)
            return pd.concat([samples, self.derived[new]], axis=1)
        columns = {name: self._column(name) for name in names}
        return pd.DataFrame(columns | {"weights": samples["weights"]})

    def _column(self, name: str) -> pd.Series:
        if name in self.samples:
            return self.samples[name]
        if name == "q":
            return self.samples["m2"] / self.samples["m1"]
        for source in ("derived", "detectors"):
            frame = getattr(self, source)
            if name in frame:
                return frame[name]
        known = [*self.samples, "q", *self.derived, *self.detectors]
        raise InputError(
            f"the samples have no column {name!r}, expected one of {', '.join(known)}"
        )

    def quantiles(
        self, name: str, probabilities: Sequence[float] = (0.05, 0.5, 0.95)
    ) -> np.ndarray:
        """Return quantiles of a column, weights honoured."""
        from .report.intervals import weighted_quantiles

        frame = self.table(name)
        return weighted_quantiles(frame[name], frame["weights"], probabilities)

    @property
    def diagnostics(self) -> Verdict:
        """Whether the result is to be trusted, and what is wrong if not."""
        from .verdict import verdict_of

        return verdict_of(self.summary)

    @functools.cached_property
    def skymap(self) -> SkyMap:
        """The sky map, with the areas that hold 50% and 90% (needs ``ligo.skymap``)."""
        return self._view.skymap

    def prior(self, n: int = 20000, seed: int = 0) -> pd.DataFrame:
        """Return draws from the prior, columns as ``samples``."""
        from .run_prior import prior_draws

        return prior_draws(self, n, seed)

    # Pictures

    def plot_corner(
        self,
        parameters: Sequence[str] = ("mchirp", "q", "chieff", "d_luminosity"),
        *,
        prior: bool = True,
        compare: Sequence[Run | str | os.PathLike] = (),
    ) -> Figure:
        """Draw marginal distributions, one and two at a time.

        Parameters
        ----------
        parameters : sequence of str
            As for :meth:`table`.
        prior : bool
            Whether to show the prior, in grey.
        compare : sequence of runs or paths
            Drawn over this one.

        Raises
        ------
        InputError
            There is no such column, or the runs are of different events.
        """
        from .report.corner import corner_figure
        from .report.view import labels_of

        runs = [self, *(other if isinstance(other, Run) else load(other)
                        for other in compare)]  # fmt: skip
        names = {run._view.event_name for run in runs}
        if len(names) > 1:
            raise InputError(
                f"the runs to compare are of different events: {', '.join(sorted(names))}"
            )
        frames = {
            label: run.table(*parameters)
            for label, run in zip(labels_of(runs), runs, strict=True)
        }
        title = self._view.event_name
        draws = self._prior_of(parameters) if prior else None
        return corner_figure(
            frames, parameters, title, prior=draws, truth=self._truth_of(parameters)
        )

    def plot_sky(self) -> Figure:
        """Draw the sky map (needs ``ligo.skymap``)."""
        from .report.figures import sky

        return sky(self._view)

    def plot_waveform(self, *, band: bool = True) -> Figure:
        """Draw whitened data and best fit; with ``band``, where 90% of waveforms lie."""
        from .report.figures import waveform

        return waveform(self._view, band)

    def plot_timeline(self) -> Figure:
        """Draw which worker did what when."""
        from .report.figures import timeline

        return timeline(self._view)

    def write_report(self, path: str | os.PathLike) -> Path:
        """Write the run's HTML page."""
        from .report.page import write_report

        return write_report(self.path, path)

    # Other programs

    def to_bilby(self, output: str | os.PathLike) -> Path:
        """Write a bilby result (JSON); :func:`dotpe_exec.export.to_bilby`."""
        from .export import to_bilby

        return to_bilby(self.path, output)

    def to_pesummary(self, output: str | os.PathLike) -> Path:
        """Write a PESummary file (HDF5); :func:`dotpe_exec.export.to_pesummary`."""
        from .export import to_pesummary

        return to_pesummary(self.path, output)

    def to_skymap(self, output: str | os.PathLike) -> Path:
        """Write the sky map (FITS, multi-order, with distance; needs ``ligo.skymap``)."""
        from .export import to_skymap

        return to_skymap(self, output)

    def to_arviz(self) -> Any:
        """Return an ArviZ ``InferenceData`` of equal-weight samples (needs ``arviz``)."""
        from .export.arviz import to_arviz

        return to_arviz(self)

    def bilby_likelihood(self) -> Any:
        """Return bilby's likelihood of the same data and noise (needs ``bilby``)."""
        from .export import bilby_likelihood

        return bilby_likelihood(self)

    # Other priors and data

    def reweight(
        self,
        ratio: Callable[[pd.DataFrame], Any] | None = None,
        *,
        distance: str | None = None,
        psds: Any = None,
        asd_drift: Any = None,
        approximant: str | None = None,
        calibration: Mapping[str, str | os.PathLike] | None = None,
        calibration_correction: str = "data",
        n_curves: int = 200,
        seed: int = 0,
        executor: Any = None,
        n_procs: int | None = None,
        progress: bool = False,
    ) -> Reweighted:
        """Return the posterior under another prior, noise, waveform model or calibration.

        Parameters
        ----------
        ratio : callable, optional
            Takes a frame with the columns of :meth:`table` and returns, row by row, the
            ratio of the new prior density to the old one: a population model.
        distance : str, optional
            ``"comoving"``: uniform in comoving volume and source time, instead of in
            luminosity volume.
        psds : dict or sequence of path, optional
            Power spectral densities of the detectors (text of two columns: frequency [Hz]
            and density [1/Hz]), by name or in the event's order. Likelihoods of the
            samples are computed again, exactly.
        asd_drift : float, sequence or dict, optional
            Level of the noise over that of the densities; as in ``run``. Without: 1 with
            new densities, else the run's.
        approximant : str, optional
            Another waveform model; also exactly. Samples are moved in time and phase to
            where the new model's m = 2 mode is in phase with the old one's.
        calibration : dict of path, optional
            Envelope files by detector, as bilby reads them: the likelihood is averaged over
            curves drawn from them, and ``samples`` get ``calibration_curve``, one of these
            drawn by likelihood (rows of ``curves``).
        calibration_correction : {"data", "template"}
            What the files' factors are applied to, as in bilby; files of the LVK: data.
        n_curves, seed : int
            How many calibration curves, and their seed.
        executor, n_procs, progress
            Where likelihoods are computed, as in :func:`dotpe_exec.run_multicore`.

        Returns
        -------
        Reweighted
            Samples with new weights, evidence if ``ratio`` is that of normalised
            densities, effective sample sizes and a verdict. Of more than 10000 samples so
            many are drawn by weight before likelihoods are computed.

        Raises
        ------
        InputError, MissingFileError, BankError
            Something that was given cannot be used.
        RunDirectoryError
            The run directory lacks event or posterior.
        """
        from .reweighting import reweight
        from .reweighting.likelihood import OtherData

        other = OtherData(
            psds,
            asd_drift,
            approximant,
            calibration,
            calibration_correction,
            n_curves,
            seed,
        )
        return reweight(
            self, ratio, distance=distance, other=other,
            executor=executor, n_procs=n_procs, progress=progress,
        )  # fmt: skip

    # How it shows

    def _repr_html_(self) -> str:
        from .report.summary_html import run_html

        return run_html(self)

    @functools.cached_property
    def _view(self) -> Any:
        from .report.view import RunView

        return RunView(self, self.path.resolve().name)

    def _prior_of(self, parameters: Sequence[str]) -> pd.DataFrame | None:
        """Return the prior of those columns that it has."""
        from .derived import binary_parameters, standard_parameters

        draws, tgps = self.prior(), float(self.event.tgps)
        missing = {name for name in parameters if name not in draws and name != "q"}
        # The second fits the remnant of each draw, which takes seconds.
        for derive in (binary_parameters, standard_parameters):
            if missing.isdisjoint(derive(draws.head(1), tgps)):
                continue
            derived = derive(draws, tgps)
            draws = draws.assign(**{name: derived[name] for name in derived})
            missing -= set(derived)
        return draws

    def _truth_of(self, parameters: Sequence[str]) -> Mapping[str, float] | None:
        """Return injected values, None for real data."""
        from .report.truth import injected_parameters

        return injected_parameters(self)


def load(path: str | os.PathLike) -> Run:
    """Open a run directory, of this package or of the published code.

    Parameters
    ----------
    path : path
        What ``run`` and ``run_multicore`` return.

    Returns
    -------
    Run

    Raises
    ------
    MissingFileError
        There is no such directory.
    RunDirectoryError
        It is not a run directory.
    """
    return opened(Run(path))
