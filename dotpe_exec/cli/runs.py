"""``dotpe-exec run``, ``infer`` and ``demo``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import click

from .grouped import GroupedCommand
from .options import (
    FILE,
    FOLDER,
    VALUE,
    calibration_options,
    executor_options,
    strict_option,
)
from .several import SeveralValues
from .show import show_results
from .tuning import is_tuned, tune_and_show

_EXECUTION = ("executor", "n_procs", "progress", "profile", "multicore", "autotune_only",
              "multicore_config", "i_batch", "batches_per_task", "pairs_per_task",
              "e_blocksize", "blocksize", "single_detector_blocksize")  # fmt: skip
_WHERE = ("rundir", "event_dir", "resume", "overwrite", "strict")
_RESULTS = ("n_draws", "draw_subset", "size_limit", "exact_likelihoods", "save_waveforms")

_ASD_DRIFT = (
    "Noise level near the event: a number, JSON list, or dictionary by detector; 1 "
    "switches its estimate off."
)


class RunCommand(SeveralValues, GroupedCommand):
    """``run``, whose options come in groups and take several values."""

    groups: ClassVar = {
        "What is analysed": ("event", "bank_folder", "n_int", "i_int_start",
                             "preselected_indices", "load_inds", "inds_path",
                             "bank_logw_override"),
        "Where it goes": _WHERE,
        "How finely": ("n_ext", "n_phi", "n_t", "n_phi_incoherent", "seed",
                       "max_incoherent_lnlike_drop", "max_bestfit_lnlike_diff",
                       "coherent_score_min_n_effective_prior", "extrinsic_samples"),
        "Reference waveform and noise": ("mchirp_guess", "par_dic_0", "refine_reference",
                                         "asd_drift", "calibration",
                                         "calibration_correction",
                                         "coherent_posterior_kwargs"),
        "Results": _RESULTS,
        "Processes and batches": _EXECUTION,
    }  # fmt: skip


class InferCommand(SeveralValues, GroupedCommand):
    """``infer``, whose options come in groups."""

    groups: ClassVar = {
        "What is analysed": ("event",),
        "Where it goes": _WHERE,
        "Prior and waveforms": ("mchirp_range", "q_min", "prior", "approximant", "f_ref",
                                "pn_phase_tol", "bank_folder"),
        "How finely": ("n_effective", "max_waveforms", "n_ext", "n_phi", "n_t", "seed"),
        "Reference waveform and noise": ("par_dic_0", "asd_drift", "calibration",
                                         "calibration_correction",
                                         "coherent_posterior_kwargs"),
        "Results": _RESULTS,
        "Processes": _EXECUTION,
    }  # fmt: skip


@click.command(cls=RunCommand)
@click.option(
    "--event", required=True, type=FILE, help="Event .npz, or the name of a bundled event."
)
@click.option(
    "--bank-folder",
    "--bank",
    required=True,
    type=VALUE,
    help="Bank folder; several separated by commas, or JSON {bank_id: path}.",
)
@click.option("--rundir", type=FOLDER, help="Run directory.")
@click.option(
    "--event-dir", type=FOLDER, help="Parent of run directories run_0, run_1, ..."
)
@click.option(
    "--n-ext", type=int, default=512, show_default=True, help="Extrinsic samples."
)
@click.option("--n-phi", type=int, default=100, show_default=True, help="Orbital phases.")
@click.option("--n-t", type=int, default=128, show_default=True, help="Arrival times.")
@click.option(
    "--n-int", type=VALUE, help="Waveforms per bank: a number, JSON list or dictionary."
)
@click.option(
    "--i-int-start", type=int, default=0, show_default=True,
    help="First waveform of the range that --n-int counts from.",
)  # fmt: skip
@click.option(
    "--blocksize", type=int, default=512, show_default=True,
    help="Extrinsic samples per coherent batch.",
)  # fmt: skip
@click.option(
    "--single-detector-blocksize", type=int, default=512, show_default=True,
    help="Waveforms per incoherent batch.",
)  # fmt: skip
@click.option("--seed", type=int, help="Seed of all draws (default: drawn and recorded).")
@click.option("--load-inds", is_flag=True, help="Take waveforms from --inds-path.")
@click.option("--inds-path", type=VALUE, help="intrinsic_samples.npz of an earlier run.")
@click.option(
    "--size-limit", type=int, default=10**7, show_default=True,
    help="Most samples that are kept per bank, and in all.",
)  # fmt: skip
@click.option(
    "--draw-subset/--no-draw-subset", default=True, show_default=True,
    help="Draw samples that count the same, or keep all with their weights.",
)  # fmt: skip
@click.option("--n-draws", type=int, help="Samples to draw (default: n_effective // 2).")
@click.option(
    "--coherent-score-min-n-effective-prior", type=float, default=100, show_default=True,
    help="Effective points under the prior that each extrinsic proposal must have.",
)  # fmt: skip
@click.option(
    "--max-incoherent-lnlike-drop", type=float, default=20, show_default=True,
    help="How far below the best a waveform's incoherent ln likelihood may be.",
)  # fmt: skip
@click.option(
    "--max-bestfit-lnlike-diff", type=float, default=20, show_default=True,
    help="How far below the best a sample's ln likelihood may be.",
)  # fmt: skip
@click.option("--mchirp-guess", type=float, help="Chirp mass guess [solar masses].")
@click.option(
    "--extrinsic-samples", type=FILE, help="extrinsic_samples.feather of an earlier run."
)
@click.option("--n-phi-incoherent", type=int, help="Phases of the incoherent stage.")
@click.option(
    "--preselected-indices",
    type=VALUE,
    help="Only these waveforms: .npy file, JSON list, or dictionary per bank.",
)
@click.option(
    "--bank-logw-override",
    type=VALUE,
    help="Weights instead of the banks': JSON list, or dictionary of lists per bank.",
)
@click.option(
    "--coherent-posterior-kwargs", type=VALUE,
    help="JSON dictionary of arguments for cogwheel's Posterior.from_event.",
)  # fmt: skip
@click.option(
    "--par-dic-0", type=FILE, help="JSON file with the reference waveform's parameters."
)
@click.option(
    "--exact-likelihoods",
    is_flag=True,
    help="Likelihoods of the drawn samples on the full frequency grid; weights and "
    "evidence follow.",
)
@click.option(
    "--refine-reference/--no-refine-reference",
    default=None,
    help="Whether the reference waveform is the likelihood's maximum (default: unless "
    "--par-dic-0 is given).",
)
@click.option("--asd-drift", type=VALUE, help=_ASD_DRIFT)
@calibration_options
@click.option("--i-batch", type=int, help="Waveforms per incoherent batch.")
@click.option("--batches-per-task", type=int, help="Incoherent batches per message.")
@click.option("--pairs-per-task", type=int, help="Coherent pairs per message.")
@click.option("--e-blocksize", type=int, help="Extrinsic samples per coherent block.")
@click.option(
    "--multicore-config",
    type=VALUE,
    help="JSON dictionary of a MulticoreConfig; the flags for single values win.",
)
@click.option(
    "--multicore",
    type=click.Choice(["auto", "manual"]),
    help="auto: this machine's tuned configuration, tuned first if there is none; "
    "manual: these flags and defaults only (default: the tuned one if there is one).",
)
@click.option(
    "--autotune-only", is_flag=True, help="Tune on this event and bank, and stop."
)
@click.option("--resume", is_flag=True, help="Continue the run in --rundir.")
@click.option("--overwrite", is_flag=True, help="Replace results in --rundir.")
@click.option(
    "--profile", is_flag=True, help="Also profile all processes, and write trace.json."
)
@executor_options
@strict_option
def run(multicore: str | None, autotune_only: bool, strict: bool, **arguments: Any) -> None:
    """Run the inference on an event with one or more banks.

    \b
    Example:
      dotpe-exec run --event GW150914 --bank-folder banks/bbh --rundir runs/GW150914
    """
    from ..config import without_cached_config
    from ..inference import run_multicore

    if autotune_only or (multicore == "auto" and not is_tuned()):
        tune_and_show(arguments["event"], arguments["bank_folder"], arguments["progress"])
    if autotune_only:
        return
    with without_cached_config() if multicore == "manual" else contextlib.nullcontext():
        rundir = run_multicore(**arguments)
    show_results(rundir, strict=strict)


def adaptive_options(command: Callable) -> Callable:
    """Add the options of an analysis that draws its own bank."""
    for option in reversed(
        [
            click.option(
                "--n-effective", type=float, default=4000, show_default=True,
                help="Effective waveforms at which to stop.",
            ),
            click.option(
                "--max-waveforms", type=int, default=100_000, show_default=True,
                help="Waveforms at which to stop in any case.",
            ),
            click.option(
                "--mchirp-range", type=float, nargs=2,
                help="Prior range [solar masses] (default: searched in the data).",
            ),
            click.option(
                "--q-min", type=float, default=0.1, show_default=True,
                help="Smallest mass ratio.",
            ),
            click.option(
                "--bank-folder",
                type=VALUE,
                help="Begin with waveforms of these banks instead of draws from the prior.",
            ),
            click.option(
                "--prior",
                type=VALUE,
                help="A prior of one's own: package.module:NAME (with --mchirp-range).",
            ),
            click.option(
                "--approximant", default="IMRPhenomXPHM", show_default=True,
                help="Waveform model.",
            ),
            click.option(
                "--f-ref", type=float, default=50.0, show_default=True,
                help="Reference frequency of the spins [Hz].",
            ),
            click.option(
                "--pn-phase-tol", type=float,
                help="Phase tolerance of frequency bins [rad] (default: chosen from the "
                "event).",
            ),
            click.option(
                "--n-ext", type=int,
                help="Extrinsic samples; default: 1024, or as many as the error of ln "
                "evidence needs, up to 8192.",
            ),
            click.option(
                "--n-phi", type=int, default=32, show_default=True, help="Orbital phases."
            ),
            click.option(
                "--n-t", type=int, default=64, show_default=True, help="Arrival times."
            ),
            click.option(
                "--seed", type=int, help="Seed of all draws (default: drawn and recorded)."
            ),
            click.option(
                "--par-dic-0", type=FILE,
                help="JSON file with the reference waveform's parameters."
            ),
            click.option("--asd-drift", type=VALUE, help=_ASD_DRIFT),
            click.option(
                "--coherent-posterior-kwargs", type=VALUE,
                help="JSON dictionary of arguments for cogwheel's Posterior.from_event.",
            ),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


@click.command(cls=InferCommand)
@click.argument("event")
@click.option("--rundir", type=FOLDER, help="Run directory.")
@click.option(
    "--event-dir", type=FOLDER, help="Parent of run directories run_0, run_1, ..."
)
@adaptive_options
@click.option("--n-draws", type=int, help="Samples to draw (default: n_effective // 2).")
@click.option(
    "--exact-likelihoods",
    is_flag=True,
    help="Likelihoods of the drawn samples on the full frequency grid; weights and "
    "evidence follow.",
)
@calibration_options
@click.option("--save-waveforms", is_flag=True, help="Also write the bank's waveforms.")
@click.option("--resume", is_flag=True, help="Continue the run in --rundir.")
@click.option("--overwrite", is_flag=True, help="Replace results in --rundir.")
@click.option(
    "--profile", is_flag=True, help="Also profile all processes, and write trace.json."
)
@executor_options
@strict_option
def infer(strict: bool, **arguments: Any) -> None:
    """Infer the parameters of EVENT (an .npz, or a bundled event) without a bank.

    \b
    Example:
      dotpe-exec infer GW150914 --rundir runs/GW150914
    """
    from ..inference import infer

    if arguments["prior"] is not None:
        sys.path.insert(0, str(Path.cwd()))  # where a script of one's own is looked for
    show_results(infer(**arguments), strict=strict)


@click.command()
@click.option("--folder", type=FOLDER, help="Where the run goes (default: a cache folder).")
@click.option(
    "--n-effective", type=float, default=4000, show_default=True,
    help="Effective waveforms to aim for.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all draws.")
@executor_options
@strict_option
def demo(strict: bool, **arguments: Any) -> None:
    """Analyse GW150914 from real LIGO data, without a bank.

    \b
    Example:
      dotpe-exec demo
    """
    from ..demo import run_demo

    rundir, picture = run_demo(**arguments)
    click.echo(f"corner plot: {picture}")
    show_results(rundir, strict=strict)
