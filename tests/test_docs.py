"""Every code block of the README and of docs/ runs; what pages show is what is printed."""

from __future__ import annotations

import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from docs_pages import (
    REPOSITORY,
    SHELL,
    PageRunner,
    commands,
    output_difference,
    read_page,
    smaller,
)
from rough_extrinsic import roughen_extrinsic
from rough_reports import roughen_reports
from rough_skymaps import roughen

from dotpe_exec.events import matched_filter

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def _with_blocks():
    for page in PAGES:
        blocks, _ = read_page(page)
        if not blocks:
            continue
        name = str(page.relative_to(REPOSITORY))
        yield pytest.param(page, False, id=name)
        if any("slow" in block.comments for block in blocks):
            yield pytest.param(page, True, id=f"{name}-slow", marks=pytest.mark.slow)


@pytest.fixture(scope="session")
def provided(make_once) -> Path:
    """A bank, a run on it, an event and strain files."""
    return make_once("provided_to_docs", _provide)


def _provide(folder: Path) -> None:
    from dotpe_exec import run
    from dotpe_exec.banks.build import build_bank
    from dotpe_exec.distance_table import default_cache_folder, load_distance_table
    from dotpe_exec.events import load_event, save_event

    load_distance_table()
    shutil.copytree(
        default_cache_folder(), folder / "cache" / "dotpe",
        ignore=lambda _, names: [n for n in names if not n.startswith("distance_table")],
    )  # fmt: skip
    bank = build_bank(
        folder / "banks" / "bbh", bank_size=128, mchirp_range=(28, 34), q_min=0.5,
        event="GW150914", pn_phase_tol=0.1, seed=1, executor="serial", progress=False,
    )  # fmt: skip
    rundir = folder / "runs" / "GW150914"
    run("GW150914", bank, 64, 16, 32, seed=1, rundir=rundir, progress=False)
    for name in ("small_bank", "large_bank"):
        shutil.copytree(rundir, rundir.with_name(name))
    save_event(load_event("GW150914"), folder / "event.npz")
    rng = np.random.default_rng(0)
    for detector in "HL":
        _write_strain(folder / f"{detector}1.hdf5", detector, rng)


def _write_strain(path: Path, detector: str, rng: np.random.Generator) -> None:
    """Write white noise in the layout of the files of gwosc.org."""
    import h5py

    rate, start, duration = 4096, 1126259446, 32
    with h5py.File(path, "w") as file:
        strain = file.create_dataset(
            "strain/Strain", data=1e-21 * rng.standard_normal(rate * duration)
        )
        strain.attrs.update(Xspacing=1 / rate, Xstart=start, Npoints=rate * duration,
                            Xunits="second", Yunits="")  # fmt: skip
        meta = {"Detector": f"{detector}1", "GPSstart": start, "Duration": duration}
        for name, value in (meta | {"Observatory": detector}).items():
            file[f"meta/{name}"] = value


_templates = {}


@pytest.fixture
def in_less_time(monkeypatch):
    """Rough pictures, and searches for the template of an event that are done once."""

    def search(event_data, *arguments):
        key = (event_data.eventname, event_data.strain.tobytes(), *arguments)
        if key not in _templates:
            _templates[key] = search_template(event_data, *arguments)
        return _templates[key]

    search_template = matched_filter.search_template
    monkeypatch.setattr(matched_filter, "search_template", search)
    if not os.environ.get("DOTPE_EXEC_UPDATE_DOCS"):
        roughen_reports(monkeypatch)
        if find_spec("ligo.skymap"):
            roughen(monkeypatch)


@pytest.mark.parametrize(("page", "slow"), list(_with_blocks()))
def test_blocks_run(page, slow, provided, in_less_time, tmp_path, monkeypatch):
    blocks, given = read_page(page)
    for name in given:
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        source = provided / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    shutil.copytree(provided / "cache", tmp_path / ".cache")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    monkeypatch.setenv("MPLBACKEND", "agg")
    if not slow:  # starting workers would take longer than they work
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    runner = PageRunner(blocks, slow=slow)
    if not slow and not runner.shows_output:
        roughen_extrinsic(monkeypatch)
    runner.run()
    if os.environ.get("DOTPE_EXEC_UPDATE_DOCS"):
        for name in re.findall(r"\]\(img/(.*?)\)", page.read_text()):
            shutil.copy(name, page.parent / "img")


# The harness itself


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Run a page of the given text; the runner is returned."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DOTPE_EXEC_UPDATE_DOCS", raising=False)
    monkeypatch.setattr("docs_pages.REPOSITORY", tmp_path)

    def run_text(text):
        path = tmp_path / "page.md"
        path.write_text(text)
        runner = PageRunner(read_page(path)[0], slow=False)
        runner.run()
        return runner

    return run_text


def test_python_blocks_share_names(page):
    page("```python\na = 1\n```\nThen\n```python\nassert a == 1\n```\n")


def test_blocks_that_fail_are_found(page):
    with pytest.raises(ZeroDivisionError):
        page("```python\n1 / 0\n```\n")
    with pytest.raises(AssertionError, match="exit code 2"):
        page("```bash\ndotpe-exec bank check nowhere\n```\n")


