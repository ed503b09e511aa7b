"""The training loop and everything around it: evaluation, weights, metrics, progress, reports."""
