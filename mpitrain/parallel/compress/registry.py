"""Codecs by name, and the rule which all-reduces carry which."""

from ...errors import UserError
from ...registry import Registry
from .blocks import Bf16, Fp16, Int8, Sign
from .codec import Codec
from .identity import Identity
from .powersgd import PowerSGD
from .randomk import RandomK
from .topk import TopK

NONE, AUTO = "none", "auto"

CODECS: Registry[Codec] = Registry(
    "codec",
    {
        "int8": Int8,
        "bf16": Bf16,
        "fp16": Fp16,
        "sign": Sign,
        "topk": TopK,
        "randomk": RandomK,
        "powersgd": PowerSGD,
        "identity": Identity,
    },
    arguments=(),
    result=Codec,
)


def make_codec(text: str) -> Codec | None:
    """Return the codec that ``text`` selects; None for none.

    Raises
    ------
    UserError
        If there is no such codec or option.
    """
    return None if text == NONE else CODECS.make(text)


def check_carries(codec: Codec, text: str, all_reduce: str) -> None:
    """Raise a UserError if an all-reduce cannot carry a codec: only linear messages are sums.

    NCCL carries the exchanges of all of them.
    """
    if codec.linear or all_reduce in ("auto", "nccl"):
        return
    linear = ", ".join(name for name in CODECS if getattr(CODECS.find(name)[0], "linear", False))
    raise UserError(
        f"--compress {text} does not go with --all-reduce {all_reduce}: its messages are not sums, and travel by an "
        f"exchange of their own; leave --all-reduce out, or take a linear codec ({linear})"
    )
