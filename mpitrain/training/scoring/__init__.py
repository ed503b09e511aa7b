"""Scores of a model: how each task is scored, and the evaluation of a split over the ranks."""
