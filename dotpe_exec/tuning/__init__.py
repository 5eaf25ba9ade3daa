"""Autotuning: which batch sizes are fast on this machine, measured on the real kernels."""
