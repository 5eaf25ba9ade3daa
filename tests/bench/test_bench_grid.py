"""The comparison of configurations with an exhaustive grid."""

from __future__ import annotations

from argparse import Namespace

import pytest


@pytest.fixture(scope="module")
def grid(bench):
    return bench("grid")


class FakeProblem:
    """Seconds by configuration; 512 waveforms and two processes are the best."""

    def incoherent(self, executor, config):
        return (1 + abs(config.i_batch - 512) / 512) / config.n_procs, None

    def coherent(self, executor, config):
        return (1 + abs(config.e_blocksize - 256) / 256) / config.n_procs, None


SIZES = Namespace(
    procs=[1, 2], i_batch=[256, 512], blocksize=[512], e_blocksize=[256, 512],
    per_message=[0, 4],
)  # fmt: skip


def named(grid, label, **values):
    config = grid.resolve_config(**values)
    return [grid.Cell(phase, config, label) for phase in ("incoherent", "coherent")]


def test_grid_is_exhaustive(grid):
    cells = grid.grid_cells(SIZES)
    assert len(cells) == 2 * 2 * 2 + 2 * 1 * 2 * 2
    assert {cell.config.batches_per_task for cell in cells} == {None, 4}
    assert {cell.config.n_procs for cell in cells} == {1, 2}


def test_verdict_is_about_the_best_with_one_number_of_processes(grid):
    good = named(grid, "default", n_procs=2, e_blocksize=260)
    bad = named(grid, "tuned", n_procs=1, e_blocksize=256)
    cells = [*grid.grid_cells(SIZES), *good, *bad]
    grid.measure(FakeProblem(), cells, 2)
    final = grid.finalists(cells)
    best = [cell.config for cell in final if cell.label == "best of the grid"]
    assert [config.n_procs for config in best] == [2, 2]
    assert (best[0].i_batch, best[1].e_blocksize) == (512, 256)
    assert all(not cell.seconds for cell in final)  # measured again
    grid.measure(FakeProblem(), final, 3)
    rows = {row["configuration"]: row for row in grid.verdicts(final)}
    assert rows["default"]["verdict"] == "within 10%"
    assert rows["tuned"]["verdict"] == "NOT within 10%"
    assert rows["tuned"]["throughput over the best's"].median == pytest.approx(0.5)
    assert len(rows["default"]["seconds"].values) == 3


def test_every_cell_is_measured_in_every_repeat(grid):
    cells = grid.grid_cells(SIZES)
    grid.measure(FakeProblem(), cells, 3)
    assert {len(cell.seconds) for cell in cells} == {3}
