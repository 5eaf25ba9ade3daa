"""The inputs of the likelihood phases as a finished run had them.

For benchmarks that compare the kernels with their dense references on real data: the
bank's waveforms, the summaries made with the run's own reference waveform, its extrinsic
samples and the waveforms that it selected. :func:`real_problem` makes the run on the
standard workload where none is given.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import w16k

from dotpe_exec.banks.format import open_bank
from dotpe_exec.banks.waveforms import BankHandle
from dotpe_exec.kernels.summary import IncoherentSummary, Summary
from dotpe_exec.rundir.files import RunFiles


@dataclass(frozen=True)
class RealProblem:
    """What the likelihood phases of a run on one bank started from.

    Parameters
    ----------
    bank : BankHandle
    summary : Summary
    incoherent : IncoherentSummary
    response_dpe : (n_d, 2, n_e) float
    timeshift_dbe : (n_d, n_b, n_e) complex
    inds : (n_i,) int
        The waveforms that were selected.
    incoherent_lnlikes : (n_i,) float
    n_phi : int
    """

    bank: BankHandle
    summary: Summary
    incoherent: IncoherentSummary
    response_dpe: np.ndarray
    timeshift_dbe: np.ndarray
    inds: np.ndarray
    incoherent_lnlikes: np.ndarray
    n_phi: int


def real_problem(
    rundir: Path | None = None,
    *,
    n_ext: int = w16k.RUN["n_ext"],
    n_phi: int = w16k.RUN["n_phi"],
) -> RealProblem:
    """Return what a run on the standard workload starts its likelihood phases from.

    Parameters
    ----------
    rundir : Path, optional
        A run on the standard workload that exists; default: one is made and removed.
    n_ext, n_phi : int
        Of the run that is made.
    """
    if rundir is not None:
        return _read_problem(RunFiles(rundir))
    from dotpe_exec import run

    with tempfile.TemporaryDirectory() as folder:
        arguments = w16k.RUN | {"n_ext": n_ext, "n_phi": n_phi}
        made = run(
            w16k.make_event(), w16k.make_bank(), rundir=Path(folder) / "run",
            progress=False, **arguments,
        )  # fmt: skip
        return _read_problem(RunFiles(made))


def _read_problem(files: RunFiles) -> RealProblem:
    import json

    from cogwheel.utils import read_json

    from dotpe_exec.cogwheel_bridge import make_incoherent_summary, make_summary

    kwargs = json.loads(files.run_kwargs.read_text(encoding="utf-8"))
    (bank_id,) = (folder.name for folder in files.bank_folders())
    bank = open_bank(kwargs["bank_folder"], bank_id)
    likelihood = read_json(files.posterior).likelihood
    modes = bank.config.harmonic_modes
    with np.load(files.intrinsic_samples(bank_id)) as selected:
        inds, lnlikes = selected["inds"], selected["incoherent_lnlikes"]
    return RealProblem(
        bank=bank.handle,
        summary=make_summary(likelihood, harmonic_modes=modes),
        incoherent=make_incoherent_summary(likelihood, kwargs["n_t"], harmonic_modes=modes),
        response_dpe=np.load(files.response),
        timeshift_dbe=np.load(files.timeshift),
        inds=inds,
        incoherent_lnlikes=lnlikes,
        n_phi=kwargs["n_phi"],
    )
