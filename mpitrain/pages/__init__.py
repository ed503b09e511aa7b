"""Runs to look at: reading run directories, pages of one file, a live page and a live view in the terminal.

Nothing here needs an MPI library: runs are looked at on login nodes and laptops.
"""
