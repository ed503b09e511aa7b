"""Choice of ``--compress auto``: a codec where it is predicted to save time, none elsewhere, with the reason.

The exchange of whole gradients is priced by the same measurements as all-reduces; that of a codec as its two messages,
and encoding and decoding as they take here. Only codecs that hardly change what is learned are candidates.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from ...arena import Arena
from ...collectives.price.units import say_seconds
from ...comm.group import Group
from .owners import BlockCodec
from .registry import NONE, make_codec

CANDIDATES = ("int8", "bf16")
LEAST_GAIN = 0.2  # of the time of whole gradients: rounding is not taken for less
MEASURED = 1 << 18  # elements
REPEATS = 3


def choose_codec(arena: Arena, group: Group) -> tuple[str, str]:
    """Return the text of a codec, or "none", and the reason; all ranks call it together."""
    if group.size == 1:
        return NONE, "no compression: one rank sends nothing"
    whole = group.choose(arena.gradients.nbytes)
    if whole.name == "shared":
        return NONE, "no compression: the ranks share the memory of one node and send no messages"
    codecs = {text: codec for text in CANDIDATES if isinstance(codec := make_codec(text), BlockCodec)}
    lengths = [codec.message_bytes(arena.size) for codec in codecs.values()]
    messages = [(name, length) for length in lengths for name in ("all_to_all/pairwise", "all_gather/ring")]
    seconds = group.predict(messages)
    if seconds is None or whole.seconds is None:
        return NONE, "no compression: messages are not measured here (mpitrain collective calibrate)"
    work = np.array([_work(codec, arena.size, group.size) for codec in codecs.values()])
    group.maximum(work)
    times = {text: seconds[2 * k] + seconds[2 * k + 1] + float(work[k]) for k, text in enumerate(codecs)}
    best = min(times, key=times.__getitem__)
    compared = f"{say_seconds(times[best])} predicted, whole gradients {say_seconds(whole.seconds)}"
    if times[best] < (1 - LEAST_GAIN) * whole.seconds:
        return best, f"{best}: {compared}"
    return NONE, f"no compression: {best} {compared}"


def _work(codec: BlockCodec, num_elements: int, size: int) -> float:
    """Return the seconds to encode a rank's gradient, to decode and add those of others, and to spread the sums."""
    count = min(num_elements, MEASURED)
    x, error = np.ones(count, np.float32), np.zeros(count if codec.feedback else 0, np.float32)
    message = np.zeros(codec.message_bytes(count), np.uint8)
    encode = _shortest(lambda: codec.encode(x, error, message, (1.0, 0.0, 1.0)))
    add, decode = (_shortest(partial(codec.decode, message, x, adds)) for adds in (True, False))
    return (encode * (1 + 1 / size) + add + decode) * num_elements / count


def _shortest(call: Callable[[], None]) -> float:
    """Return the seconds of the fastest of a few calls."""
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)
