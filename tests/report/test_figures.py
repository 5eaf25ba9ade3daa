"""Single pictures: what they show is what is in the run directory."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from requirements import needs

from dotpe_exec.cli import main
from dotpe_exec.errors import InputError, MissingFileError, RunDirectoryError
from dotpe_exec.report import figures
from dotpe_exec.report.corner import corner_figure, save_corner_plot
from dotpe_exec.report.figures import FIGURES, save_figure
from dotpe_exec.report.intervals import decimals
from dotpe_exec.report.view import open_views


def view_of(folder):
    (view,) = open_views([folder])
    return view


@pytest.mark.parametrize(
    ("width", "expected"), [(1.0, 1), (20.0, 0), (345.0, 0), (0.03, 3), (0.0, 2)]
)
def test_intervals_are_shown_to_two_digits(width, expected):
    assert decimals(width) == expected


def test_corner_shows_the_weighted_median(make_run):
    samples = view_of(make_run()).run.samples
    samples.loc[samples["mchirp"] < 25.2, "weights"] = 0.0
    figure = corner_figure({"": samples}, ("mchirp", "q"))
    kept = samples[samples["weights"] > 0].sort_values("mchirp")
    share = kept["weights"].cumsum() / kept["weights"].sum()
    median = kept["mchirp"][share >= 0.5].iloc[0]
    shown = float(figure.axes[0].get_title().strip("$").split("_")[0])
    assert shown == pytest.approx(median, abs=0.02)


def test_corner_has_an_interval_for_each_mode(make_run):
    samples = view_of(make_run(n=1000)).run.samples
    rng = np.random.default_rng(1)
    modes = np.where(rng.random(1000) < 0.5, 0.4, 2.7) + rng.normal(0, 0.1, 1000)
    figure = corner_figure({"": samples.assign(iota=modes)}, ("iota", "q"))
    first, second = figure.axes[0].get_title().split(" or ")
    assert float(first.strip("$").split("_")[0]) == pytest.approx(0.4, abs=0.03)
    assert float(second.strip("$").split("_")[0]) == pytest.approx(2.7, abs=0.03)
    assert " or " not in figure.axes[3].get_title()


def test_corner_of_identical_samples_is_drawn(make_run, tmp_path):
    samples = pd.concat([view_of(make_run(n=1)).run.samples] * 5)
    path = save_corner_plot(samples, tmp_path / "corner.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_corner_refuses_what_it_cannot_draw(make_run):
    samples = view_of(make_run()).run.samples
    with pytest.raises(InputError, match="no column 'spam'"):
        corner_figure({"": samples}, ("spam",))
    with pytest.raises(InputError, match="no samples with a weight"):
        corner_figure({"": samples.assign(weights=0.0)})


def test_corner_shows_prior_truth_and_several_runs(make_run):
    samples = view_of(make_run()).run.samples
    prior = samples.assign(mchirp=np.linspace(20, 30, len(samples)))
    figure = corner_figure(
        {"a": samples, "b": samples}, ("mchirp", "q"), prior=prior, truth={"q": 0.7}
    )
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "prior"]
    assert any(0.7 in line.get_xdata() for line in figure.axes[3].get_lines())
    assert figure._repr_png_().startswith(b"\x89PNG")  # what a notebook shows
    far = corner_figure({"a": samples}, ("mchirp", "q"), truth={"q": 3.0})
    left, right = far.axes[3].get_xlim()
    assert left < samples["m2"].div(samples["m1"]).median() < 3.0 < right


@needs("ligo.skymap")
def test_sky_map_zooms_in_across_zero_hours(make_run, rough_skymaps):
    view = view_of(make_run(n=120))
    figure = figures.sky(view)
    _, zoom = figure.axes
    x, y = zoom.wcs.world_to_pixel_values(0.0, np.degrees(-1))
    (left, right), (low, high) = zoom.get_xlim(), zoom.get_ylim()
    assert left < x < right and low < y < high
    beside, _ = zoom.wcs.world_to_pixel_values(5.0, np.degrees(-1))
    assert beside < x  # right ascension grows to the left
    assert f"90% in {view.skymap.areas[0.9]:.0f} deg²" in figure.get_suptitle()
    assert zoom.get_legend() is None
    view.truth = {"ra": 0.01, "dec": -0.02}
    _, zoom = figures.sky(view).axes
    (star,) = (line for line in zoom.get_lines() if line.get_label() == "injected")
    np.testing.assert_allclose(np.radians(star.get_xydata()), [[0.01, -0.02]])
    assert zoom.get_legend() is not None


@needs("ligo.skymap")
def test_sky_map_is_kept_in_directories_of_this_package(make_run, rough_skymaps):
    folder = make_run(n=120)
    view_of(folder).keep_skymap()
    assert not (folder / "skymap.fits").exists()  # not ours: no identity
    (folder / "run_identity.json").write_text("{}")
    view = view_of(folder)
    view.keep_skymap()
    sky = view.run.summary["sky"]
    assert view.skymap.areas == {0.5: sky["area_50"], 0.9: sky["area_90"]}
    from ligo.skymap.postprocess import crossmatch

    volumes = crossmatch(view.skymap.table, contours=(0.5, 0.9)).contour_vols
    assert [sky["volume_50"], sky["volume_90"]] == pytest.approx(volumes, rel=0.01)
    assert json.loads((folder / "summary_results.json").read_text())["sky"] == sky
    again = view_of(folder)
    again.keep_skymap()
    assert again.skymap.areas[0.9] == pytest.approx(sky["area_90"])
    result = CliRunner().invoke(main, ["info", str(folder), "--sky"])
    assert result.exit_code == 0, result.output
    assert f"{sky['area_90']:.3g}" in result.output
    (folder / "skymap.fits").write_bytes(b"no FITS")
    with pytest.raises(RunDirectoryError, match=r"skymap\.fits is damaged"):
        view_of(folder).keep_skymap()


def test_sky_map_without_its_package_says_what_to_install(make_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "ligo.skymap.kde", None)
    with pytest.raises(InputError, match=r"pip install 'dotpe-exec\[skymap\]'"):
        figures.sky(view_of(make_run()))


def test_incoherent_picture_has_every_survivor_of_known_mass(make_run, monkeypatch):
    view = view_of(make_run(n=30))
    figure = figures.incoherent(view)
    points = figure.axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(points[:, 0], view.run.samples["mchirp"])
    np.testing.assert_allclose(points[:, 1], np.linspace(30, 50, 30))
    assert "the bank is not there" in figure.axes[0].get_title()


def test_incoherent_picture_takes_masses_from_the_bank(make_run, golden, tmp_path):
    folder = make_run(n=20, bank_folder=golden / "bank_0")
    bank = pd.read_feather(golden / "bank_0" / "intrinsic_sample_bank.feather")
    samples = pd.read_feather(folder / "samples.feather")
    # The bank counts only if its masses are those of the samples.
    assert view_of(folder).bank_tables == {}
    samples[["m1", "m2"]] = bank[["m1", "m2"]].iloc[:20].to_numpy()
    samples.head(3).to_feather(folder / "samples.feather")
    view = view_of(folder)
    points = figures.incoherent(view).axes[0].collections[0].get_offsets()
    m1, m2 = bank["m1"][:20], bank["m2"][:20]
    np.testing.assert_allclose(points[:, 0], (m1 * m2) ** 0.6 / (m1 + m2) ** 0.2)


def test_timeline_has_each_task_in_its_workers_row(make_run, tasks):
    folder = make_run()
    tasks.to_feather(folder / "tasks.feather")
    report = {"stage_times": [["reference", 98.0, 99.5]]}
    (folder / "run_report.json").write_text(json.dumps(report))
    axes = figures.timeline(view_of(folder)).axes[0]
    bars = sorted(
        path.get_extents().bounds for c in axes.collections for path in c.get_paths()
    )
    expected = [(0, -1.4, 1.5), (2, -0.4, 1), (2.5, 0.6, 0.5), (4, -0.4, 2)]
    np.testing.assert_allclose([bar[:3] for bar in bars], expected)


def test_timeline_without_tasks_is_refused(make_run):
    with pytest.raises(MissingFileError, match="no record of tasks"):
        figures.timeline(view_of(make_run()))


def test_waveform_without_event_is_refused(make_run):
    with pytest.raises(MissingFileError, match="no event"):
        figures.waveform(view_of(make_run()))


@pytest.fixture
def golden_view(golden, make_run):
    """A run directory with the reference event and samples."""
    folder = make_run()
    reference = golden / "reference"
    shutil.copy(reference / "samples_above_cut.feather", folder / "samples.feather")
    shutil.copy(reference / "Posterior.json", folder)
    shutil.copy(golden / "event.npz", folder / "golden_hlv.npz")
    return view_of(folder)


def test_best_fit_has_the_likelihood_of_its_sample(golden, golden_view):
    _, data_dt, model_dt, names, _ = figures._whitened(golden_view, band=False)
    assert names == ["H", "L", "V"]
    drift = np.load(golden / "reference/arrays.npz")["asd_drift"][:, np.newaxis]
    lnlike = np.sum((data_dt * model_dt - 0.5 * model_dt**2) / drift**2)
    # Relative binning, which the samples were made with, is wrong by some tenths.
    assert lnlike == pytest.approx(golden_view.run.samples["lnl"].max(), abs=1.0)


def test_waveform_picture_shows_the_merger(golden_view, monkeypatch):
    monkeypatch.setattr(figures, "_N_BAND", 5)
    figure = figures.waveform(golden_view)
    begin, end = figure.axes[0].get_xlim()
    best = golden_view.run.samples.loc[golden_view.run.samples["lnl"].idxmax()]
    assert begin < best["t_geocenter"] < end
    assert len(figure.axes) == 3
    assert all(len(panel.collections) == 1 for panel in figure.axes)  # the band


def test_band_holds_most_of_the_best_fit(golden_view, monkeypatch):
    monkeypatch.setattr(figures, "_N_BAND", 40)
    times, _, model_dt, _, (low_dt, high_dt) = figures._whitened(golden_view, band=True)
    loud = np.abs(model_dt) > 0.5 * np.abs(model_dt).max()
    inside = (low_dt - 0.2 <= model_dt) & (model_dt <= high_dt + 0.2)
    assert inside[loud].mean() > 0.7
    assert (high_dt - low_dt)[:, np.abs(times) > 3].max() < 0.1


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_suffix_chooses_the_format(make_run, tmp_path, suffix):
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix]
    path = save_figure(view_of(make_run()), "incoherent", tmp_path / f"x.{suffix}")
    assert path.read_bytes().startswith(start)


def test_unknown_picture_and_format_are_refused(make_run, tmp_path):
    view = view_of(make_run())
    with pytest.raises(InputError, match="must end in"):
        save_figure(view, "sky", tmp_path / "x.docx")
    with pytest.raises(InputError, match="no picture 'spam'"):
        save_figure(view, "spam", tmp_path / "x.png")


def test_command_line_offers_every_picture():
    from dotpe_exec.cli.results import plot

    (option,) = [o for o in plot.params if o.name == "what"]
    assert list(option.type.choices) == list(FIGURES)
