"""The demonstration: GW150914 from public strain, with a bank built on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

EVENT = "GW150914"
# The posterior's 0.1% quantiles lie at 26.6 and 34.7 solar masses and q = 0.47.
_MCHIRP_RANGE = (26.5, 35.0)
_Q_MIN = 0.4
_PN_PHASE_TOL = 0.1


def run_demo(
    folder: str | Path | None = None,
    *,
    bank_size: int = 65536,
    seed: int = 0,
    executor: Any = None,
    n_procs: int | None = None,
    progress: bool = True,
) -> tuple[Path, Path]:
    """Build a bank around GW150914 (once) and run the inference on it.

    Parameters
    ----------
    folder : path, optional
        Where the bank and the runs go; default: a folder in the user's cache, where the
        bank is found again the next time.
    bank_size : int
        Number of waveforms; about one in 2000 is effective.
    seed : int
        Of the bank and of the run.
    executor, n_procs, progress
        As in :func:`dotpe_exec.run_multicore`.

    Returns
    -------
    rundir, picture : pathlib.Path
        The run directory and the corner plot in it.
    """
    import pandas as pd
    import platformdirs

    from .banks.build import build_bank
    from .inference import run_multicore
    from .report.corner import save_corner_plot
    from .rundir.directory import RunDirectory
    from .validation import check_path

    if folder is None:
        folder = platformdirs.user_cache_path("dotpe") / "demo"
    check_path("folder", folder)
    folder = Path(folder).expanduser()
    workers = {"executor": executor, "n_procs": n_procs, "progress": progress}
    bank = build_bank(
        folder / f"bank_{bank_size}_{seed}",
        bank_size=bank_size,
        mchirp_range=_MCHIRP_RANGE,
        q_min=_Q_MIN,
        event=EVENT,
        pn_phase_tol=_PN_PHASE_TOL,
        seed=seed,
        **workers,
    )
    rundir = run_multicore(
        EVENT,
        bank,
        n_ext=1024,
        n_phi=64,
        n_t=128,
        seed=seed,
        event_dir=folder / "runs",
        **workers,
    )
    picture = save_corner_plot(
        pd.read_feather(RunDirectory(rundir).samples), rundir / "corner.png", title=EVENT
    )
    return rundir, picture
