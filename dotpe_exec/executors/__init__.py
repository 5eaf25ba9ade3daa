"""Executors: where tasks run. See docs/executors.md for the contract."""
