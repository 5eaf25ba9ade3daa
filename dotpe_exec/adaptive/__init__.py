"""Waveforms drawn where the posterior is: a bank that adapts to the event."""
