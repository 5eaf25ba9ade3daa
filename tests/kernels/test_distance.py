"""The table of the distance-marginalised likelihood, and draws of the distance."""

from __future__ import annotations

import logging
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from dotpe_exec import distance_table
from dotpe_exec.distance_table import load_distance_table
from dotpe_exec.kernels.distance import (
    lnlike_marginalized,
    sample_distance,
    table_coordinates,
)


@pytest.fixture(scope="session")
def values_xy():
    return distance_table.tabulate()


@pytest.fixture(scope="session")
def table(values_xy):
    return distance_table.table_from_values(values_xy)


@pytest.fixture(scope="session")
def cogwheel_table(values_xy):
    """cogwheel's class on our numbers, so that it need not spend ten seconds on its own."""
    from cogwheel.likelihood.marginalization import lookup_table

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lookup_table.LookupTable, "_get_table", lambda *_: values_xy)
        return lookup_table.LookupTable()


@pytest.fixture
def numbers(monkeypatch):
    """Make tabulation instant, and count how often it happens."""
    calls = []
    values = np.random.default_rng(0).normal(size=(256, 128))

    def tabulate():
        calls.append(1)
        return values

    monkeypatch.setattr(distance_table, "tabulate", tabulate)
    distance_table._load.cache_clear()
    yield calls
    distance_table._load.cache_clear()


def inner_products(rng, size, overlap, distance):
    """Inner products of waveforms whose likelihood peaks at these distances [Mpc]."""
    overlap, distance = rng.uniform(*overlap, size), rng.uniform(*distance, size)
    norm_h = np.abs(overlap) * distance
    return overlap * norm_h, norm_h**2


