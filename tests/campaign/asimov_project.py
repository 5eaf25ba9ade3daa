"""Drive asimov by its own commands in a project's folder; prints what a test looks at."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from click.testing import CliRunner


def main(blueprints: list[str]) -> None:
    """Apply blueprints, build, submit to local processes, wait, monitor."""
    from asimov import current_ledger
    from asimov.olivaw import olivaw

    def asimov(*words: str) -> str:
        done = CliRunner().invoke(olivaw, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    said = [asimov("apply", "-f", blueprints[0])]
    said += [asimov("apply", "-f", path, "-e", "SIM1") for path in blueprints[1:]]
    said += [asimov("manage", "build"), asimov("manage", "submit")]
    outcome = Path("working/SIM1/Prod0/outcomes/SIM1.json")
    deadline = time.monotonic() + 240
    while not outcome.is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    said += [asimov("monitor")]
    (event,) = current_ledger.get_event("SIM1")
    found = {}
    for production in event.productions:
        pipeline = production.pipeline
        found[production.name] = {
            "status": production.status,
            "complete": pipeline.detect_completion(),
            "assets": pipeline.collect_assets(),
            "samples": pipeline.samples(),
            "pages": pipeline.result_pages(),
            "logs": sorted(pipeline.collect_logs()),
        }
    print(json.dumps({"found": found, "said": "\n".join(said)}))


if __name__ == "__main__":
    main(sys.argv[1:])
