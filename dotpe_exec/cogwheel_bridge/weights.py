"""The summary-weight operator of relative binning."""

from __future__ import annotations

import functools

import numpy as np
import scipy.interpolate
import scipy.sparse
from cogwheel.likelihood.relative_binning import BaseRelativeBinning


@functools.lru_cache(maxsize=4)
def _spline_matrices(
    fbin: bytes, frequencies: bytes, spline_degree: int
) -> tuple[np.ndarray, scipy.sparse.csr_matrix]:
    """Return cogwheel's ``_coefficients`` and ``_basis_splines``, without its loops.

    Parameters
    ----------
    fbin, frequencies : bytes
        Bin edges and FFT frequencies [Hz] (float64), as bytes to be keys of the cache.
    spline_degree : int

    Returns
    -------
    coefficients : (n_b, n_b) float
        Row b: B-spline coefficients of the spline that is 1 at bin edge b, 0 at others.
    basis_splines : (n_b, n_f) sparse float
        The B-splines on the frequency grid.
    """
    fbin_b, frequencies_f = np.frombuffer(fbin), np.frombuffer(frequencies)
    knots, *_ = scipy.interpolate.splrep(
        fbin_b, np.zeros_like(fbin_b), s=0, k=spline_degree
    )
    design_matrix = functools.partial(
        scipy.interpolate.BSpline.design_matrix, t=knots, k=spline_degree
    )
    coefficients = np.linalg.inv(design_matrix(fbin_b).toarray()).T

    # Cogwheel leaves out the samples at both ends, but for the last one of the grid.
    start, stop = np.searchsorted(frequencies_f, fbin_b[[0, -1]])
    start, stop = start + 1, stop + (stop == len(frequencies_f) - 1)
    inside = design_matrix(frequencies_f[start:stop]).tocoo()
    basis_splines = scipy.sparse.csr_matrix(
        (inside.data, (inside.col, inside.row + start)),
        shape=(len(fbin_b), len(frequencies_f)),
    )
    return coefficients, basis_splines


def _project(splines: scipy.sparse.csr_matrix, integrand_f: np.ndarray) -> np.ndarray:
    """Return ``splines @ integrand_f``; a complex array is a pair of real columns."""
    if not np.iscomplexobj(integrand_f):
        return splines @ integrand_f
    columns = np.ascontiguousarray(integrand_f).view(float).reshape(-1, 2)
    return np.ascontiguousarray(splines @ columns).view(complex)[:, 0]


class FastWeights(BaseRelativeBinning):
    """Cogwheel's summary-weight operator W_b: the same numbers, in less time.

    The splines depend on the bins and the frequency grid alone, so likelihoods on the
    same grid (all detectors, and each detector by itself) share them; and they are
    real, so a complex integrand costs two real products.
    """

    def _set_splines(self) -> None:
        self._coefficients, self._basis_splines = _spline_matrices(
            np.asarray(self.fbin, dtype=float).tobytes(),
            np.asarray(self.event_data.frequencies, dtype=float).tobytes(),
            self.spline_degree,
        )

    def _get_summary_weights(self, integrand: np.ndarray) -> np.ndarray:
        *shape, n_f = integrand.shape
        projected = [
            _project(self._basis_splines, row) for row in integrand.reshape(-1, n_f)
        ]
        weights = 4 * self.event_data.df * np.array(projected) @ self._coefficients.T
        return weights.reshape(*shape, len(self.fbin)).astype(complex)