def test_tabulated_values_are_cogwheels(values_xy, cogwheel_table):
    tabulated = cogwheel_table.tabulated
    rng = np.random.default_rng(1)
    chosen = rng.integers(256, size=60), rng.integers(127, size=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [
            cogwheel_table._function(*args)
            for args in zip(tabulated["d_h"][chosen], tabulated["h_h"][chosen], strict=True)
        ]
    np.testing.assert_allclose(values_xy[chosen], expected, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_whole_table_is_cogwheels(values_xy, monkeypatch, tmp_path):
    from cogwheel.likelihood.marginalization import lookup_table

    monkeypatch.setattr(lookup_table, "LOOKUP_TABLES_FNAME", tmp_path / "tables.npz")
    expected = lookup_table.LookupTable().tabulated["function"]
    np.testing.assert_allclose(values_xy, expected, rtol=0, atol=1e-12)


def test_table_is_the_integral(table):
    d_h, h_h = inner_products(np.random.default_rng(2), 50, (4, 30), (300, 8000))
    r_max = table.d_luminosity_max
    for a, b in zip(d_h, h_h, strict=True):
        norm_h = np.sqrt(b)

        def integrand(r, norm_h=norm_h, overlap=a / norm_h):
            return 3 * r**2 / r_max**3 * np.exp(-((norm_h / r - overlap) ** 2) / 2)

        peak = b / a
        integral = quad(integrand, 1e-3, r_max, points=[peak / 2, peak], epsabs=0)[0]
        expected = np.log(integral) + a**2 / b / 2
        # Interpolation is limited by the grid.
        assert lnlike_marginalized(a, b, table) == pytest.approx(expected, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(x=st.floats(-7.4, 0), overlap=st.floats(-9.9, 44.9))
def test_interpolation_is_cogwheels(table, cogwheel_table, x, overlap):
    norm_h = np.exp(x) * table.d_luminosity_max * (10 + abs(overlap))
    assume(norm_h / table.d_luminosity_max - overlap < 0.99)  # the prior's end is beyond
    d_h, h_h = overlap * norm_h, norm_h**2
    expected = cogwheel_table.lnlike_marginalized(d_h, h_h)
    assert lnlike_marginalized(d_h, h_h, table) == pytest.approx(
        expected, rel=1e-12, abs=1e-11
    )


def integrated(overlap, u_min):
    """The likelihood by the trapezoidal rule on a fine grid of u = sqrt(h_h) / r."""
    from scipy.special import logsumexp

    u_max = max(u_min, overlap) + 12
    u = np.concatenate(
        [
            np.geomspace(u_min, u_max, 60_001),
            np.linspace(max(u_min, overlap - 12), u_max, 40_001),
        ]
    )
    u = np.unique(u)
    ln_density = -4 * np.log(u / u_min) - 0.5 * (u - overlap) ** 2 + 0.5 * overlap**2
    ln_cells = np.logaddexp(ln_density[1:], ln_density[:-1]) + np.log(np.diff(u) / 2)
    return logsumexp(ln_cells) + np.log(3 / u_min)


@settings(max_examples=150, deadline=None)
@given(
    x=st.floats(-16, 1.5),
    overlap=st.floats(-20, 60) | st.floats(60, 2000),
)
@example(x=-10.5, overlap=12.0)  # the table begins at 0.7 Mpc: it was 4.5 too large
@example(x=-5.0, overlap=300.0)
@example(x=-5.0, overlap=500.0)
@example(x=-5.0, overlap=1000.0)
@example(x=0.3, overlap=20.0)  # beyond the prior's end
@example(x=-0.27, overlap=0.007)
@example(x=-9.29, overlap=7.11)
@example(x=-3.0, overlap=-15.0)
def test_likelihood_is_right_to_a_hundredth_everywhere(table, x, overlap):
    u_min = np.exp(x) * (10 + abs(overlap))
    norm_h = u_min * table.d_luminosity_max
    found = lnlike_marginalized(overlap * norm_h, norm_h**2, table)
    expected = integrated(overlap, u_min)
    # Far below noise alone, where nothing depends on it, to a part in a thousand.
    assert found == pytest.approx(expected, abs=0.01, rel=1e-3 if expected < -20 else 0)


def test_coordinates_are_those_of_the_grid(table, cogwheel_table):
    tabulated = cogwheel_table.tabulated
    x, y = table_coordinates(tabulated["d_h"], tabulated["h_h"], table.d_luminosity_max)
    np.testing.assert_allclose(x, tabulated["x"], atol=1e-12)
    np.testing.assert_allclose(y, tabulated["y"], atol=1e-12)


def test_golden_likelihoods(golden, table):
    import pandas as pd

    samples = pd.read_feather(golden / "reference" / "prob_samples_above_cut.feather")
    lnlike = lnlike_marginalized(samples["d_h_1Mpc"], samples["h_h_1Mpc"], table)
    np.testing.assert_allclose(lnlike, samples["lnl_marginalized"], rtol=0, atol=1e-9)


def test_shape_is_kept_and_inputs_broadcast(table):
    d_h = np.array([[1e5], [2e5]])
    h_h = np.array([1e8, 2e8, 3e8])
    lnlike = lnlike_marginalized(d_h, h_h, table)
    assert lnlike.shape == (2, 3)
    assert lnlike[1, 2] == lnlike_marginalized(2e5, 3e8, table)


def test_degenerate_inner_products_are_defined(table):
    d_h, h_h = [0, 1, 1, np.nan, 1], [0, 0, -1, 1, np.nan]
    lnlike = lnlike_marginalized(d_h, h_h, table)
    np.testing.assert_array_equal(lnlike, [0, 0, 0, np.nan, np.nan])
    distances = sample_distance(d_h, h_h, 0.5, table)
    np.testing.assert_allclose(distances[:3], table.d_luminosity_max * 0.5 ** (1 / 3))
    assert np.isnan(distances[3:]).all()


def test_small_norm_tends_to_no_information(table):
    assert lnlike_marginalized(1e-6, 1e-8, table) == pytest.approx(0, abs=2e-3)


@settings(max_examples=150, deadline=None)
@given(
    overlap=st.floats(-15, 40),
    x=st.floats(-7, 1),
    quantile=st.floats(0.001, 0.999),
)
def test_distance_has_the_quantile_asked_for(table, overlap, x, quantile):
    r_max = table.d_luminosity_max
    norm_h = np.exp(x) * r_max * (10 + abs(overlap))
    distance = float(sample_distance(overlap * norm_h, norm_h**2, quantile, table))
    u_min, u = norm_h / r_max, norm_h / distance
    offset = max(u_min - overlap, 0) ** 2 / 2

    def mass(low, high):
        s, weight = np.polynomial.legendre.leggauss(8)
        edges = np.linspace(np.log(low), np.log(high), 1001)
        step = np.diff(edges)[:, np.newaxis] / 2
        points = np.exp(edges[:-1, np.newaxis] + step * (1 + s))
        gaussian = np.exp(offset - (points - overlap) ** 2 / 2)
        return np.sum(step * weight * (points / u_min) ** -3 * gaussian)

    u_max = overlap + np.sqrt(max(u_min - overlap, 0) ** 2 + 80)
    nearer = mass(u, max(u, u_max))
    assert nearer / (nearer + mass(u_min, u)) == pytest.approx(quantile, abs=3e-4)


@pytest.mark.parametrize("overlap, distance", [(4, 4000), (6, 9000), (15, 600), (0.5, 300)])
def test_draws_have_cogwheels_distribution(table, cogwheel_table, overlap, distance):
    norm_h = overlap * distance
    d_h, h_h = overlap * norm_h, norm_h**2
    rng = np.random.default_rng(3)
    ours = sample_distance(np.full(4000, d_h), h_h, rng.uniform(size=4000), table)
    cogwheel_table._rng = np.random.default_rng(4)
    theirs = cogwheel_table.sample_distance(d_h, h_h, num=4000, resolution=2048)
    assert scipy.stats.ks_2samp(ours, theirs).pvalue > 1e-3


def test_distance_grows_with_the_uniform_number(table):
    uniforms = np.linspace(0, 1, 2001, endpoint=False)
    for overlap, norm_h in [
        (-3, 100),
        (2, 3e3),
        (5, 100),
        (9.9, 1e4),
        (10.1, 1e4),
        (50, 1e4),
    ]:
        distances = sample_distance(overlap * norm_h, norm_h**2, uniforms, table)
        assert np.all(np.diff(distances) > 0)
        assert distances[0] > 0 and distances[-1] <= table.d_luminosity_max


def test_table_is_read_back_as_it_was_made(numbers, tmp_path):
    first = load_distance_table(tmp_path / "new")
    distance_table._load.cache_clear()
    second = load_distance_table(tmp_path / "new")
    assert len(numbers) == 1
    for name in ("knots_x", "knots_y", "coefficients_xy"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def damage_truncate(path):
    path.write_bytes(path.read_bytes()[:5000])


def damage_flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def damage_shape(path):
    np.savez(path, values_xy=np.zeros((3, 3)), checksum=0)


def damage_pickle(path):
    np.savez(path, values_xy=np.array([{}], dtype=object), checksum=0)


def damage_text(path):
    path.write_text("not a table")


@pytest.mark.parametrize(
    "damage", [damage_truncate, damage_flip, damage_shape, damage_pickle, damage_text]
)
def test_damaged_table_is_replaced_with_a_warning(numbers, tmp_path, caplog, damage):
    expected = load_distance_table(tmp_path).coefficients_xy
    (path,) = tmp_path.iterdir()
    damage(path)
    distance_table._load.cache_clear()
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(
            load_distance_table(tmp_path).coefficients_xy, expected
        )
    assert "damaged" in caplog.text and len(numbers) == 2
    distance_table._load.cache_clear()
    load_distance_table(tmp_path)
    assert len(numbers) == 2


def test_no_flipped_bit_breaks_reading(numbers, tmp_path):
    values = distance_table.tabulate()
    path = tmp_path / "table.npz"
    distance_table._write(path, values)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    # Where the formats keep names, sizes and shapes, and somewhere in between.
    places = [*range(200), *range(len(content) - 500, len(content)),
              *rng.integers(len(content), size=50)]  # fmt: skip
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(damaged))
        found = distance_table._read(path)
        assert found is None or np.array_equal(found, values)


def test_folder_that_cannot_be_written_is_no_error(numbers, tmp_path):
    (tmp_path / "file").write_text("in the way")
    table = load_distance_table(tmp_path / "file" / "folder")
    assert table.coefficients_xy.shape == (256, 128)


def test_failed_write_leaves_nothing_behind(numbers, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    load_distance_table(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_concurrent_builders_leave_one_whole_table(numbers, tmp_path):
    values = distance_table.tabulate()
    path = tmp_path / "table.npz"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: distance_table._write(path, values), range(40)))
    assert list(tmp_path.iterdir()) == [path]
    np.testing.assert_array_equal(distance_table._read(path), values)


def test_table_is_shared_and_read_only(numbers, tmp_path):
    table = load_distance_table(tmp_path)
    assert load_distance_table(tmp_path) is table
    with pytest.raises(ValueError):
        table.coefficients_xy[0, 0] = 1
