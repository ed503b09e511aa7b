"""Sweeps over settings of training: parameters, methods, and the log of events from which every decision follows."""
