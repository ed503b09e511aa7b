"""Parallelism over ranks, wrapped around unchanged layers."""
