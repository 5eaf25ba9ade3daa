"""A finished run under other assumptions: prior, noise, waveform model, calibration."""

from .weights import Reweighted, reweight

__all__ = ["Reweighted", "reweight"]
