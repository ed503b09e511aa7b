"""Trials of a sweep: groups of ranks that train one after the other, each as a job of its own."""
