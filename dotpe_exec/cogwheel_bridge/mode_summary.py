"""Relative-binning summaries by mode and polarisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from cogwheel import gw_utils, utils, waveform
from cogwheel.data import EventData
from cogwheel.likelihood.relative_binning import BaseLinearFree, BaseRelativeBinning

from ..errors import InputError
from ..kernels.summary import IncoherentSummary, LineFit, Summary, mode_pairs
from ..logged_prints import prints_logged
from .generation import (
    N_WAVEFORMS,
    hplus_hcross_by_m,
    keep_interpolated,
    share_waveforms,
)
from .weights import FastWeights


class ModeSummary(FastWeights, BaseLinearFree):
    """Summary weights by mode and polarisation, common to all directions and times.

    With W_b cogwheel's summary-weight operator and h0_mp the reference waveform at
    1 Mpc and phi_ref 0, without t_geocenter or detector delay:

        dh_weights[m,p,d,b] = W_b[blued_strain_d conj(h0_mp)] / conj(h0_mp(f_b))
        hh_weights[mm',p,P,d,b] = W_b[wht_filter_d^2 h0_mp conj(h0_m'P)]
                                  / (h0_mp(f_b) conj(h0_m'P(f_b)))

    and the entries with m != m' doubled. The reference waveform here is made without spins
    in the plane of the orbit, should it have any: precession makes modes vanish at some
    frequencies, and binning relative to them fails. It is made with ``FORCE_NNLO_ANGLES``;
    ``asd_drift`` and the line fit are cogwheel's own, from the waveform generator's
    options and all spins.

    Parameters
    ----------
    known_asd_drift : (n_d,) float, optional
        From a likelihood on the same event and reference waveform: not computed again.
    *args, **kwargs
        As for cogwheel's ``BaseLinearFree``.

    Attributes
    ----------
    dh_weights_mpdb : (n_m, 2, n_d, n_b) complex
    hh_weights_mppdb : (n_mm, 2, 2, n_d, n_b) complex
    """

    def __init__(
        self,
        event_data: EventData,
        waveform_generator: waveform.WaveformGenerator,
        par_dic_0: dict[str, float],
        known_asd_drift: np.ndarray | None = None,
        **kwargs: Any,
    ):
        self.known_asd_drift = known_asd_drift
        super().__init__(event_data, waveform_generator, par_dic_0, **kwargs)

    def compute_asd_drift(self, par_dic: dict, **kwargs: Any) -> np.ndarray:
        """Return cogwheel's ASD-drift correction of each detector, unless it is known."""
        if self.known_asd_drift is not None:
            return self.known_asd_drift
        return super().compute_asd_drift(par_dic, **kwargs)

    def _set_summary(self) -> None:
        super()._set_summary()
        h0_mpf, h0_mpb = self._get_h0()
        self.dh_weights_mpdb = self._get_dh_weights(h0_mpf, h0_mpb)
        self.hh_weights_mppdb = self._get_hh_weights(h0_mpf, h0_mpb)

    def _get_dh_weights(self, h0_mpf: np.ndarray, h0_mpb: np.ndarray) -> np.ndarray:
        blued_strain_df = self.event_data.blued_strain
        shape = (*h0_mpb.shape[:2], len(blued_strain_df))

        def products(part: slice) -> np.ndarray:
            product_mpdf = blued_strain_df[:, part] * h0_mpf[:, :, np.newaxis, part].conj()
            return product_mpdf.reshape(-1, product_mpdf.shape[-1])

        projected_rb = self._spline_basis.project_parts(products, int(np.prod(shape)))
        w_mpdb = self._to_weights(projected_rb).reshape(*shape, len(self.fbin))
        return w_mpdb / h0_mpb[:, :, np.newaxis].conj()

    def _get_hh_weights(self, h0_mpf: np.ndarray, h0_mpb: np.ndarray) -> np.ndarray:
        m_inds, mprime_inds = mode_pairs(len(h0_mpb))
        n_d, n_b = len(self.event_data.wht_filter), len(self.fbin)
        basis = self._spline_basis
        order = basis.values_fk.shape[1]
        wht_filter2_fd = self.event_data.wht_filter.T**2
        rows = [
            (pair, m, p, mprime, pprime)
            for pair, (m, mprime) in enumerate(zip(m_inds, mprime_inds, strict=True))
            for p, pprime in np.ndindex(2, 2)
            if m < mprime or p <= pprime  # The others are conjugates, for W_b is real
        ]
        pair_r, m_r, p_r, mprime_r, pprime_r = np.array(rows).T
        w_rbd = np.zeros((2 * len(rows), n_b, n_d))
        # As SplineBasis.project_parts, with wht_filter^2 of all detectors in the splines:
        # each product of modes is made and read once.
        for start, stop, b in basis.intervals:
            part_mpf = h0_mpf[..., start:stop]
            product_rf = part_mpf[m_r, p_r] * part_mpf[mprime_r, pprime_r].conj()
            splines_fkd = (
                basis.values_fk[start:stop, :, np.newaxis]
                * wht_filter2_fd[start:stop, np.newaxis]
            )
            parts_rf = np.concatenate([product_rf.real, product_rf.imag])
            w_rk = parts_rf @ splines_fkd.reshape(stop - start, -1)
            w_rbd[:, b : b + order] += w_rk.reshape(-1, order, n_d)
        w_rdb = np.moveaxis(w_rbd[: len(rows)] + 1j * w_rbd[len(rows) :], 1, 2)
        w_mppdb = np.empty((len(m_inds), 2, 2, n_d, n_b), dtype=complex)
        same = m_r == mprime_r
        w_mppdb[pair_r[same], pprime_r[same], p_r[same]] = w_rdb[same].conj()
        w_mppdb[pair_r, p_r, pprime_r] = w_rdb
        w_mppdb = self._to_weights(w_mppdb)
        w_mppdb[m_inds != mprime_inds] *= 2
        h0h0_mppb = (
            h0_mpb[m_inds][:, :, np.newaxis] * h0_mpb[mprime_inds][:, np.newaxis].conj()
        )
        return w_mppdb / h0h0_mppb[:, :, :, np.newaxis]

    def _get_h0(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the stalled reference waveform on the FFT grid and at the bins."""
        event, generator = self.event_data, self.waveform_generator
        par_dic = self.par_dic_0 | {"d_luminosity": 1.0, "phi_ref": 0.0}
        with utils.temporarily_change_attributes(
            generator,
            disable_precession=True,
            lalsimulation_commands=waveform.FORCE_NNLO_ANGLES,
        ):
            h0_mpb = generator.get_hplus_hcross(self.fbin, par_dic, by_m=True)
            h0_mpf = np.zeros((*h0_mpb.shape[:2], len(event.frequencies)), dtype=complex)
            frequencies = event.frequencies[event.fslice]
            keep_interpolated(generator, frequencies, par_dic)
            h0_mpf[..., event.fslice] = generator.get_hplus_hcross(
                frequencies, par_dic, by_m=True
            )
            _refuse_vanishing(generator, h0_mpf)
            self._fill_holes(
                h0_mpf,
                h0_mpb,
                lambda some: hplus_hcross_by_m(generator, some, par_dic),
            )
        self._stall_ringdown(h0_mpf, h0_mpb)
        # Only now the large time shift: the stalling needs a smooth waveform.
        h0_mpf *= np.exp(-2j * np.pi * event.frequencies * event.tcoarse)
        h0_mpb *= np.exp(-2j * np.pi * self.fbin * event.tcoarse)
        return h0_mpf, h0_mpb

    def lnlike_and_metadata(self, par_dic: dict) -> tuple[float, None]:
        """Return the log likelihood of the binned waveform (and no metadata)."""
        generator = self.waveform_generator
        h_mpdb = generator.get_hplus_hcross_at_detectors(self.fbin, par_dic, by_m=True)
        response_pd = gw_utils.fplus_fcross(
            generator.detector_names, par_dic["ra"], par_dic["dec"], par_dic["psi"],
            generator.tgps,
        )  # fmt: skip
        m_inds, mprime_inds = mode_pairs(len(h_mpdb))
        dh_d = np.einsum(
            "mpdb,mpdb,pd->d", self.dh_weights_mpdb, h_mpdb.conj(), response_pd
        )
        hh_d = np.einsum(
            "mpPdb,mpdb,mPdb,pd,Pd->d",
            self.hh_weights_mppdb, h_mpdb[m_inds], h_mpdb.conj()[mprime_inds],
            response_pd, response_pd,
            optimize=True,
        )  # fmt: skip
        return float((dh_d.real - hh_d.real / 2) @ self.asd_drift**-2), None

    def to_summary(self) -> Summary:
        """Return what the likelihood kernels need."""
        m_arr = self.waveform_generator.m_arr
        return Summary(
            fbin_b=np.array(self.fbin),
            m_arr=m_arr,
            dh_weights_dmpb=np.ascontiguousarray(np.moveaxis(self.dh_weights_mpdb, 2, 0)),
            hh_weights_dmppb=np.ascontiguousarray(np.moveaxis(self.hh_weights_mppdb, 3, 0)),
            asd_drift_d=np.array(self.asd_drift),
            line_fit=LineFit(
                fbin_b=np.array(self.fbin),
                h2plus0_b=np.array(self._h2plus0_fbin),
                weights_b=np.array(self._polyfit_weights),
                m2_index=list(m_arr).index(2),
            ),
        )


def _refuse_vanishing(generator: waveform.WaveformGenerator, h0_mpf: np.ndarray) -> None:
    for m, p in zip(*np.nonzero(~np.any(h0_mpf, axis=-1)), strict=True):
        raise InputError(
            f"par_dic_0: the mode m = {generator.m_arr[m]} of the reference waveform "
            f"vanishes in the {('plus', 'cross')[p]} polarisation, so it cannot serve "
            "as reference; choose one that is neither face-on nor of equal masses"
        )


def single_detector_event(event_data: EventData, i_det: int) -> EventData:
    """Return the event restricted to the detector at position ``i_det``."""
    return event_data.reinstantiate(
        strain=event_data.strain[[i_det]],
        wht_filter=event_data.wht_filter[[i_det]],
        detector_names=event_data.detector_names[i_det : i_det + 1],
        injection=None,
    )


def _mode_summary(
    likelihood: BaseRelativeBinning,
    event_data: EventData,
    generator: waveform.WaveformGenerator,
    known_asd_drift: np.ndarray | None = None,
) -> ModeSummary:
    with prints_logged():
        return ModeSummary(
            event_data,
            generator,
            dict(likelihood.par_dic_0),
            known_asd_drift=known_asd_drift,
            fbin=np.array(likelihood.fbin),
            spline_degree=likelihood.spline_degree,
        )


def _generator_for_summaries(
    likelihood: BaseRelativeBinning, harmonic_modes: Sequence[Sequence[int]] | None
) -> waveform.WaveformGenerator:
    """Return a generator that keeps every waveform that summaries need.

    They are: on the FFT grid and at the bins, with default and with NNLO angles; the
    likelihood may have some of them already, and gets the others.
    """
    generator = likelihood.waveform_generator
    if harmonic_modes is None:
        harmonic_modes = generator.harmonic_modes
    new = generator.reinstantiate(
        harmonic_modes=harmonic_modes,
        n_cached_waveforms=N_WAVEFORMS,
        lalsimulation_commands=(),
        disable_precession=False,
    )
    share_waveforms(generator, new)
    return new


def make_summary(
    likelihood: BaseRelativeBinning,
    *,
    harmonic_modes: Sequence[Sequence[int]] | None = None,
) -> Summary:
    """Return the summary data of all detectors (the coherent stage's).

    Parameters
    ----------
    likelihood : cogwheel relative-binning likelihood
        Gives the event, the reference waveform, the approximant and the bins.
    harmonic_modes : sequence of (l, m), optional
        The bank's, in its order; default: the likelihood's.

    Returns
    -------
    Summary
    """
    generator = _generator_for_summaries(likelihood, harmonic_modes)
    return _mode_summary(
        likelihood, likelihood.event_data, generator, likelihood.asd_drift
    ).to_summary()


def make_incoherent_summary(
    likelihood: BaseRelativeBinning,
    n_t: int,
    *,
    harmonic_modes: Sequence[Sequence[int]] | None = None,
) -> IncoherentSummary:
    """Return the single-detector summaries and time grids (the incoherent stage's).

    Everything, ``asd_drift`` and the stalling of the ringdown included, is computed for
    each detector as if it were alone; the line fit is the first detector's.

    Parameters
    ----------
    likelihood : cogwheel relative-binning likelihood
        Gives the event, the reference waveform, the approximant and the bins.
    n_t : int
        Number of times per detector, one sampling step apart, around the arrival time
        of the reference waveform.
    harmonic_modes : sequence of (l, m), optional
        The bank's, in its order; default: the likelihood's.

    Returns
    -------
    IncoherentSummary
    """
    if n_t < 1:
        raise InputError(f"n_t must be at least 1, not {n_t}")
    event_data = likelihood.event_data
    shared = _generator_for_summaries(likelihood, harmonic_modes)
    summaries = []
    for i_det in range(len(event_data.detector_names)):
        single = single_detector_event(event_data, i_det)
        generator = shared.reinstantiate(detector_names=single.detector_names)
        share_waveforms(shared, generator)
        # ASD drifts are each detector's own.
        known = likelihood.asd_drift[[i_det]]
        summaries.append(_mode_summary(likelihood, single, generator, known).to_summary())

    par_dic_0 = likelihood.par_dic_0
    arrival_d = (
        par_dic_0["t_geocenter"]
        + gw_utils.time_delay_from_geocenter(
            event_data.detector_names, par_dic_0["ra"], par_dic_0["dec"], event_data.tgps
        )
        + event_data.tcoarse
    )
    steps_t = (np.arange(n_t) - n_t // 2) * event_data.times[1]
    return IncoherentSummary(
        summary=Summary(
            fbin_b=summaries[0].fbin_b,
            m_arr=summaries[0].m_arr,
            dh_weights_dmpb=np.concatenate([s.dh_weights_dmpb for s in summaries]),
            hh_weights_dmppb=np.concatenate([s.hh_weights_dmppb for s in summaries]),
            asd_drift_d=np.concatenate([s.asd_drift_d for s in summaries]),
            line_fit=summaries[0].line_fit,
        ),
        times_dt=arrival_d[:, np.newaxis] + steps_t,
    )
