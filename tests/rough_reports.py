"""Reports in a fraction of the time: coarse pictures of few draws."""

from __future__ import annotations

import pytest


def roughen_reports(patch: pytest.MonkeyPatch) -> None:
    """Make rough reports, pictures and exports until ``patch`` is undone."""
    from dotpe_exec.export import pesummary
    from dotpe_exec.report import figures, templates, view

    patch.setattr(templates, "_DPI", 30)
    patch.setattr(figures, "_N_BAND", 5)
    patch.setattr(view, "_N_PRIOR", 500)
    patch.setattr(pesummary, "_N_PRIOR_SAMPLES", 500)
