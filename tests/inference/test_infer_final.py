"""What becomes of points of which nothing is left."""

from __future__ import annotations

import numpy as np
import pytest

from dotpe_exec.adaptive.draws import Produced
from dotpe_exec.errors import SelectionError
from dotpe_exec.inference.infer_final import Final


@pytest.mark.parametrize("failed", [False, True])
def test_points_without_any_likelihood_are_refused_in_a_sentence(failed):
    produced = Produced(
        np.zeros((5, 9)), np.full(5, -np.inf), np.zeros(5), np.full(5, failed)
    )
    with np.errstate(divide="ignore"), pytest.raises(SelectionError, match="none of the 5"):
        Final(None, produced, None, 64)
