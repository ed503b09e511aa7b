"""mpitrain: a distributed trainer you can read."""

__version__ = "0.1.0"
