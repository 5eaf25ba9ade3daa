"""What autotuning measured, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import MulticoreConfig
from ..errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

# Of two configurations closer than this, the one that takes less is as good.
INDIFFERENCE = 0.02


@dataclass
class Trial:
    """One configuration that was tried.

    Parameters
    ----------
    config : MulticoreConfig
    throughputs : list of float
        Work per second, one value per measurement.
    peak_memory_gb : float
        Largest memory of a worker [GB].
    problem : str, optional
        Why it cannot be chosen.
    """

    config: MulticoreConfig
    throughputs: list[float] = field(default_factory=list)
    peak_memory_gb: float = 0.0
    problem: str | None = None

    @property
    def throughput(self) -> float:
        """Largest of the measurements: what else the machine does only slows."""
        return max(self.throughputs, default=0.0)

    @property
    def noise(self) -> float:
        """How far below it the second largest is, relative to it."""
        if len(self.throughputs) < 2:
            return 0.0
        return 1 - sorted(self.throughputs)[-2] / self.throughput

    def add(self, throughput: float, peak_memory_gb: float, cap: float | None) -> None:
        """Take in a measurement."""
        if not (math.isfinite(throughput) and throughput > 0):
            self.problem = f"throughput {throughput!r} is not a positive number"
        elif math.isnan(peak_memory_gb):
            self.problem = "peak memory is not a number"
        elif cap is not None and peak_memory_gb > cap:
            self.problem = f"{peak_memory_gb:.3g} GB per worker, allowed are {cap:.3g}"
        else:
            self.throughputs.append(float(throughput))
        self.peak_memory_gb = max(self.peak_memory_gb, float(peak_memory_gb))


@dataclass(frozen=True)
class TuningResult:
    """What was found.

    Parameters
    ----------
    config : MulticoreConfig
    trials : list of Trial
        In the order in which they were measured.
    verdict : str
        How sure it is.
    kept_in : Path, optional
        The file where it is kept for later runs.
    """

    config: MulticoreConfig
    trials: list[Trial]
    verdict: str
    kept_in: Path | None = None

    def table(self) -> Table:
        """Return the trials as a table for the terminal."""
        from rich.table import Table

        names = [
            name
            for name in MulticoreConfig().to_dict()
            if any(getattr(trial.config, name) is not None for trial in self.trials)
        ]
        table = Table(title="Autotuning", title_justify="left", caption=self.verdict)
        for name in (*names, "throughput", "noise", "GB per worker"):
            table.add_column(name, justify="right")
        table.add_column("")
        for trial in self.trials:
            sizes = [_text(getattr(trial.config, name)) for name in names]
            measured = (
                [f"{trial.throughput:.4g}", f"{100 * trial.noise:.0f}%"]
                if trial.throughputs
                else ["", ""]
            )
            chosen = covers(self.config, trial.config) and not trial.problem
            remark = trial.problem or ("chosen" if chosen else "")
            memory = f"{trial.peak_memory_gb:.2g}" if trial.peak_memory_gb else ""
            table.add_row(*sizes, *measured, memory, remark)
        return table


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def covers(config: MulticoreConfig, part: MulticoreConfig) -> bool:
    """Return whether a configuration has all values that are set in another."""
    values = config.to_dict()
    return all(values[name] == value for name, value in part.to_dict().items() if value)


def best_first(trials: Iterable[Trial]) -> list[Trial]:
    """Return the trials that can be chosen, fastest first."""
    valid = [trial for trial in trials if trial.problem is None]
    return sorted(valid, key=lambda trial: -trial.throughput)


def choose(trials: Sequence[Trial], default: MulticoreConfig | None = None) -> Trial:
    """Return the trial that takes least of those as fast as the fastest.

    Parameters
    ----------
    trials : sequence of Trial
    default : MulticoreConfig, optional
        A trial with these values is chosen unless the other was faster in every round;
        the trials were then measured in rounds.

    Raises
    ------
    InputError
        None can be chosen.
    """
    valid = best_first(trials)
    if not valid:
        reasons = "; ".join(
            f"{_shortly(trial.config)}: {trial.problem}" for trial in trials[:5]
        )
        raise InputError(f"no candidate can be used: {reasons}")
    # Only measured as often as the best, a value may be luck.
    most = max(len(trial.throughputs) for trial in valid)
    confirmed = [trial for trial in valid if len(trial.throughputs) == most]
    least = (1 - INDIFFERENCE) * confirmed[0].throughput
    good = [trial for trial in confirmed if trial.throughput >= least]
    best = min(good, key=lambda trial: _cost(trial.config))
    for trial in confirmed:
        if default is not None and covers(trial.config, default):
            rounds = zip(best.throughputs, trial.throughputs, strict=True)
            if not all(ours > (1 + INDIFFERENCE) * theirs for ours, theirs in rounds):
                return trial
    return best


def _cost(config: MulticoreConfig) -> tuple[int, ...]:
    sizes = (config.n_procs, config.i_batch, config.e_blocksize, config.batches_per_task)
    return tuple(size or 0 for size in sizes)


def _shortly(config: MulticoreConfig) -> str:
    return ", ".join(f"{name}={value}" for name, value in config.to_dict().items() if value)


def verdict(best: Trial, trials: Sequence[Trial]) -> str:
    """Say how sure the choice is, from repeated measurements."""
    others = [trial for trial in best_first(trials) if trial is not best]
    if not others:
        return f"{_shortly(best.config)}: the only candidate that works"
    second = others[0]
    gain = best.throughput / second.throughput - 1
    noise = math.hypot(best.noise, second.noise)
    margin = f"{100 * gain:+.0f}% (±{100 * noise:.0f}%) against {_shortly(second.config)}"
    if gain > 2 * noise and gain > INDIFFERENCE:
        return f"{_shortly(best.config)} is fastest: {margin}"
    return f"{_shortly(best.config)} is as good as the next best within the noise: {margin}"