@pytest.mark.parametrize(
    "text",
    [
        "```bash\ncurl example.org\n```\n",
        "```bash\ndotpe-exec info && ls\n```\n",
        "```ruby\nputs 1\n```\n",
        "```\nanything\n```\n",
        "<!-- not run: -->\n```bash\nls\n```\n",
        "<!-- slow: -->\n```python\n1\n```\n",
        "```bash\npython bench/nothing.py\n```\n",
    ],
)
def test_blocks_that_neither_run_nor_say_why_are_refused(page, text):
    with pytest.raises(AssertionError):
        page(text)


def test_blocks_with_a_reason_are_only_parsed(page):
    assert page("<!-- not run: no cluster -->\n```python\n1 / 0\n```\n").n_run == 0
    with pytest.raises(SyntaxError):
        page("<!-- not run: no cluster -->\n```python\n1 /\n```\n")
    with pytest.raises(AssertionError, match="syntax"):
        page("<!-- not run: no cluster -->\n```bash\nif true\n```\n")


SHOWN = "```python\nprint('x', 2.50)\n```\n\n{}```text\nx {}\n```\n"


def test_output_that_is_not_what_is_printed_is_found(page):
    page(SHOWN.format("", "2.5"))
    page(SHOWN.format("<!-- output within 0.2 -->\n", "2.4"))
    for wrong in (SHOWN.format("", "2.4"), SHOWN.format("", "2.5 y"),
                  SHOWN.format("<!-- output within 1% -->\n", "2.4")):  # fmt: skip
        with pytest.raises(AssertionError, match="shows"):
            page(wrong)


def test_output_is_rewritten_on_demand(page, tmp_path, monkeypatch):
    runner = page(SHOWN.format("", "2.5"))
    monkeypatch.setenv("DOTPE_EXEC_UPDATE_DOCS", "1")
    path = tmp_path / "page.md"
    path.write_text(SHOWN.format("", "9 and more"))
    PageRunner(read_page(path)[0], slow=False).run()
    assert path.read_text() == SHOWN.format("", "2.5")
    assert runner.n_run == 1


def test_errors_shown_are_those_raised(page):
    block = "<!-- raises: ValueError -->\n```python\nint('a')\n```\n"
    page(block)
    page(f"{block}```text\ninvalid literal for int() with base 10: 'a'\n```\n")
    with pytest.raises(AssertionError):
        page(f"{block}```text\nsomething else\n```\n")
    with pytest.raises(AssertionError, match="raises no"):
        page("<!-- raises: ValueError -->\n```python\nint('1')\n```\n")


def test_sizes_are_reduced_and_nothing_else():
    assert smaller("run(x, n_ext=1024, n_t=128, n_procs=8, n_phi_incoherent=4)") == (
        "run(x, n_ext=64, n_t=32, n_procs=2, n_phi_incoherent=4)"
    )
    assert smaller("--bank-size 65536 --n-ext 512 --seed 12") == (
        "--bank-size 128 --n-ext 64 --seed 12"
    )


@pytest.mark.parametrize(
    ("tolerance", "same"), [("0", False), ("0.1", True), ("1%", False), ("5%", True)]
)
def test_numbers_are_compared_within_the_tolerance(tolerance, same):
    assert (output_difference("a −2.0 b 4", "a -2.1 b 4", tolerance) is None) is same


# What pages promise


def test_ci_runs_the_commands_that_install():
    ci = (REPOSITORY / ".ci" / "run").read_text()
    blocks, _ = read_page(REPOSITORY / "README.md")
    marked = [
        m for block in blocks for m in ("main job", "test command") if m in block.comments
    ]
    assert sorted(marked) == ["main job", "test command"]
    for marker in marked:
        assert f"<!-- {marker} -->" in ci


def test_options_in_pages_are_options():
    """Also those in blocks that are not run, such as batch scripts."""
    from click import Group

    from dotpe_exec.cli import main

    n_checked = 0
    for page in PAGES:
        for block in read_page(page)[0]:
            if block.language not in SHELL:
                continue
            for words in re.findall(
                r"(?:dotpe-exec|-m dotpe_exec) (.*)", block.code.replace("\\\n", " ")
            ):
                command, words = main, words.split()
                while isinstance(command, Group) and words and words[0] in command.commands:
                    command = command.commands[words.pop(0)]
                known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
                for word in words:
                    if word.startswith("--") and word != "--help":
                        n_checked += 1
                        assert word.split("=")[0] in known, f"{block}: {word}"
    assert n_checked > 30


def test_links_of_the_readme_lead_somewhere():
    text = (REPOSITORY / "README.md").read_text()
    links = re.findall(r"\]\(((?!https?:)[^)#]+)", text)
    assert links
    for link in links:
        assert (REPOSITORY / link).exists(), link


def test_console_blocks_hold_commands_and_output():
    blocks, _ = read_page(REPOSITORY / "docs" / "report.md")
    block = next(block for block in blocks if block.language == "console")
    assert all(words[0] == "dotpe-exec" for words in commands(block, block.code))
