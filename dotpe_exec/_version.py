"""The version of the package, and its only home."""

__version__ = "0.2.0"
