"""Cogwheel's waveform generator: what it keeps, and faster ways to what it makes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np
from cogwheel import gw_utils, waveform

from ..waveforms.dense import PRECISE, TOLERANCE, dense_modes
from ..waveforms.direct import Source, generate_modes

# Frequencies from which on there are faster ways than cogwheel's.
LEAST_DENSE = 20_000
# Of these, so many at a time stay in the processor's cache.
_BLOCK = 2**12
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
        old.cache[:0] = _empty_cache(missing)
    for other in others:
        other.cache = old.cache


def _empty_cache(n_waveforms: int) -> list[dict]:
    generator = waveform.WaveformGenerator((), 0.0, 0.0, "IMRPhenomXAS")
    generator.n_cached_waveforms = n_waveforms
    return generator.cache


@contextlib.contextmanager
def keep_waveforms(
    generator: waveform.WaveformGenerator, *others: waveform.WaveformGenerator
) -> Iterator[None]:
    """Give a generator, after the block, the waveforms that it and others had before."""
    cache = [entry for other in (*others, generator) for entry in other.cache]
    yield
    generator.cache = cache


def lal_source(
    generator: waveform.WaveformGenerator, par_dic: Mapping[str, float]
) -> Source | None:
    """Return what LALSimulation needs to make a generator's waveform.

    None where the waveform is not LALSimulation's.
    """
    approximant = waveform.APPROXIMANTS[generator.approximant]
    if (
        type(generator) is not waveform.WaveformGenerator
        or approximant.hplus_hcross_by_mode_func
        is not waveform.compute_hplus_hcross_by_mode
    ):
        return None
    parameters = {name: float(par_dic[name]) for name in generator.slow_params}
    if generator.disable_precession:
        parameters |= waveform.ZERO_INPLANE_SPINS
    return Source(
        approximant=generator.approximant,
        harmonic_modes=tuple((ell, m) for ell, m in generator.harmonic_modes),
        lal_options=tuple((key, value) for key, value in generator.lalsimulation_commands),
        parameters=parameters,
    )


def hplus_hcross_by_m(
    generator: waveform.WaveformGenerator, frequencies: np.ndarray, par_dic: dict
) -> np.ndarray:
    """Return a generator's waveform (n_m, 2, n_f) at 1 Mpc and phase 0, not cached.

    Parameters
    ----------
    generator : cogwheel.waveform.WaveformGenerator
    frequencies : (n_f,) float
        [Hz], above zero.
    par_dic : dict
    """
    source = lal_source(generator, par_dic)
    if source is not None:
        return generate_modes(frequencies, source)
    fiducial = par_dic | {"d_luminosity": 1.0, "phi_ref": 0.0}
    return generator.get_hplus_hcross(frequencies, fiducial, by_m=True)


def keep_interpolated(
    generator: waveform.WaveformGenerator,
    frequencies: np.ndarray,
    par_dic: Mapping[str, float],
    tolerance: float = PRECISE,
) -> None:
    """Put a waveform on a dense grid into a generator's cache, see :mod:`.dense`.

    Parameters
    ----------
    generator : cogwheel.waveform.WaveformGenerator
    frequencies : (n_f,) float
        [Hz], above zero; if fewer than ``LEAST_DENSE`` nothing is done.
    par_dic : dict
    tolerance : float
        Of :func:`.dense_modes`.
    """
    if len(frequencies) < LEAST_DENSE:
        return
    source = lal_source(generator, par_dic)
    if source is None:
        return
    slow_par_vals = np.array([source.parameters[name] for name in generator.slow_params])
    if generator._matching_cache(slow_par_vals, frequencies):
        return
    generator.cache.append(
        {
            "approximant": generator.approximant,
            "f": frequencies,
            "slow_par_vals": slow_par_vals,
            "harmonic_modes_by_m": generator._harmonic_modes_by_m,
            "hplus_hcross_0": _interpolated(frequencies, source, tolerance),
            "lalsimulation_commands": generator.lalsimulation_commands,
        }
    )
    generator.cache.pop(0)


def interpolated_by_m(
    generator: waveform.WaveformGenerator, frequencies: np.ndarray, par_dic: dict
) -> np.ndarray:
    """Return what :func:`hplus_hcross_by_m` does, on a dense grid to some 1e-7."""
    source = lal_source(generator, par_dic)
    if source is None or len(frequencies) < LEAST_DENSE:
        return hplus_hcross_by_m(generator, frequencies, par_dic)
    return _interpolated(frequencies, source, TOLERANCE)


def _interpolated(frequencies: np.ndarray, source: Source, tolerance: float) -> np.ndarray:
    h_mpf = np.empty((len(source.m_arr), 2, len(frequencies)), dtype=complex)
    for part, h_mp_part in dense_modes(frequencies, source, tolerance):
        h_mpf[..., part] = h_mp_part
    return h_mpf


def strain_on_grid(
    generator: waveform.WaveformGenerator,
    frequencies: np.ndarray,
    par_dic: Mapping[str, float],
    by_m: bool,
    h_df: np.ndarray,
) -> None:
    """Write the generator's strain at detectors (n_m?, n_d, n_f), for a dense grid.

    Parameters
    ----------
    generator, frequencies, par_dic
        As in :func:`keep_interpolated`; frequencies in equal steps.
    by_m : bool
        Whether modes are apart.
    h_df : (n_m?, n_d, n_f) complex
        Written.
    """
    h0_mpf = _kept(generator, frequencies, par_dic)
    m_m = generator.m_arr
    phase_m = np.exp(1j * m_m * par_dic["phi_ref"]) / par_dic["d_luminosity"]
    place = generator.detector_names, par_dic["ra"], par_dic["dec"]
    response_pd = gw_utils.fplus_fcross(*place, par_dic["psi"], generator.tgps)
    times_d = gw_utils.time_delay_from_geocenter(*place, generator.tgps)
    times_d = times_d + generator.tcoarse + par_dic["t_geocenter"]
    factor_mdp = phase_m[:, np.newaxis, np.newaxis] * response_pd.T
    if not by_m:
        n_d = len(times_d)
        factor_mdp = np.moveaxis(factor_mdp, 0, 1).reshape(n_d, -1)
        h0_mpf = h0_mpf.reshape(-1, len(frequencies))
    # Block by block: the arrays are large, and each pass over one takes its time.
    step = frequencies[1] - frequencies[0]
    inner_db = np.exp(-2j * np.pi * step * np.outer(times_d, np.arange(_BLOCK)))
    for start in range(0, len(frequencies), _BLOCK):
        part = slice(start, start + _BLOCK)
        outer_d = np.exp(-2j * np.pi * frequencies[start] * times_d)
        h_part = np.matmul(factor_mdp * outer_d[:, np.newaxis], h0_mpf[..., part])
        h_part *= inner_db[:, : h_part.shape[-1]]
        h_df[..., part] = h_part


def _kept(
    generator: waveform.WaveformGenerator,
    frequencies: np.ndarray,
    par_dic: Mapping[str, float],
) -> np.ndarray:
    """Return a waveform (n_m, 2, n_f) at 1 Mpc and phase 0: the cache's own, if it can."""
    source = lal_source(generator, par_dic)
    if source is not None:
        slow_par_vals = np.array(
            [source.parameters[name] for name in generator.slow_params]
        )
        if entry := generator._matching_cache(slow_par_vals, frequencies):
            return entry["hplus_hcross_0"]
    shape = {name: par_dic[name] for name in generator._waveform_params}
    fiducial = shape | {"d_luminosity": 1.0, "phi_ref": 0.0}
    return generator.get_hplus_hcross(frequencies, fiducial, by_m=True)


def delay_on_grid(frequencies: np.ndarray, time: float) -> np.ndarray:
    """Return exp(-2 pi i f time) for frequencies [Hz] in equal steps."""
    n_f, n_inner = len(frequencies), 512
    step = frequencies[1] - frequencies[0]
    inner = np.exp(-2j * np.pi * time * step * np.arange(n_inner))
    outer = np.exp(-2j * np.pi * time * frequencies[::n_inner])
    return np.multiply.outer(outer, inner).ravel()[:n_f]
