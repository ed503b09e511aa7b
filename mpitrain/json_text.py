"""JSON that any parser reads: NaN and infinity, for which JSON has no tokens, become null or text."""

import json
import math
from typing import Any

WORDS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def to_json(value: Any, *, words: bool = False, indent: int | None = None) -> str:
    """Return ``value`` as strict JSON text (RFC 8259).

    Parameters
    ----------
    value : JSON-able
    words : bool
        True writes a number that is not finite as "NaN", "Infinity" or "-Infinity", which ``float`` reads back; False
        writes null.
    indent : int, optional
        As in ``json.dumps``.

    Examples
    --------
    >>> to_json({"loss": float("nan")}), to_json([float("inf")], words=True)
    ('{"loss": null}', '["Infinity"]')
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value, words), indent=indent, allow_nan=False)


def _finite(value: Any, words: bool) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return WORDS[str(float(value))] if words else None
    if isinstance(value, dict):
        return {key: _finite(item, words) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item, words) for item in value]
    return value
