"""Mark output that may be left out when its reader is slow, such as figures that later ones replace."""

import contextlib
import threading
from collections.abc import Iterator

_mark = threading.local()


@contextlib.contextmanager
def expendable() -> Iterator[None]:
    """Mark all that this thread prints in the block."""
    before = is_expendable()
    _mark.value = True
    try:
        yield
    finally:
        _mark.value = before


def is_expendable() -> bool:
    """Return True in a block of ``expendable``."""
    return getattr(_mark, "value", False)
