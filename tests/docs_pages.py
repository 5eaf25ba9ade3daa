"""Code blocks of Markdown pages: found, classified, run, and compared with their output.

A block is run unless a comment right before it says otherwise. Comments are invisible to
readers of the page:

``<!-- not run: REASON -->``
    The block is only parsed.
``<!-- slow: REASON -->``
    It runs with ``pytest -m slow`` only.
``<!-- raises: NAME -->``
    It ends with this exception; a text block after it shows the message.
``<!-- output within X -->``, ``<!-- output within X% -->``
    Before a text block that follows a block that ran: numbers may differ by this much.
``<!-- setup: CODE -->``, ``<!-- given: banks/bbh, ... -->``
    Python that runs before the next block; files that the page takes for granted.

A text block right after one that ran shows what that printed. With
``DOTPE_EXEC_UPDATE_DOCS`` set in the environment it is rewritten instead of compared. The
folder in which the page runs is shown as /home/me.

Blocks of one page run in order, in one folder and, for Python, in one namespace. Sizes
are reduced on every page (:data:`SMALLER`) but those that show output. ``python bench/...``
is not run: its script must exist and take the options given.
"""

from __future__ import annotations

import contextlib
import io
import json
import linecache
import os
import re
import shlex
import subprocess
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHON, SHELL, DATA, TEXT = (
    {"python"},
    {"bash", "sh", "console"},
    {"json", "toml"},
    {"text"},
)
# Commands that install: ``.ci/run`` finds them on the page by this comment and runs them.
CI = {"main job", "test command"}

SMALLER = [
    (re.compile(rf"({name}[=\s]+)\d{{2,}}"), rf"\g<1>{size}")
    for name, size in (
        ("(?:--bank-size|bank_size)", 128),
        ("(?:--n-ext|n_ext)", 64),
        ("(?:--n-phi|n_phi)", 16),
        ("(?:--n-t|n_t)", 32),
    )
] + [
    (re.compile(r"((?:--n-procs|n_procs)[=\s]+)\d+"), r"\g<1>2"),
    # From near by, so that the first draws are loud enough.
    (re.compile(r"(--injections )\d+"), r"\g<1>1 --d-luminosity-max 1500"),
]

