"""Cogwheel's likelihood, and checks of what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from cogwheel import utils, waveform
from cogwheel.data import EventData
from cogwheel.likelihood import RelativeBinningLikelihood

from ..errors import InputError
from ..logged_prints import prints_logged
from .weights import FastWeights

# Of detectors' modes, some share of whose amplitude precession takes away at any frequency:
# what is no more than so much is a hole in the model.
_HOLE = 1e-3


class FastRelativeBinningLikelihood(FastWeights, RelativeBinningLikelihood):
    """Cogwheel's ``RelativeBinningLikelihood``, made in less time."""

    def _set_summary(self) -> None:
        # RelativeBinningLikelihood's, with the products of modes made part by part.
        super(RelativeBinningLikelihood, self)._set_summary()
        event, generator = self.event_data, self.waveform_generator
        with utils.temporarily_change_attributes(generator, disable_precession=False):
            self._h0_f = self._get_h_f(self.par_dic_0, by_m=True)
            self._h0_fbin = generator.get_strain_at_detectors(
                self.fbin, self.par_dic_0, by_m=True
            )
            self._fill_holes(
                self._h0_f,
                self._h0_fbin,
                lambda some: generator.get_strain_at_detectors(
                    some, self.par_dic_0, by_m=True
                ),
                _HOLE,
            )
        # Without the large time shift h0 is smooth where the ringdown is stalled.
        self._stall_ringdown(self._h0_f, self._h0_fbin, event.tcoarse)

        m_inds, mprime_inds = map(np.array, generator.get_m_mprime_inds())
        n_m, n_d, _ = self._h0_f.shape
        wht_filter2_df = event.wht_filter**2

        def products(part: slice) -> np.ndarray:
            h0_mdf = self._h0_f[..., part]
            d_h_mdf = event.blued_strain[:, part] * h0_mdf.conj()
            h_h_mdf = h0_mdf[m_inds] * h0_mdf[mprime_inds].conj() * wht_filter2_df[:, part]
            return np.concatenate([d_h_mdf, h_h_mdf]).reshape(-1, h0_mdf.shape[-1])

        n_r = (n_m + len(m_inds)) * n_d
        weights_rb = self._to_weights(self._spline_basis.project_parts(products, n_r))
        weights_mdb = weights_rb.reshape(-1, n_d, len(self.fbin))
        self._d_h_weights = weights_mdb[:n_m] / self._h0_fbin.conj()
        h0_h0_mdb = self._h0_fbin[m_inds] * self._h0_fbin[mprime_inds].conj()
        self._h_h_weights = weights_mdb[n_m:] / h0_h0_mdb
        self._h_h_weights[m_inds != mprime_inds] *= 2

    def plain(self) -> RelativeBinningLikelihood:
        """Turn this object into one of cogwheel's own class, to be saved as such."""
        self._basis_splines = self._spline_basis.to_sparse()
        del self._spline_basis
        self.__class__ = RelativeBinningLikelihood
        return self


def make_likelihood(
    event_data: EventData,
    approximant: str,
    par_dic_0: Mapping[str, float],
    fbin: np.ndarray,
    *,
    harmonic_modes: Sequence[Sequence[int]] | None = None,
    spline_degree: int = 3,
) -> RelativeBinningLikelihood:
    """Return cogwheel's relative-binning likelihood for a given reference waveform.

    Parameters
    ----------
    event_data : cogwheel.data.EventData
    approximant : str
    par_dic_0 : dict
        Parameters of the reference waveform, the keys of cogwheel's
        ``WaveformGenerator.params``.
    fbin : (n_b,) float
        Edges of the frequency bins [Hz].
    harmonic_modes : sequence of (l, m), optional
        Default: all modes of the approximant.
    spline_degree : int

    Raises
    ------
    InputError
        ``par_dic_0`` lacks parameters, or has values that are not finite or not
        physical.
    """
    par_dic_0 = check_par_dic(par_dic_0, "par_dic_0")
    generator = waveform.WaveformGenerator.from_event_data(
        event_data, approximant, harmonic_modes=harmonic_modes, n_cached_waveforms=2
    )
    with prints_logged():
        return FastRelativeBinningLikelihood(
            event_data,
            generator,
            par_dic_0,
            fbin=np.asarray(fbin),
            spline_degree=spline_degree,
        ).plain()


def check_approximant(approximant: str) -> str:
    """Return the name of an approximant that cogwheel can generate, or refuse it.

    Raises
    ------
    InputError
    """
    if approximant == "IMRPhenomXODE":
        # cogwheel registers it on import of this module, which needs more packages.
        try:
            from cogwheel.waveform_models import xode  # noqa: F401
        except ImportError as error:
            raise InputError(
                f"the approximant {approximant} cannot be used: {error}"
            ) from error
    if approximant not in waveform.APPROXIMANTS:
        raise InputError(
            f"the approximant is {approximant!r}, expected one of "
            f"{', '.join(waveform.APPROXIMANTS)}, IMRPhenomXODE"
        )
    return approximant


def check_par_dic(par_dic: Mapping[str, Any], name: str) -> dict[str, float]:
    """Return a waveform's parameters as floats, in cogwheel's order, or refuse them.

    Tidal deformabilities, in-plane spins and psi that are absent are zero; other keys
    (``tgps``, say) are left out.

    Parameters
    ----------
    par_dic : dict
    name : str
        What to call it in the error.

    Raises
    ------
    InputError
    """
    optional = {"l1", "l2", "s1x_n", "s1y_n", "s2x_n", "s2y_n", "psi"}
    params = waveform.WaveformGenerator.params
    if missing := [p for p in params if p not in par_dic and p not in optional]:
        raise InputError(f"{name} lacks {', '.join(missing)}")
    checked = {}
    for param in params:
        try:
            checked[param] = float(par_dic.get(param, 0.0))
        except (TypeError, ValueError):
            raise InputError(
                f"{name}: {param} must be a number, not {par_dic[param]!r}"
            ) from None
        if not np.isfinite(checked[param]):
            raise InputError(f"{name}: {param} is {checked[param]}, not a finite number")
    for param in ("m1", "m2", "d_luminosity", "f_ref"):
        if checked[param] <= 0:
            raise InputError(f"{name}: {param} must be positive, not {checked[param]}")
    if not waveform.within_bounds(checked):
        raise InputError(
            f"{name}: parameters out of physical bounds (spin magnitudes at most 1, iota "
            "from 0 to pi, dec from -pi/2 to pi/2)"
        )
    return checked
