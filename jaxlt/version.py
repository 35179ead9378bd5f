"""The version of this package, for everything that records it."""

__version__ = "0.1.0"
