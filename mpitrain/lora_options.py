"""Options of low-rank adapters as text: ``rank=8,alpha=16,dropout=0.1,on=*.qkv.q+*.qkv.v``."""

import math
import typing
from dataclasses import dataclass
from typing import Any

from .errors import UserError
from .option_values import format_value, parse_value, split_options
from .suggest import did_you_mean

QUERIES_AND_VALUES = ("*.qkv.q", "*.qkv.v")


@dataclass(frozen=True)
class LoRAOptions:
    """Options of low-rank adapters: their size, and their places.

    Attributes
    ----------
    rank : int
        r.
    alpha : float
        The product of an adapter counts alpha / rank; 0 takes 2 rank.
    dropout : float
        Probability that a number is dropped from what adapters read.
    on : tuple of str
        Patterns of Linears, or of their named parts ("1.attention.qkv.q"), that get an adapter each.
    train : tuple of str
        Patterns of further parameters to train.

    Raises
    ------
    UserError
        For values out of range.
    """

    rank: int = 8
    alpha: float = 0.0
    dropout: float = 0.0
    on: tuple[str, ...] = QUERIES_AND_VALUES
    train: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", self.alpha or 2.0 * self.rank)
        for name, right, wanted in (
            ("rank", self.rank >= 1, "at least 1"),
            ("alpha", 0 < self.alpha < math.inf, "positive"),
            ("dropout", 0 <= self.dropout < 1, "at least 0 and below 1"),
            ("on", bool(self.on), "a pattern of names"),
        ):
            if not right:
                raise UserError(f"{name} in --lora is {format_value(getattr(self, name))}, but must be {wanted}")

    @property
    def scale(self) -> float:
        """The factor of an adapter's product."""
        return self.alpha / self.rank

    @property
    def text(self) -> str:
        """The options as they are written.

        >>> LoRAOptions(4).text, LoRAOptions(8, 8, train=("9.weight",)).text
        ('rank=4,alpha=8', 'rank=8,alpha=8,train=9.weight')
        """
        default = LoRAOptions()
        further = {key: getattr(self, key) for key in ("dropout", "on", "train")}
        shown = {key: value for key, value in further.items() if value != getattr(default, key)}
        values = {"rank": self.rank, "alpha": f"{self.alpha:.15g}", **shown}
        return ",".join(f"{key}={format_value(value)}" for key, value in values.items())


def given_options(text: str) -> dict[str, Any]:
    """Return the options in ``text`` by name.

    Raises
    ------
    UserError
        For an unknown or repeated option, or a value of another type.
    """
    kinds, found = typing.get_type_hints(LoRAOptions), dict[str, Any]()
    for part in split_options(text):
        key, equals, value = part.partition("=")
        if not equals or key not in kinds or key in found:
            there = f"rank=N,alpha=X,dropout=P,on=PATTERN,train=PATTERN, each once, not {part!r}"
            raise UserError(f"--lora takes {there}{did_you_mean(key, [k for k in kinds if k != key])}")
        try:
            found[key] = parse_value(value, kinds[key])
        except ValueError as error:
            raise UserError(f"{key} in --lora is {value!r}, but must be {error}") from None
    return found


def parse_lora(text: str) -> LoRAOptions | None:
    """Return the options; None for the empty text.

    >>> parse_lora("rank=4").scale, parse_lora("rank=8,alpha=8,on=*.qkv+*.out").on, parse_lora("")
    (2.0, ('*.qkv', '*.out'), None)
    """
    return LoRAOptions(**given_options(text)) if text.strip() else None


def continued(given: str, then: str) -> str:
    """Return the options of a run that goes on: ``then``, if those given are the same; others are the run's.

    More than what is given may be trained: a head that the first weights lacked.

    >>> continued("rank=4", "rank=4,alpha=8,train=9.weight"), continued("rank=2", "rank=4,alpha=8")
    ('rank=4,alpha=8,train=9.weight', 'rank=2')
    """
    wanted, before = given_options(given), parse_lora(then)
    if not wanted or before is None or not set(wanted.pop("train", ())) <= set(before.train):
        return given
    return then if all(getattr(before, key) == value for key, value in wanted.items()) else given
