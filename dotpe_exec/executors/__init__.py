"""Executors: where tasks run, and what happens when that fails. See docs/executors.md.

Each backend is one small module; ``interface`` is what it must provide, ``driver`` does
everything else once for all of them, and ``phases`` is all that a stage sees.
"""
