"""The demonstration: GW150914 from public strain, without a bank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

EVENT = "GW150914"


def run_demo(
    folder: str | Path | None = None,
    *,
    n_effective: float = 4000,
    seed: int = 0,
    executor: Any = None,
    n_procs: int | None = None,
    progress: bool = True,
) -> tuple[Path, Path]:
    """Infer the parameters of GW150914, as :func:`dotpe_exec.infer` does by default.

    The range of chirp masses is found in the data, and the prior is as wide as for any
    other event.

    Parameters
    ----------
    folder : path, optional
        Where the runs go; default: a folder in the user's cache.
    n_effective : float
        Effective waveforms to aim for.
    seed : int
        Of the run.
    executor, n_procs, progress
        As in :func:`dotpe_exec.infer`.

    Returns
    -------
    rundir, picture : pathlib.Path
        The run directory and the corner plot in it.
    """
    import pandas as pd
    import platformdirs

    from .inference import infer
    from .report.corner import save_corner_plot
    from .rundir.directory import RunDirectory
    from .validation import check_path

    if folder is None:
        folder = platformdirs.user_cache_path("dotpe") / "demo"
    check_path("folder", folder)
    rundir = infer(
        EVENT,
        n_effective=n_effective,
        seed=seed,
        event_dir=Path(folder).expanduser() / "runs",
        executor=executor,
        n_procs=n_procs,
        progress=progress,
    )
    picture = save_corner_plot(
        pd.read_feather(RunDirectory(rundir).samples), rundir / "corner.png", title=EVENT
    )
    return rundir, picture
