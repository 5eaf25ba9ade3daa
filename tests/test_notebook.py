"""The notebook of the documentation, executed by a real kernel."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


@pytest.mark.slow
def test_notebook_runs_and_shows_its_results(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=1200, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    shown = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for output in cell.outputs:
                shown.setdefault(cell.source.splitlines()[-1], []).append(output)
    (result,) = shown["run"]
    page = result.data["text/html"]
    assert page.index("able") < page.index("ln evidence")  # reliable, unusable: first
    for figure in ("run.plot_corner", "run.plot_waveform"):
        (output,) = next(out for name, out in shown.items() if name.startswith(figure))
        assert output.data["image/png"]
    (said,) = shown["print(comoving.verdict)"]
    assert "effective waveforms after reweighting" in said.text
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "GW150914" in page
    table = next(out for name, out in shown.items() if name.startswith("run.table"))
    assert "network_matched_filter_snr" in table[0].data["text/html"]


def test_notebook_is_kept_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert not any(cell.outputs or cell.execution_count for cell in code)
