"""Requests to continue a text."""

from typing import Any

from ..errors import UserError
from ..generation import Sampling
from .inputs import parse_json
from .jobs import Continuation
from .refusal import Refusal

KINDS: dict[str, tuple[type, ...]] = {
    "prompt": (str,),
    "tokens": (int,),
    "temperature": (int, float),
    "top_k": (int,),
    "top_p": (int, float),
    "seed": (int,),
    "stream": (bool,),
}
MOST_TOKENS = 100_000


def read_continuation(body: bytes) -> Continuation:
    """Return the request in a body: {"prompt": "Once upon", "tokens": 100}.

    Raises
    ------
    Refusal
        If it is no JSON (400), or a key or a value is none of ours (422).
    """
    found: dict[str, Any] = parse_json(body, tuple(KINDS))
    if "prompt" not in found:
        raise Refusal(422, 'the body must have a prompt: {"prompt": "Once upon a time"}')
    for key, value in found.items():
        if not isinstance(value, KINDS[key]) or (isinstance(value, bool) and key != "stream"):
            raise Refusal(422, f"{key} must be {_name(KINDS[key])}, but it is {str(value)[:40]!r}")
    asked = Continuation(**found)
    if not 1 <= asked.tokens <= MOST_TOKENS:
        raise Refusal(422, f"tokens must be from 1 to {MOST_TOKENS:,}, but it is {asked.tokens}")
    try:
        Sampling(asked.temperature, asked.top_k, asked.top_p, asked.seed)
    except UserError as error:
        raise Refusal(422, str(error)) from None
    return asked


def _name(kinds: tuple[type, ...]) -> str:
    return {str: "a text", int: "a whole number", bool: "true or false", float: "a number"}[kinds[-1]]
