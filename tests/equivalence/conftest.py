"""Toy tasks are shared with the tests of the executors."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "executors"))
