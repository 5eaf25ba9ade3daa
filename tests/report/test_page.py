"""The page: self-contained, honest about what is missing, right numbers."""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from html.parser import HTMLParser
from importlib.util import find_spec

import jinja2
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from report_runs import write_run
from rough_reports import roughen_reports
from rough_skymaps import roughen

from dotpe_exec import load
from dotpe_exec.cli import main
from dotpe_exec.errors import InputError, MissingFileError, RunDirectoryError
from dotpe_exec.report import page
from dotpe_exec.report.intervals import weighted_quantiles
from dotpe_exec.report.page import render, write_report
from dotpe_exec.report.templates import Picture, held, render_template
from dotpe_exec.report.view import open_views

_VOID = {"meta", "img", "br"}


class Checker(HTMLParser):
    """Collects tags, attributes and text; fails where tags do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.links, self.rows = [], [], [], []
        self._cell = None
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.links += [v for k, v in attrs.items() if k in ("href", "src")]
        if tag == "img":
            self.images.append(attrs)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = ""
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.rows[-1].append(self._cell)
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data

    def row(self, name):
        (found,) = [row for row in self.rows if row[:1] == [name]]
        return found


@pytest.fixture
def no_pictures(monkeypatch):
    """Draw nothing: these tests are about the rest of the page."""
    monkeypatch.setattr(page, "picture", lambda draw, caption: Picture(caption))
    monkeypatch.setattr(page, "_keep_skymap", lambda view: None)


@pytest.fixture(scope="module")
def text(tmp_path_factory, tasks):
    """A page with all pictures."""
    folder = write_run(tmp_path_factory.mktemp("page") / "run", n=100)
    tasks.to_feather(folder / "tasks.feather")
    with pytest.MonkeyPatch.context() as patch:
        roughen_reports(patch)
        if find_spec("ligo.skymap"):
            roughen(patch)
        return render(open_views([folder]))


def test_page_needs_nothing_but_itself(text):
    checked = Checker(text)
    assert len(checked.images) == 5  # two corners, sky, incoherent, timeline
    anchors = {link for link in checked.links if link.startswith("#")}
    assert all(f'id="{anchor[1:]}"' in text for anchor in anchors)
    for image in checked.images:
        kind, data = image["src"].split(",", 1)
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    assert not re.search(r"@import|url\(|<script|<link", text)
    assert re.findall(r"https?://[^\"]+", text) == ["https://arxiv.org/abs/2507.16022"]
    assert all(image["alt"] for image in checked.images)


def test_page_fits_a_phone(text):
    assert '<meta name="viewport" content="width=device-width' in text
    in_scroll = len(re.findall(r'<div class="scroll[^>]*><table', text))
    assert text.count("<table") == in_scroll


def test_names_are_escaped(text):
    assert "GW_toy &lt;b&gt;" in text
    assert "<b>" not in text


def test_missing_pictures_are_explained(text):
    assert "Not shown:" in text
    assert "has no event" in text


def test_intervals_are_those_of_the_samples(make_run, no_pictures):
    folder = make_run()
    (view,) = open_views([folder])
    samples = view.run.samples
    shown = Checker(render([view])).row("luminosity distance")[1]
    assert " " in shown  # which may break there, but not inside an interval
    numbers = [float(x) for x in re.findall(r"[\d.]+", shown)]
    low, median, high = weighted_quantiles(
        samples["d_luminosity"], samples["weights"], (0.05, 0.5, 0.95)
    )
    assert numbers == pytest.approx([median, low, high], abs=0.51)


def test_good_runs_are_called_good_and_others_warned_about(make_run, no_pictures):
    good = render(open_views([make_run("good")]))
    assert '<div class="verdict reliable"><strong>Reliable</strong>' in good
    assert "Nothing suspicious was found" in good
    bad = render(open_views([make_run("bad", n_effective=3.0)]))
    assert "Only 3.0 effective samples" in bad
    assert "Reliable" not in bad and '<div class="verdict unusable">' in bad
    assert bad.index("<strong>Unusable") < bad.index("Only 3.0") < bad.index("<h2>Results")


def test_of_many_waveforms_some_give_the_signal_to_noise_ratios(finished, monkeypatch):
    from dotpe_exec.report import view as views

    (every,) = open_views([finished])
    assert len(every.detectors) == len(every.run.samples) > 3
    monkeypatch.setattr(views, "_MOST_WAVEFORMS", 3)
    (some,) = open_views([finished])
    column = "network_matched_filter_snr"
    few = some.with_column(column)
    assert len(few) == 3 and set(few["weights"]) == {1.0}  # drawn by weight
    np.testing.assert_allclose(few[column], every.detectors.loc[few.index, column])
    np.testing.assert_array_equal(few["lnl"], every.run.samples.loc[few.index, "lnl"])
    assert some.with_column("final_mass")["weights"].equals(every.run.samples["weights"])


def test_extrinsic_samples_that_nobody_asked_for_are_counted(make_run, no_pictures):
    folder = make_run(adaptive={"n_ext": 2048})
    kwargs = json.loads((folder / "run_kwargs.json").read_text())
    (folder / "run_kwargs.json").write_text(json.dumps(kwargs | {"n_ext": None}))
    checked = Checker(render(open_views([folder])))
    assert checked.row("extrinsic samples")[1].startswith("2048, ")


def test_several_runs_stand_side_by_side(make_run, no_pictures):
    first = make_run("a", n_effective_e=111.0)
    second = make_run("b", n_effective_e=222.0, seed=2)
    checked = Checker(render(open_views([first, second])))
    assert checked.row("effective extrinsic samples") == [
        "effective extrinsic samples", "111.0", "222.0", "",
    ]  # fmt: skip
    assert checked.row("quantity") == ["quantity", "a", "b", "unit"]
    assert checked.row("seed") == ["seed", "1", "2"]
    assert checked.row("") == ["", "a", "b"]


def test_runs_of_the_same_name_get_different_labels(make_run):
    views = open_views([make_run("x/run_0"), make_run("y/run_0")])
    assert [view.label for view in views] == ["x/run_0", "y/run_0"]
    again = open_views([views[0].run.path] * 2)
    assert again[0].label != again[1].label


def test_times_and_efficiency_come_from_the_report(make_run, no_pictures):
    folder = make_run()
    phase = {
        "unit": "pair",
        "seconds": 2.0,
        "work": 1000,
        "work_per_second": 500.0,
        "worker_busy_fraction": 0.8,
        "load_balance": None,
        "peak_worker_memory_bytes": 156_000_000,
        "predicted_worker_memory_bytes": 170_000_000,
    }
    report = {
        "seconds": 50.0,
        "stages": {"coherent": 2.5},
        "phases": {"coherent": phase},
        "executor": "loky",
        "config": {"n_procs": 4},
        "machine": {"cpu": "a cpu"},
    }
    (folder / "run_report.json").write_text(json.dumps(report))
    text = render(open_views([folder]))
    checked = Checker(text)
    assert [
        "coherent",
        "1000 pairs",
        "2.0",
        "500",
        "80%",
        "–",
        "156",
        "170",
    ] in checked.rows
    assert checked.row("executor") == ["executor", "loky, 4 processes"]
    assert "5 effective samples per core-second on 4 core(s)" in text


def test_unfinished_and_missing_runs_are_refused(make_run, tmp_path):
    folder = make_run()
    (folder / "summary_results.json").unlink()
    with pytest.raises(MissingFileError, match=r"summary_results\.json does not exist"):
        write_report(folder, tmp_path / "x.html")
    with pytest.raises(MissingFileError, match="does not exist"):
        write_report(tmp_path / "nowhere", tmp_path / "x.html")
    with pytest.raises(RunDirectoryError, match="not a run directory"):
        write_report(tmp_path, tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


def test_bad_arguments_are_refused(make_run, tmp_path):
    with pytest.raises(InputError, match="must end in"):
        write_report(make_run(), tmp_path / "x.pdf")
    with pytest.raises(InputError, match="at least one"):
        write_report([], tmp_path / "x.html")


def test_command_line_writes_page_and_picture(make_run, tmp_path, no_pictures):
    folder, out = make_run(), tmp_path / "x.html"
    result = CliRunner().invoke(main, ["report", str(folder), "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert "<!DOCTYPE html>" in out.read_text()[:20]
    picture = tmp_path / "x.png"
    result = CliRunner().invoke(
        main, ["plot", str(folder), "--what", "incoherent", "-o", str(picture)]
    )
    assert result.exit_code == 0, result.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    result = CliRunner().invoke(
        main, ["plot", str(folder), "--what", "timeline", "-o", str(picture)]
    )
    assert result.exit_code == 2
    assert "no record of tasks" in result.output


def test_runs_are_compared_by_divergence(make_run, no_pictures):
    first, second = make_run("a"), make_run("b", mchirp=27.0)
    again = make_run("c")
    checked = Checker(render(open_views([first, second, again])))
    header = next(row for row in checked.rows if "a – b" in row)
    mchirp = checked.row("divergence of chirp mass, detector frame")
    assert float(mchirp[header.index("a – b")]) > 0.95
    assert float(mchirp[header.index("a – c")]) == 0
    redshift = checked.row("divergence of redshift")
    assert redshift[1:] == ["–"] * 3  # no event to count from


def test_reference_run_has_derived_rows(finished, no_pictures):
    checked = Checker(render(open_views([finished])))
    for name in ("primary mass, source frame", "H1 optimal signal-to-noise ratio",
                 "network matched filter signal-to-noise ratio", "final spin"):  # fmt: skip
        assert re.match(r"-?\d", checked.row(name)[1]), name


def test_reference_run_has_fit_prior_and_injection(finished, make_run, no_pictures):
    text = render(open_views([finished]))
    checked = Checker(text)
    assert checked.row("quantity") == ["quantity", "golden", "injected", "unit"]
    injected = load(finished).event.injection["par_dic"]
    assert float(checked.row("primary mass, detector frame")[2]) == pytest.approx(
        injected["m1"], rel=1e-3
    )
    fit = load(finished).summary["goodness_of_fit"]["L"]
    assert checked.row("chi-squared of L1")[1].startswith(f"{fit['chi_squared']:.1f} for")
    assert "grey: the prior; black lines: what was injected" in text
    real = Checker(render(open_views([make_run()])))
    assert real.row("quantity") == ["quantity", "run", "unit"]


def test_modes_of_the_inclination_are_shown_as_such(make_run, no_pictures):
    folder = make_run(n=1000)
    samples = pd.read_feather(folder / "samples.feather")
    rng = np.random.default_rng(1)
    samples["iota"] = np.where(rng.random(1000) < 0.6, 0.4, 2.7) + rng.normal(0, 0.1, 1000)
    samples.to_feather(folder / "samples.feather")
    shown = Checker(render(open_views([folder]))).row("inclination of the orbit")[1]
    assert re.match(r"0\.\d+.\[.*\] or 2\.\d+.\[.*\] \(\d+%.*\d+%\)$", shown)


def test_downloads_are_inside_or_beside_the_page(make_run, tmp_path, no_pictures):
    folder = make_run("a b&c <run>")
    path = tmp_path / "pages" / "x.html"
    path.parent.mkdir()
    write_report(folder, path)
    links = [link for link in Checker(path.read_text()).links if link[0] != "#"]
    (summary,) = [x for x in links if x.startswith("data:") and "n_effective" in decoded(x)]
    assert json.loads(decoded(summary)) == load(folder).summary
    # Page and run directory move together.
    moved = tmp_path / "moved"
    moved.mkdir()
    folder.rename(moved / folder.name)
    path.parent.rename(moved / "pages")
    beside = [x for x in links if not x.startswith(("data:", "https:"))]
    targets = [moved / "pages" / urllib.parse.unquote(link) for link in beside]
    assert {target.name for target in targets} == {
        "samples.feather", "prob_samples.feather",
    }  # fmt: skip
    assert all(target.is_file() for target in targets)


def decoded(address):
    return base64.b64decode(address.split(",", 1)[1]).decode()


def test_exports_lie_beside_the_page(finished, tmp_path, no_pictures):
    page_path = tmp_path / "x.html"
    command = ["report", str(finished), "-o", str(page_path), "--exports"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    for name in ("golden_result.json", "golden.h5"):
        assert (tmp_path / "x_files" / name).is_file()
        assert f'href="x_files/{name}"' in page_path.read_text()


def test_arguments_cannot_break_the_page(make_run, no_pictures):
    folder = make_run()
    nasty = "</pre><script>alert(1)</script>"
    kwargs = json.loads((folder / "run_kwargs.json").read_text()) | {"rundir": nasty}
    (folder / "run_kwargs.json").write_text(json.dumps(kwargs))
    assert "<script" not in render(open_views([folder]))


def test_templates_that_miss_something_are_refused():
    with pytest.raises(jinja2.UndefinedError):
        render_template("report.html.j2", events="x")


def test_intervals_are_not_broken_over_lines():
    shown = held("0.4 ± 0.1 [0.2, 0.8] or 2.7 [2.4, 3.0] (62% / 38%)")
    assert shown.split(" ") == [
        "0.4\xa0±\xa00.1", "[0.2,\xa00.8]", "or", "2.7", "[2.4,\xa03.0]",
        "(62%\xa0/\xa038%)",
    ]  # fmt: skip
    for text in ("[" * 10_000, "(" * 10_000):
        assert held(text) == text  # at once
