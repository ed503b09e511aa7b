"""Ops on a GPU: what each launches. Importing a module of this folder registers its paths (``dispatch.py``)."""
