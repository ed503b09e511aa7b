"""Profiles: the trace of a run as a file for ui.perfetto.dev, and its summary in words. Needs no MPI."""
