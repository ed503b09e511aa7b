"""The cache of encoded text, in ~/.cache/mpitrain/tokens or the folder in MPITRAIN_TOKENS."""

from ..cache import Cache, facts_of, size_of

CACHE = Cache("tokens", "encoded text")
path_for, new_folder, write = CACHE.path_for, CACHE.new_folder, CACHE.write

__all__ = ["CACHE", "facts_of", "new_folder", "path_for", "size_of", "write"]
