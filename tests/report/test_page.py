"""The page: self-contained, honest about what is missing, right numbers."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner
from report_runs import write_run

from dotpe_exec.cli import main
from dotpe_exec.errors import InputError, MissingFileError, RunDirectoryError
from dotpe_exec.report import page, page_pieces
from dotpe_exec.report.intervals import weighted_quantiles
from dotpe_exec.report.page import render, write_report
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
    monkeypatch.setattr(page, "picture", lambda draw, caption: caption)


@pytest.fixture(scope="module")
def text(tmp_path_factory, tasks):
    """A page with all pictures."""
    folder = write_run(tmp_path_factory.mktemp("page") / "run", n=100)
    tasks.to_feather(folder / "tasks.feather")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_pieces, "_DPI", 20)
        return render(open_views([folder]))


def test_page_needs_nothing_but_itself(text):
    checked = Checker(text)
    assert len(checked.images) == 5  # two corners, sky, incoherent, timeline
    anchors = {link for link in checked.links if link.startswith("#")}
    assert all(f'id="{anchor[1:]}"' in text for anchor in anchors)
    for link in set(checked.links) - anchors:
        kind, data = link.split(",", 1)
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    assert not re.search(r"https?://|@import|url\(|<script|<link", text)
    assert all(image["alt"] for image in checked.images)


def test_page_fits_a_phone(text):
    assert '<meta name="viewport" content="width=device-width' in text
    assert text.count("<table>") == text.count('<div class="scroll"><table>')


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
    numbers = [float(x) for x in re.findall(r"[\d.]+", shown)]
    low, median, high = weighted_quantiles(
        samples["d_luminosity"], samples["weights"], (0.05, 0.5, 0.95)
    )
    assert numbers == pytest.approx([median, low, high], abs=0.51)


def test_good_runs_are_called_good_and_others_warned_about(make_run, no_pictures):
    assert "Reliable: nothing suspicious" in render(open_views([make_run("good")]))
    bad = render(open_views([make_run("bad", n_effective=3.0)]))
    assert "Only 3.0 effective samples" in bad
    assert "Reliable" not in bad and "Unusable" in bad


def test_several_runs_stand_side_by_side(make_run, no_pictures):
    first = make_run("a", n_effective_e=111.0)
    second = make_run("b", n_effective_e=222.0, seed=2)
    checked = Checker(render(open_views([first, second])))
    assert checked.row("effective extrinsic samples") == [
        "effective extrinsic samples", "111.0", "222.0", "",
    ]  # fmt: skip
    assert checked.row("quantity") == ["quantity", "a", "b", "unit"]
    assert checked.row("seed") == ["seed", "1", "2"]


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
    header = checked.row("runs")
    mchirp = header.index("chirp mass, detector frame")
    assert float(checked.row("a – b")[mchirp]) > 0.95
    assert float(checked.row("a – c")[mchirp]) == 0
    assert checked.row("a – b")[header.index("redshift")] == "–"  # no event to count from


def test_reference_run_has_derived_rows(finished, no_pictures):
    checked = Checker(render(open_views([finished])))
    for name in ("primary mass, source frame", "H1 optimal signal-to-noise ratio",
                 "network matched filter signal-to-noise ratio", "final spin"):  # fmt: skip
        assert re.match(r"-?\d", checked.row(name)[1]), name
