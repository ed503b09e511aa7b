"""Schedules run over MPI: plans with persistent requests, device memory staged in segments, native and NCCL calls."""
