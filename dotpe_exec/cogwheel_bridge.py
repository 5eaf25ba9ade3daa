"""Where this package meets cogwheel: the only module that uses its underscore names.

Importing it imports cogwheel (and LAL): do so inside functions, never at the top of a
module that the workers of the likelihood phases load.

Index letters: d detector, m harmonic mode (azimuthal number), p/P polarisation (plus,
cross), b frequency bin, f frequency of the FFT grid, t time.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.interpolate
import scipy.sparse
from cogwheel import gw_utils, utils, waveform
from cogwheel.data import EventData
from cogwheel.likelihood import RelativeBinningLikelihood
from cogwheel.likelihood.relative_binning import BaseLinearFree, BaseRelativeBinning

from .errors import InputError
from .kernels.summary import IncoherentSummary, LineFit, Summary, mode_pairs

logger = logging.getLogger("dotpe_exec.cogwheel")


class _LogLines(io.TextIOBase):
    """Text stream that passes each line on to a logging function."""

    def __init__(self, log: Callable[[str], None]):
        self._log = log
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                self._log(line)
        return len(text)

    def flush_rest(self) -> None:
        """Log what came without a final newline."""
        if self._rest.strip():
            self._log(self._rest)
        self._rest = ""


@contextlib.contextmanager
def prints_logged(level: int = logging.DEBUG) -> Iterator[None]:
    """Turn what cogwheel prints into records of the logger ``dotpe_exec.cogwheel``."""
    stream = _LogLines(functools.partial(logger.log, level))
    with contextlib.redirect_stdout(stream):
        try:
            yield
        finally:
            stream.flush_rest()


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


class FastRelativeBinningLikelihood(FastWeights, RelativeBinningLikelihood):
    """Cogwheel's ``RelativeBinningLikelihood``, made in less time."""

    def plain(self) -> RelativeBinningLikelihood:
        """Turn this object into one of cogwheel's own class, to be saved as such."""
        self.__class__ = RelativeBinningLikelihood
        return self


class ModeSummary(FastWeights, BaseLinearFree):
    """Summary weights by mode and polarisation, common to all directions and times.

    With W_b cogwheel's summary-weight operator and h0_mp the reference waveform at
    1 Mpc and phi_ref 0, without t_geocenter or detector delay:

        dh_weights[m,p,d,b] = W_b[blued_strain_d conj(h0_mp)] / conj(h0_mp(f_b))
        hh_weights[mm',p,P,d,b] = W_b[wht_filter_d^2 h0_mp conj(h0_m'P)]
                                  / (h0_mp(f_b) conj(h0_m'P(f_b)))

    and the entries with m != m' doubled. The reference waveform here is made with
    ``FORCE_NNLO_ANGLES``; ``asd_drift`` and the line fit are cogwheel's own, from the
    waveform generator's options.

    Attributes
    ----------
    dh_weights_mpdb : (n_m, 2, n_d, n_b) complex
    hh_weights_mppdb : (n_mm, 2, 2, n_d, n_b) complex
    """

    def _set_summary(self) -> None:
        super()._set_summary()
        h0_mpf, h0_mpb = self._get_h0()
        shape = (*h0_mpb.shape[:2], len(self.event_data.strain), len(self.fbin))
        self.dh_weights_mpdb = np.empty(shape, dtype=complex)
        for m, p in np.ndindex(shape[:2]):  # All at once are gigabytes for long data
            self.dh_weights_mpdb[m, p] = (
                self._get_summary_weights(
                    self.event_data.blued_strain * h0_mpf[m, p].conj()
                )
                / h0_mpb[m, p].conj()
            )
        self.hh_weights_mppdb = self._get_hh_weights(h0_mpf, h0_mpb)

    def _get_hh_weights(self, h0_mpf: np.ndarray, h0_mpb: np.ndarray) -> np.ndarray:
        m_inds, mprime_inds = mode_pairs(len(h0_mpb))
        n_d, n_b = len(self.event_data.wht_filter), len(self.fbin)
        # wht_filter^2 goes into the splines of each detector, stacked: then each product
        # of modes is made once and read once.
        splines = scipy.sparse.vstack(
            [
                self._basis_splines.multiply(wht_filter_f**2)
                for wht_filter_f in self.event_data.wht_filter
            ],
            format="csr",
        )
        w_mppdb = np.empty((len(m_inds), 2, 2, n_d, n_b), dtype=complex)
        for pair, (m, mprime) in enumerate(zip(m_inds, mprime_inds, strict=True)):
            for p, pprime in np.ndindex(2, 2):
                if m == mprime and p > pprime:  # W_b is real
                    w_mppdb[pair, p, pprime] = w_mppdb[pair, pprime, p].conj()
                    continue
                product_f = h0_mpf[m, p] * h0_mpf[mprime, pprime].conj()
                w_mppdb[pair, p, pprime] = _project(splines, product_f).reshape(n_d, n_b)
        w_mppdb = 4 * self.event_data.df * w_mppdb @ self._coefficients.T
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
            disable_precession=False,
            lalsimulation_commands=waveform.FORCE_NNLO_ANGLES,
        ):
            h0_mpb = generator.get_hplus_hcross(self.fbin, par_dic, by_m=True)
            h0_mpf = np.zeros((*h0_mpb.shape[:2], len(event.frequencies)), dtype=complex)
            h0_mpf[..., event.fslice] = generator.get_hplus_hcross(
                event.frequencies[event.fslice], par_dic, by_m=True
            )
        for m, p in zip(*np.nonzero(~np.any(h0_mpf, axis=-1)), strict=True):
            raise InputError(
                f"par_dic_0: the mode m = {generator.m_arr[m]} of the reference waveform "
                f"vanishes in the {('plus', 'cross')[p]} polarisation, so it cannot serve "
                "as reference; choose one that is neither face-on nor of equal masses"
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


def single_detector_event(event_data: EventData, i_det: int) -> EventData:
    """Return the event restricted to the detector at position ``i_det``."""
    return event_data.reinstantiate(
        strain=event_data.strain[[i_det]],
        wht_filter=event_data.wht_filter[[i_det]],
        detector_names=event_data.detector_names[i_det : i_det + 1],
        injection=None,
    )


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


def _mode_summary(likelihood: BaseRelativeBinning, event_data: EventData, generator: Any,
                  ) -> ModeSummary:  # fmt: skip
    with prints_logged():
        return ModeSummary(
            event_data,
            generator,
            dict(likelihood.par_dic_0),
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


# Waveforms that a likelihood and the summaries that go with it use in turn.
N_WAVEFORMS = 6


def share_waveforms(
    old: waveform.WaveformGenerator, *others: waveform.WaveformGenerator
) -> None:
    """Make generators use one list of cached waveforms.

    An entry of cogwheel's cache carries all that the polarisations depend on, which does
    not include detectors.
    """
    missing = N_WAVEFORMS - len(old.cache)
    if missing > 0:
        old.cache[:0] = waveform.WaveformGenerator(
            (), old.tgps, old.tcoarse, old.approximant, n_cached_waveforms=missing
        ).cache
    for other in others:
        other.cache = old.cache


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
    return _mode_summary(likelihood, likelihood.event_data, generator).to_summary()


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
        summaries.append(_mode_summary(likelihood, single, generator).to_summary())

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
