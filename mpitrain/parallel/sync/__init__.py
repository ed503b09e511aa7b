"""Synchronization less often than in every step (``--sync``): each method is one file."""
