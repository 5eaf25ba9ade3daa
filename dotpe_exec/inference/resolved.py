"""A resolved run: all that is known before its first stage, and nothing left to decide."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..config import ResolvedConfig
from ..rundir.directory import RunDirectory, RunState, choose
from ..seeds import draw_seed
from .arguments import RunArguments
from .input_record import InputRecord
from .inputs import RunInputs, input_files, problem_size, run_identity
from .memory_model import ProblemSize, fit_memory


@dataclass(frozen=True)
class ResolvedRun:
    """What the stages work with.

    Parameters
    ----------
    arguments : RunArguments
        With the seed.
    seed : int
        Given, an earlier attempt's, or drawn.
    inputs : RunInputs
    size : ProblemSize
    config : ResolvedConfig
        With the batch sizes that are recorded in the directory.
    directory : RunDirectory
        Taken for this run.
    record : InputRecord
        Of the files that it reads.
    finished : bool
        The same run ended here before: nothing is left to do.
    """

    arguments: RunArguments
    seed: int
    inputs: RunInputs
    size: ProblemSize
    config: ResolvedConfig
    directory: RunDirectory
    record: InputRecord
    finished: bool


@contextlib.contextmanager
def resolved_run(
    arguments: RunArguments,
    inputs: RunInputs,
    config: ResolvedConfig,
    *,
    resume: bool,
    overwrite: bool,
) -> Iterator[ResolvedRun]:
    """Take the run directory, until the end of the context, and settle what is open.

    Parameters
    ----------
    arguments : RunArguments
    inputs : RunInputs
    config : ResolvedConfig
        That fits the memory; a resumed run keeps the batch sizes it began with.
    resume, overwrite : bool

    Raises
    ------
    RunDirectoryError
        The directory cannot be used for this run, or its run read other waveforms.
    """
    directory = choose(arguments.rundir, arguments.event_dir, resume=resume)
    seed = arguments.seed
    if seed is None and resume:
        seed = directory.stored_seed()
    if seed is None:
        seed = draw_seed()
    arguments = dataclasses.replace(arguments, seed=seed)
    size = problem_size(arguments, inputs)
    files = input_files(arguments)
    read_only = [path for path in files if not _is_in(path, directory)]
    record = InputRecord(directory, inputs.candidates, read_only)
    with directory:
        state = directory.prepare(
            run_identity(arguments, inputs),
            resume=resume,
            overwrite=overwrite,
            keep=files,
        )
        record.compare(state)
        finished = state is RunState.FINISHED
        if not finished:
            recorded = config.with_sizes(directory.record_sizes(config.sizes()))
            if recorded != config:  # resumed with larger batches: perhaps fewer workers
                config = fit_memory(recorded, size, keep_sizes=True)
        yield ResolvedRun(
            arguments, seed, inputs, size, config, directory, record, finished
        )


def _is_in(path: Path, directory: RunDirectory) -> bool:
    """Return whether a file lies where the run writes: it was read before it began."""
    return Path(os.path.realpath(directory.path)) in Path(os.path.realpath(path)).parents