_COMMENT = re.compile(r"<!--\s*(.*?)\s*-->\s*", re.DOTALL)
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^(?P=indent)```[ ]*$",
    re.DOTALL | re.MULTILINE,
)
_NUMBER = re.compile(r"[-−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


@dataclass
class Block:
    """A fenced block and the comments right before it."""

    page: Path
    start: int
    stop: int
    line: int
    language: str
    code: str
    comments: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def read_page(page: Path) -> tuple[list[Block], list[str]]:
    """Return the blocks of a page, and the files that it takes for granted."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    end = 0
    for match in _FENCE.finditer(text):
        indent = match["indent"]
        code = "".join(
            line.removeprefix(indent) for line in match["code"].splitlines(keepends=True)
        )
        line = text.count("\n", 0, match.start()) + 1
        span = match.start("code"), match.end("code")
        block = Block(page, *span, line, match["language"], code)
        before = text[end : match.start()]
        while comment := re.search(r"<!--(?:(?!-->).)*-->\s*\Z", before, re.DOTALL):
            key, _, value = _COMMENT.match(comment[0])[1].partition(":")
            if key.startswith("output within"):
                key, value = "output within", key.removeprefix("output within")
            block.comments[key] = value.strip()
            before = before[: comment.start()]
        block.comments["follows"] = "" if before.strip() or not blocks else "directly"
        blocks.append(block)
        end = match.end()
    given = [
        name.strip()
        for comment in _COMMENT.findall(text)
        if comment.startswith("given:")
        for name in comment.removeprefix("given:").split(",")
    ]
    return blocks, given


class PageRunner:
    """Runs the blocks of one page in the current folder."""

    def __init__(self, blocks: list[Block], *, slow: bool):
        self.blocks = blocks
        self.slow = slow
        self.names: dict = {"__name__": "__main__"}
        self.updates: list[tuple[Block, str]] = []
        self.n_run = 0

    def run(self) -> None:
        printed: str | None = None
        for n, block in enumerate(self.blocks):
            if block.language in TEXT:
                if printed is not None and block.comments["follows"]:
                    self._compare(block, printed)
                printed = None
                continue
            if "slow" in block.comments:
                check_reason(block, "slow")
                if not self.slow:
                    parse(block)
                    printed = None
                    continue
            if not CI.isdisjoint(block.comments):
                parse(block)
                printed = None
                continue
            if "not run" in block.comments:
                check_reason(block, "not run")
                parse(block)
                printed = None
                continue
            following = self.blocks[n + 1] if n + 1 < len(self.blocks) else None
            shows = (
                following is not None
                and following.language in TEXT
                and bool(following.comments["follows"])
            )
            printed = self._run(block, exact=shows).replace(f"{Path.cwd()}/", "/home/me/")
        if self.updates and os.environ.get("DOTPE_EXEC_UPDATE_DOCS"):
            rewrite(self.updates)

    def _run(self, block: Block, exact: bool) -> str:
        if "setup" in block.comments:
            exec(block.comments["setup"], self.names)
        code = block.code if exact or self.shows_output else smaller(block.code)
        if block.language in PYTHON:
            self.n_run += 1
            return self._python(block, code)
        if block.language in SHELL:
            self.n_run += 1
            return "".join(run_command(words, block) for words in commands(block, code))
        if block.language in DATA:
            parse(block)
            return ""
        raise AssertionError(
            f"{block}: a block of language {block.language!r} is neither run nor marked "
            "with `<!-- not run: REASON -->`"
        )

    @property
    def shows_output(self) -> bool:
        """Whether numbers of a run are on the page, which then must be its own."""
        return any(b.language in TEXT and b.comments["follows"] for b in self.blocks)

    def _python(self, block: Block, code: str) -> str:
        name = f"<{block}>"
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        out = io.StringIO()
        expected = block.comments.get("raises")
        try:
            with contextlib.redirect_stdout(out):
                exec(compile(code, name, "exec"), self.names)
        except Exception as error:
            if expected is None:
                raise
            assert type(error).__name__ == expected, f"{block}: {error!r}"
            return "".join(traceback.format_exception_only(error)).split(": ", 1)[1]
        assert expected is None, f"{block} raises no {expected}"
        return out.getvalue()

    def _compare(self, block: Block, printed: str) -> None:
        tolerance = block.comments.get("output within", "0")
        if difference := output_difference(block.code, printed, tolerance):
            if os.environ.get("DOTPE_EXEC_UPDATE_DOCS"):
                self.updates.append((block, printed))
                return
            raise AssertionError(
                f"{block} shows\n{block.code}\nbut what is printed is\n{printed}\n"
                f"{difference}"
            )


def smaller(code: str) -> str:
    """Return code with sizes at which a run takes seconds."""
    for pattern, replacement in SMALLER:
        code = pattern.sub(replacement, code)
    return code


def check_reason(block: Block, marker: str) -> None:
    assert block.comments[marker], f"{block}: `{marker}` without a reason"


def parse(block: Block) -> None:
    """Check the syntax of a block."""
    if block.language in PYTHON:
        compile(block.code, f"<{block}>", "exec")
    elif block.language in SHELL:
        script = re.sub(r"^\$ ", "", block.code, flags=re.MULTILINE)
        checked = subprocess.run(
            ["bash", "-n"], input=script, text=True, capture_output=True
        )
        assert checked.returncode == 0, f"{block}: {checked.stderr}"
    elif block.language == "json":
        json.loads(block.code)
    elif block.language == "toml" and sys.version_info >= (3, 11):
        import tomllib

        tomllib.loads(block.code)


def commands(block: Block, code: str) -> list[list[str]]:
    """Return the words of each command of a block; shell syntax is not for examples."""
    code = code.replace("\\\n", " ")
    if block.language == "console":
        code = "\n".join(
            line.removeprefix("$ ") for line in code.splitlines() if line.startswith("$ ")
        )
    lines = [shlex.split(line, comments=True) for line in code.splitlines()]
    for words in filter(None, lines):
        if not set(words).isdisjoint({"&&", "|", ";", ">", "&"}):
            raise AssertionError(
                f"{block}: only plain commands are run; mark it `<!-- not run: REASON -->`"
            )
    return [words for words in lines if words]


def run_command(words: list[str], block: Block) -> str:
    """Run a command of ours, here, and return what it prints."""
    if words[0] == "dotpe-exec":
        return call_dotpe_exec(words[1:], block)
    if words[0] == "python" and len(words) > 1 and words[1].startswith("bench/"):
        check_benchmark(words[1:], block)
        return ""
    raise AssertionError(
        f"{block}: {words[0]} is not a command of ours; mark it `<!-- not run: REASON -->`"
    )


def call_dotpe_exec(arguments: list[str], block: Block) -> str:
    from dotpe_exec.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments, prog_name="dotpe-exec")
        except SystemExit as ended:
            code = ended.code or 0
    if "raises" in block.comments:
        assert code == int(block.comments["raises"]), f"{block}: exit code {code}"
        return err.getvalue()
    assert code == 0, f"{block}: exit code {code}\n{err.getvalue()}"
    return out.getvalue()


def check_benchmark(words: list[str], block: Block) -> None:
    """Check that a benchmark exists and that its script knows the options given."""
    script, *options = words
    assert (REPOSITORY / script).is_file(), f"{block}: there is no {script}"
    text = (REPOSITORY / script).read_text(encoding="utf-8")
    if script == "bench/run.py" and options and not options[0].startswith("-"):
        table = options.pop(0)
        entry = re.search(rf'"{table}": Benchmark\(\s*"([\w/]+\.py)"', text)
        assert entry, f"{block}: {script} has no {table}"
        text = (REPOSITORY / "bench" / entry[1]).read_text(encoding="utf-8")
    text += (REPOSITORY / "bench" / "measure.py").read_text(encoding="utf-8")
    for option in options:
        if option.startswith("--"):
            assert f'"{option}"' in text, f"{block}: {script} has no {option}"


def output_difference(shown: str, printed: str, tolerance: str) -> str | None:
    """Say in what two texts differ beyond white space and the tolerance on numbers."""
    within = float(tolerance.strip().removesuffix("%"))
    relative = tolerance.strip().endswith("%")
    if _NUMBER.sub("#", shown).split() != _NUMBER.sub("#", printed).split():
        return "The text differs."
    for a, b in zip(_NUMBER.findall(shown), _NUMBER.findall(printed), strict=True):
        a, b = (float(number.replace("−", "-")) for number in (a, b))
        if abs(a - b) > (within / 100 * abs(a) if relative else within) * (1 + 1e-9):
            return (
                f"{a:g} is shown and {b:g} printed, allowed is a difference of {tolerance}."
            )
    return None


def rewrite(updates: list[tuple[Block, str]]) -> None:
    """Put what was printed in the place of what a page shows."""
    page = updates[0][0].page
    text = page.read_text(encoding="utf-8")
    for block, printed in sorted(updates, key=lambda update: -update[0].start):
        lines = "\n".join(line.rstrip() for line in printed.strip("\n").splitlines())
        text = f"{text[: block.start]}{lines}\n{text[block.stop - _closing(block, text) :]}"
    page.write_text(text, encoding="utf-8")


def _closing(block: Block, text: str) -> int:
    """Return the length of the white space before the closing fence."""
    return len(text[: block.stop]) - len(text[: block.stop].rstrip(" "))
