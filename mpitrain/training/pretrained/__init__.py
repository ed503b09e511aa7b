"""Weights that other programs have trained: Hugging Face folders and GGUF files, in and out.

Each architecture is one file with one table: which of its layers is which of ours, and how its arrays lie.
"""
