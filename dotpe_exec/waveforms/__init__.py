"""Waveforms of compact binaries by mode: amplitudes and phases as banks hold them.

Importing this imports nothing heavy; making a waveform loads LALSimulation, and cogwheel
for the approximants that are its own.
"""

from .generator import (
    ModeGenerator,
    NoWaveformError,
    WaveformSet,
    generate_waveform_set,
    generation_way,
)

__all__ = [
    "ModeGenerator",
    "NoWaveformError",
    "WaveformSet",
    "generate_waveform_set",
    "generation_way",
]
