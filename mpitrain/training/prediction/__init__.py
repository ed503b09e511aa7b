"""Predictions of finished runs, written to a file piece by piece."""
