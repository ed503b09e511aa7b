"""Measurements of links and collectives: benchmarks, calibration of the price model, traces, and the doctor."""
