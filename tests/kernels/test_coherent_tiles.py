"""Tiles of the coherent screening: how fast it is, never what it finds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from coherent_cases import make_case

from dotpe_exec.kernels import coherent_screen
from dotpe_exec.kernels.coherent import TILE, prepare_coherent, project
from dotpe_exec.kernels.coherent_screen import search_block
from dotpe_exec.kernels.waveforms import linear_free_waveforms

N_I = 2 * TILE + 7


@pytest.fixture(scope="module")
def search():
    """Search one block of a small case with given tiles."""
    case = make_case(5, n_i=N_I, n_e=40)
    h_impb, _ = linear_free_waveforms(
        case.amplitudes_impb, case.phases_impb, case.summary.line_fit
    )
    prepared = prepare_coherent(case.summary, case.response_dpe, case.timeshift_dbe, 6)
    projected = project(h_impb, prepared)

    def search_with(within=True, **tiles):
        some = projected
        if not within:  # every third needs all bins
            some = dataclasses.replace(projected, within_i=np.arange(len(h_impb)) % 3 > 0)
        return search_block(h_impb, some, prepared, 3, 38, max_drop=8.0, **tiles)

    return search_with


@pytest.mark.parametrize("within", [True, False], ids=["low rank", "some at full rank"])
@pytest.mark.parametrize("tiles", [(1, 1), (TILE + 1, 7), (1000, 10), (1000, 1000)])
def test_tiles_do_not_change_a_bit(search, tiles, within):
    expected = search(within)
    assert 0 < len(expected.i_p) < N_I * 35
    found = search(within, i_tile=tiles[0], e_tile=tiles[1])
    for item in dataclasses.fields(expected):
        if item.name != "n_evaluated":
            np.testing.assert_array_equal(
                getattr(found, item.name), getattr(expected, item.name), item.name
            )


@pytest.mark.parametrize(("i_tile", "n_calls"), [(1, 3), (TILE, 3), (TILE + 1, 2), (99, 1)])
def test_candidates_of_a_tile_are_evaluated_together(search, monkeypatch, i_tile, n_calls):
    calls = []

    def spy(*arguments):
        calls.append(arguments)
        return pair_maxima(*arguments)

    pair_maxima = coherent_screen.pair_maxima
    monkeypatch.setattr(coherent_screen, "pair_maxima", spy)
    search(i_tile=i_tile)
    assert len(calls) == n_calls


def test_no_more_samples_than_a_tile_are_screened_at_a_time(search, monkeypatch):
    sizes = []

    def spy(z_pgx, first_node_ed, *rest):
        sizes.append(len(first_node_ed))
        return interpolate(z_pgx, first_node_ed, *rest)

    interpolate = coherent_screen._interpolate
    monkeypatch.setattr(coherent_screen, "_interpolate", spy)
    search(e_tile=10)
    assert set(sizes) <= {10, 5} and 10 in sizes
