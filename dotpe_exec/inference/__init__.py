"""From event and banks to posterior samples: a run, its arguments, inputs and stages."""

from .entry import run, run_and_profile, run_and_profile_multicore, run_multicore

__all__ = ["run", "run_and_profile", "run_and_profile_multicore", "run_multicore"]
