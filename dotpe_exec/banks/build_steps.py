"""The steps of building a bank: waveforms block by block as tasks, then its small files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import write_feather, write_json, write_npy
from ..digests import file_digest
from ..errors import BankError
from ..executors.phases import PhaseRunner
from ..executors.task import Task
from ..kernels.masses import chirp_mass
from ..warned import warn
from ..waveforms.parameters import PARAMETERS
from .blocks import BlockWriter
from .build_folder import BlockRecord, read_record, remove_records, write_record
from .config import first_appearance
from .format import CHECKSUMS_NAME, CONFIG_NAME, TABLE_NAME
from .generate import Draws, GenerateTask, generate_waveforms, redraw
from .own_prior import TravellingPrior
from .recipe import BankRecipe
from .waveforms import DIGESTS_NAME, WAVEFORMS_NAME

#: Waveforms per task: some tenths of a second of work, some megabytes of result.
WAVEFORMS_PER_TASK = 32


def generate_blocks(folder: Path, recipe: BankRecipe, runner: PhaseRunner) -> None:
    """Generate the waveforms of all blocks that are not complete, and write them."""
    bank = recipe.handle(folder)
    missing = [k for k in range(bank.n_blocks) if read_record(folder, recipe, k) is None]
    if not missing:
        return
    tasks = _tasks(recipe, missing, runner)
    writers: dict[int, BlockWriter] = {}
    attempts: dict[int, dict[int, int]] = {k: {} for k in missing}
    n_direct = dict.fromkeys(missing, 0)
    try:
        for task, result in runner.map(
            "bank",
            generate_waveforms,
            tasks,
            n_tasks=len(tasks),
            work=_n_waveforms,
            unit="waveform",
        ):
            start = task.payload.start
            k = start // recipe.blocksize
            if k not in writers:
                writers[k] = BlockWriter(bank, k)
            writers[k].write(start, result.amplitudes_impb, result.phases_impb)
            for row in np.flatnonzero(result.attempts_i):
                attempts[k][start + int(row)] = int(result.attempts_i[row])
            n_direct[k] += int(np.sum(result.ways_i == "direct"))
            if not writers[k].n_missing:
                checksums, digests = writers.pop(k).commit()
                record = BlockRecord(checksums, attempts.pop(k), n_direct.pop(k), digests)
                write_record(folder, k, record)
    finally:
        for writer in writers.values():
            writer.discard()


def _tasks(recipe: BankRecipe, blocks: list[int], runner: PhaseRunner) -> list[Task]:
    """Return the tasks of blocks, none across two of them."""
    fbin = runner.store.put(np.array(recipe.fbin))
    parameters_ik = recipe.draw()
    proposal: Draws = (
        recipe.proposal if recipe.own is None else TravellingPrior.of(recipe.own)
    )
    tasks = []
    for k in blocks:
        stop = min((k + 1) * recipe.blocksize, recipe.bank_size)
        for start in range(k * recipe.blocksize, stop, WAVEFORMS_PER_TASK):
            rows = slice(start, min(start + WAVEFORMS_PER_TASK, stop))
            payload = GenerateTask(
                approximant=recipe.approximant,
                harmonic_modes=recipe.harmonic_modes,
                way=recipe.way,
                f_ref=recipe.f_ref,
                fbin=fbin,
                proposal=proposal,
                seed=recipe.seed,
                start=start,
                parameters_ik=parameters_ik[rows],
            )
            tasks.append(Task(f"{start:010d}", payload))
    return tasks


def _n_waveforms(task: GenerateTask) -> int:
    return len(task.parameters_ik)


def write_tables(folder: Path, recipe: BankRecipe, pn_phase_tol: float | None) -> None:
    """Write table, configuration and checksums, now that all blocks are there."""
    import pandas as pd

    parameters_ik = recipe.draw()
    checksums: dict[str, str] = {}
    digests: list[int] = []
    n_redrawn = n_direct = 0
    for k in range(recipe.handle(folder).n_blocks):
        record = read_record(folder, recipe, k)
        if record is None:
            raise BankError(f"{folder}: block {k} disappeared while the bank was built")
        checksums |= {f"{WAVEFORMS_NAME}/{n}": c for n, c in record.checksums.items()}
        n_direct += record.n_direct
        digests += record.digests
        for index, attempt in record.attempts.items():
            parameters_ik[index] = redraw(recipe.proposal, recipe.seed, index, attempt)
            n_redrawn += attempt
    table = pd.DataFrame(parameters_ik, columns=list(PARAMETERS))
    weights = recipe.log_prior_weights(parameters_ik)
    # Draws without a waveform are draws of likelihood zero.
    fraction = recipe.bank_size / (recipe.bank_size + n_redrawn)
    table["log_prior_weights"] = weights + np.log(fraction)
    if n_redrawn:
        warn(
            f"{recipe.approximant} had no waveform for {n_redrawn} of "
            f"{recipe.bank_size + n_redrawn} draws; others were drawn and the weights "
            "lowered accordingly",
            stacklevel=3,
        )
    write_feather(folder / TABLE_NAME, table)
    mchirp = chirp_mass(parameters_ik[:, 0], parameters_ik[:, 1])
    mchirp_range = recipe.mchirp_range or (float(mchirp.min()), float(mchirp.max()))
    config = _config(recipe, mchirp_range, pn_phase_tol, n_redrawn, n_direct)
    write_json(folder / CONFIG_NAME, config)
    write_npy(folder / DIGESTS_NAME, np.array(digests, dtype=np.uint64))
    for name in (TABLE_NAME, CONFIG_NAME, DIGESTS_NAME):
        checksums[name] = file_digest(folder / name)
    write_json(folder / CHECKSUMS_NAME, {"algorithm": "blake2b-16", "files": checksums})
    remove_records(folder)


def _config(
    recipe: BankRecipe,
    mchirp_range: tuple[float, float],
    pn_phase_tol: float | None,
    n_redrawn: int,
    n_direct: int,
) -> dict[str, Any]:
    config = {
        "bank_size": recipe.bank_size,
        "mchirp_min": mchirp_range[0],
        "mchirp_max": mchirp_range[1],
        "q_min": recipe.q_min,
        "q_max": 1.0,
        "f_ref": recipe.f_ref,
        "fbin": recipe.fbin,
        "pn_phase_tol": pn_phase_tol,
        "approximant": recipe.approximant,
        "m_arr": first_appearance(recipe.harmonic_modes),
        "harmonic_modes": recipe.harmonic_modes,
        "seed": recipe.seed,
        "blocksize": recipe.blocksize,
        "n_redrawn": n_redrawn,
        "waveform_generation": recipe.way,
        "n_direct": n_direct,
    }
    if recipe.own is not None:
        return config | {"prior": recipe.prior_description()}
    low, high = recipe.prior_mchirp_range or mchirp_range
    default = {"alpha": recipe.alpha, "prior_mchirp_min": low, "prior_mchirp_max": high}
    return config | default
