"""Scaling of training over ranks: laws, their fits, and predictions by prices. Pure functions, without MPI."""
