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
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
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
def _splines(fbin: bytes, frequencies: bytes, spline_degree: int, parts: Callable) -> Any:
    return parts()


class FastWeights(BaseRelativeBinning):
    """Cogwheel's summary-weight operator W_b, the same numbers in less time.

    The splines depend on the bins and the frequency grid alone, so likelihoods on the
    same grid (all detectors, and each detector by itself) share them; and the spline
    matrix is real, so it acts on real and imaginary parts separately.
    """

    def _set_splines(self) -> None:
        # The key is by value: instances of different events may follow each other.
        def compute() -> tuple:
            super(FastWeights, self)._set_splines()
            return self._coefficients, self._basis_splines

        self._coefficients, self._basis_splines = _splines(
            np.asarray(self.fbin).tobytes(),
            np.asarray(self.event_data.frequencies).tobytes(),
            self.spline_degree,
            _Uncompared(compute),
        )

    def _get_summary_weights(self, integrand: np.ndarray) -> np.ndarray:
        *shape, n_f = integrand.shape
        rows = integrand.reshape(-1, n_f)
        projected = np.zeros((len(rows), len(self.fbin)), dtype=complex)
        for row, out in zip(rows, projected, strict=True):
            out.real = self._basis_splines @ row.real
            if np.iscomplexobj(row):
                out.imag = self._basis_splines @ row.imag
        weights = 4 * self.event_data.df * projected @ self._coefficients.T
        return weights.reshape(*shape, len(self.fbin))


class _Uncompared:
    """A callable that is no part of a cache's key."""

    def __init__(self, function: Callable):
        self._function = function

    def __call__(self) -> Any:
        return self._function()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Uncompared)

    def __hash__(self) -> int:
        return 0


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
        event = self.event_data
        blued_strain_df = event.blued_strain
        wht_filter2_df = event.wht_filter**2

        self.dh_weights_mpdb = (
            self._get_summary_weights(blued_strain_df * h0_mpf.conj()[:, :, np.newaxis])
            / (h0_mpb.conj()[:, :, np.newaxis])
        )

        m_inds, mprime_inds = mode_pairs(len(h0_mpb))
        n_d, n_b = len(wht_filter2_df), len(self.fbin)
        self.hh_weights_mppdb = np.empty((len(m_inds), 2, 2, n_d, n_b), dtype=complex)
        # Pair by pair: all of them at once are gigabytes for long data.
        for pair, (m, mprime) in enumerate(zip(m_inds, mprime_inds, strict=True)):
            for p, pprime in np.ndindex(2, 2):
                weights_db = self._get_summary_weights(
                    wht_filter2_df * (h0_mpf[m, p] * h0_mpf[mprime, pprime].conj())
                )
                self.hh_weights_mppdb[pair, p, pprime] = (
                    weights_db
                    / (h0_mpb[m, p] * h0_mpb[mprime, pprime].conj())
                    * (1 if m == mprime else 2)
                )

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
        h_mpdb = generator.get_hplus_hcross_at_detectors(
            self.fbin,
            {**par_dic, "t_geocenter": par_dic["t_geocenter"]},
            by_m=True,
        )
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
    par_dic_0: dict[str, float],
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
        return RelativeBinningLikelihood(
            event_data,
            generator,
            par_dic_0,
            fbin=np.asarray(fbin),
            spline_degree=spline_degree,
        )


def check_par_dic(par_dic: dict[str, Any], name: str) -> dict[str, float]:
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


def _shared_generator(
    likelihood: BaseRelativeBinning, harmonic_modes: Sequence[Sequence[int]] | None
) -> waveform.WaveformGenerator:
    """Return a generator that caches all four waveforms that a summary needs.

    They are: on the FFT grid and at the bins, with default and with NNLO angles.
    """
    generator = likelihood.waveform_generator
    if harmonic_modes is None:
        harmonic_modes = generator.harmonic_modes
    return generator.reinstantiate(
        harmonic_modes=harmonic_modes,
        n_cached_waveforms=4,
        lalsimulation_commands=(),
        disable_precession=False,
    )


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
    generator = _shared_generator(likelihood, harmonic_modes)
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
    shared = _shared_generator(likelihood, harmonic_modes)
    summaries = []
    for i_det in range(len(event_data.detector_names)):
        single = single_detector_event(event_data, i_det)
        generator = shared.reinstantiate(detector_names=single.detector_names)
        generator.cache = shared.cache  # The polarisations know nothing of detectors
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
