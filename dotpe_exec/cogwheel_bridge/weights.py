"""The summary-weight operator of relative binning."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.interpolate
import scipy.sparse
from cogwheel.likelihood.relative_binning import BaseRelativeBinning

from ..errors import InputError
from ..waveforms.dense import PRECISE
from .generation import (
    LEAST_DENSE,
    delay_on_grid,
    keep_interpolated,
    strain_on_grid,
)


@dataclass(frozen=True)
class SplineBasis:
    """B-splines on the frequency grid, by the intervals between their knots.

    Of B-splines of degree k, the same k + 1 consecutive ones overlap throughout an
    interval, so that projecting on them is a small dense product per interval.

    Parameters
    ----------
    coefficients_bb : (n_b, n_b) float
        Row b: coefficients of the spline that is 1 at bin edge b and 0 at the others.
    values_fk : (n_f, k + 1) float
        Values of the overlapping splines; zero outside the bins.
    intervals : tuple of (int, int, int)
        Of each interval the first frequency, the one after the last, and the first of the
        overlapping splines.
    """

    coefficients_bb: np.ndarray
    values_fk: np.ndarray
    intervals: tuple[tuple[int, int, int], ...]

    def project(self, integrand_rf: np.ndarray) -> np.ndarray:
        """Return the sums over frequencies of integrands times splines, (n_r, n_b)."""
        return self.project_parts(lambda part: integrand_rf[:, part], len(integrand_rf))

    def project_parts(
        self, integrand: Callable[[slice], np.ndarray], n_r: int
    ) -> np.ndarray:
        """Project integrands that are made interval by interval.

        Products of modes over the whole grid are gigabytes for long data; those of one
        interval stay in the processor's cache.

        Parameters
        ----------
        integrand : callable
            Takes a slice of the frequency grid, returns (n_r, slice's length).
        n_r : int

        Returns
        -------
        (n_r, n_b) complex
        """
        projected_rb = np.zeros((2 * n_r, len(self.coefficients_bb)))
        order = self.values_fk.shape[1]
        for start, stop, b in self.intervals:
            # The splines are real: the parts of an integrand are two rows.
            part_rf = integrand(slice(start, stop))
            rows_rf = np.concatenate([part_rf.real, part_rf.imag])
            projected_rb[:, b : b + order] += rows_rf @ self.values_fk[start:stop]
        return projected_rb[:n_r] + 1j * projected_rb[n_r:]

    def to_sparse(self) -> scipy.sparse.csr_matrix:
        """Return cogwheel's ``_basis_splines``, (n_b, n_f)."""
        n_f = len(self.values_fk)
        first_f = np.zeros(n_f, dtype=int)
        for start, stop, b in self.intervals:
            first_f[start:stop] = b
        f, k = np.nonzero(self.values_fk)
        return scipy.sparse.csr_matrix(
            (self.values_fk[f, k], (first_f[f] + k, f)),
            shape=(len(self.coefficients_bb), n_f),
        )


@functools.lru_cache(maxsize=4)
def spline_basis(fbin: bytes, frequencies: bytes, spline_degree: int) -> SplineBasis:
    """Return the splines that cogwheel makes, without its loops.

    Parameters
    ----------
    fbin, frequencies : bytes
        Bin edges and FFT frequencies [Hz] (float64), as bytes to be keys of the cache.
    spline_degree : int
    """
    fbin_b, frequencies_f = np.frombuffer(fbin), np.frombuffer(frequencies)
    knots, *_ = scipy.interpolate.splrep(
        fbin_b, np.zeros_like(fbin_b), s=0, k=spline_degree
    )
    design_matrix = functools.partial(
        scipy.interpolate.BSpline.design_matrix, t=knots, k=spline_degree
    )
    # Cogwheel leaves out the samples at both ends, but for the last one of the grid.
    start, stop = np.searchsorted(frequencies_f, fbin_b[[0, -1]])
    start, stop = start + 1, stop + (stop == len(frequencies_f) - 1)
    design = design_matrix(frequencies_f[start:stop])
    values_fk = np.zeros((len(frequencies_f), spline_degree + 1))
    values_fk[start:stop] = design.data.reshape(-1, spline_degree + 1)
    first_f = design.indices.reshape(-1, spline_degree + 1)[:, 0]
    edges = np.flatnonzero(np.diff(first_f, prepend=-1, append=-1))
    return SplineBasis(
        coefficients_bb=np.linalg.inv(design_matrix(fbin_b).toarray()).T,
        values_fk=values_fk,
        intervals=tuple(
            (int(start + left), int(start + right), int(first_f[left]))
            for left, right in itertools.pairwise(edges)
        ),
    )


# Of a mode over that of m = 2, as a share of the median of this ratio: where a reference
# waveform has less amplitude it is given so much more.
_LEAST_AMPLITUDE = 0.1


class FastWeights(BaseRelativeBinning):
    """Cogwheel's summary-weight operator W_b: the same numbers, in less time.

    The splines depend on the bins and the frequency grid alone, so likelihoods on the
    same grid (all detectors, and each detector by itself) share them.
    """

    # Of the reference waveform on a dense grid; a search has a coarser one, enough to find
    # the way to another reference.
    tolerance = PRECISE

    def _set_splines(self) -> None:
        self._spline_basis = spline_basis(
            np.asarray(self.fbin, dtype=float).tobytes(),
            np.asarray(self.event_data.frequencies, dtype=float).tobytes(),
            self.spline_degree,
        )
        self._coefficients = self._spline_basis.coefficients_bb
        self._basis_splines = None  # Not needed here

    def _get_summary_weights(self, integrand: np.ndarray) -> np.ndarray:
        *shape, n_f = integrand.shape
        weights = self._to_weights(self._spline_basis.project(integrand.reshape(-1, n_f)))
        return weights.reshape(*shape, len(self.fbin))

    def _get_h_f(
        self, par_dic: dict, *, normalize: bool = False, by_m: bool = False
    ) -> np.ndarray:
        inside = self.event_data.fslice
        frequencies = self.event_data.frequencies[inside]
        if len(frequencies) < LEAST_DENSE:
            return super()._get_h_f(par_dic, normalize=normalize, by_m=by_m)
        # cogwheel's, with less done twice
        keep_interpolated(self.waveform_generator, frequencies, par_dic, self.tolerance)
        generator, n_d = self.waveform_generator, len(self.event_data.detector_names)
        shape = (len(generator.m_arr), n_d) if by_m else (n_d,)
        padded_df = np.zeros((*shape, len(self.event_data.frequencies)), complex)
        strain_on_grid(generator, frequencies, par_dic, by_m, padded_df[..., inside])
        if normalize:
            padded_df /= np.sqrt(self._compute_h_h(padded_df))[..., np.newaxis]
        return padded_df

    def _to_weights(self, projected_rb: np.ndarray) -> np.ndarray:
        """Return summary weights from projections on the splines."""
        return 4 * self.event_data.df * projected_rb @ self._coefficients.T

    def _fill_holes(
        self,
        h0_mxf: np.ndarray,
        h0_mxb: np.ndarray,
        generate: Callable[[np.ndarray], np.ndarray],
        hole: float = _LEAST_AMPLITUDE,
    ) -> None:
        """Give modes that vanish at some frequencies an amplitude there, in place.

        Those of odd m do at some frequency where masses are nearly equal and spins are
        not: over some Hz a model may have 1e-17 of its amplitude. What weights are divided
        by needs but the phase of waveforms near by.

        Parameters
        ----------
        h0_mxf, h0_mxb : (n_m, n_x, n_f) and (n_m, n_x, n_b) complex
            Modes by polarisation or detector, on the grid of frequencies and at the bins.
        generate : callable
            From frequencies to the modes (n_m, n_x, n), not interpolated: where it has no
            amplitude an interpolated waveform has no phase.
        hole : float
            What a hole is: so much of a mode's typical amplitude, over that of m = 2.
        """
        event = self.event_data
        frequencies = event.frequencies[event.fslice]
        weight_f = np.sum(event.wht_filter**2, axis=0)
        weight_b = np.gradient(self.fbin) * np.interp(
            self.fbin, event.frequencies, weight_f
        )
        m2 = list(self.waveform_generator.m_arr).index(2)
        for m, x in np.ndindex(h0_mxb.shape[:2]):
            h0_f, h0_b = h0_mxf[m, x, event.fslice], h0_mxb[m, x]
            # Above, the ringdown is stalled.
            power_b = np.cumsum(np.abs(h0_b) ** 2 * weight_b)
            in_band = power_b < 0.99 * power_b[-1]
            if not np.any(in_band):
                continue  # it vanishes everywhere
            ratio_b = np.abs(h0_b[in_band]) / np.abs(h0_mxb[m2, x, in_band])
            typical = np.median(ratio_b)
            if np.all(ratio_b > hole * typical):
                continue
            least = _LEAST_AMPLITUDE * typical
            least_f = least * np.abs(h0_mxf[m2, x, event.fslice])
            f_99 = self.fbin[in_band][-1]
            low = (np.abs(h0_f) < least_f) & (frequencies < f_99)
            h0_f[low] = generate(frequencies[low])[m, x]
            h0_f += least_f * np.exp(1j * np.angle(h0_f))
            h0_b += least * np.abs(h0_mxb[m2, x]) * np.exp(1j * np.angle(h0_b))

    def _stall_ringdown(
        self, h0_f: np.ndarray, h0_fbin: np.ndarray, time: float = 0.0
    ) -> None:
        """Make waveforms constant above the frequency of 99% of their power, in place.

        cogwheel's routine, on the frequencies that it changes alone.

        Parameters
        ----------
        h0_f, h0_fbin : (..., n_f) and (..., n_b) complex
        time : float
            They are to be constant when they are advanced by so much [s].

        Raises
        ------
        InputError
            The bins end below that frequency.
        """
        frequencies = self.event_data.frequencies
        weight_f = np.sum(self.event_data.wht_filter**2, axis=0)
        grids = (frequencies, h0_f), (self.fbin, h0_fbin)
        delays = (
            delay_on_grid(frequencies, time),
            np.exp(-2j * np.pi * time * self.fbin),
        )
        for row in np.ndindex(h0_f.shape[:-1]):
            power_f = np.cumsum((h0_f[row].real ** 2 + h0_f[row].imag ** 2) * weight_f)
            f_99 = frequencies[np.searchsorted(power_f, 0.99 * power_f[-1])]
            b_99 = int(np.searchsorted(self.fbin, f_99))
            if b_99 == len(self.fbin):
                raise InputError(
                    f"the bins end at {self.fbin[-1]} Hz, below the frequency by which the "
                    "reference waveform has 99% of its signal-to-noise ratio squared; use "
                    "a bank whose bins cover the event's frequencies"
                )
            f_start, f_end = self.fbin[b_99 - self.spline_degree], self.fbin[b_99]
            constant = h0_fbin[row][b_99] / delays[1][b_99]
            for (f, h_rf), delay_f in zip(grids, delays, strict=True):
                h = h_rf[row]
                start, stop = np.searchsorted(f, [f_start, f_end])
                fade = (
                    np.cos((f[start:stop] - f_start) / (f_end - f_start) * np.pi / 2) ** 2
                )
                h[start:stop] *= fade
                h[start:stop] += constant * (1 - fade) * delay_f[start:stop]
                np.multiply(constant, delay_f[stop:], out=h[stop:])
