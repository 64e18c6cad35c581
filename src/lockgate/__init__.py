"""Lockgate: a tabular model goes from new data to production through a series of gates."""

__version__ = "0.1.0"
