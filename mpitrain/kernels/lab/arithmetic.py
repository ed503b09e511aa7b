"""Arithmetic of sizes, as in "grid (ceil(n / TILE), ceil(m / TILE)), block (32, 8)"."""

import math
import re
from collections.abc import Mapping
from fractions import Fraction

from ...errors import UserError

TOKEN = re.compile(r"\s*(\d+|\w+|[-+*/(),])")


class Sizes:
    """Reader of one text; a name stands for its value, in small letters too.

    Parameters
    ----------
    text : str
        A number of expressions between commas, with + - * / and ``ceil(a / b)`` or ``ceil a / b``.
    values : mapping of str to int
    whole : bool
        Whether a division rounds down, as that of two ints does in C.
    """

    def __init__(self, text: str, values: Mapping[str, int], whole: bool = False):
        self._text, self._values, self._whole = text, values, whole
        self._tokens: list[str] = []
        at = 0
        while text[at:].strip():
            match = TOKEN.match(text, at)
            if match is None:
                raise self._error(f"{text[at:].strip()[0]!r} has no meaning there")
            self._tokens.append(match[1])
            at = match.end()
        self._at = 0

    def all(self) -> list[int]:
        """Return the values of all expressions, up to three, in parentheses or not.

        Raises
        ------
        UserError
            If the text cannot be read, or a value is no whole number.
        """
        found = [self._sum()]
        while self._take(","):
            found.append(self._sum())
        if self._at < len(self._tokens):
            raise self._error(f"{self._tokens[self._at]!r} has no meaning there")
        if any(value.denominator != 1 for value in found):
            raise self._error(f"it is {', '.join(map(str, found))}, and must be whole: write ceil(a / b)")
        return [int(value) for value in found]

    def _sum(self) -> Fraction:
        value = self._product()
        while sign := self._take("+", "-"):
            other = self._product()
            value = value + other if sign == "+" else value - other
        return value

    def _product(self) -> Fraction:
        value = self._factor()
        while sign := self._take("*", "/"):
            other = self._factor()
            if sign == "/" and other == 0:
                raise self._error("it divides by zero")
            value = value * other if sign == "*" else value / other
            value = Fraction(math.floor(value)) if self._whole else value
        return value

    def _factor(self) -> Fraction:
        if self._take("-"):
            return -self._factor()
        if self._take("("):
            value = self._sum()
            if not self._take(")"):
                raise self._error("a ) is missing")
            return value
        if self._at == len(self._tokens):
            raise self._error("it ends too early")
        word = self._tokens[self._at]
        self._at += 1
        if word == "ceil":
            return Fraction(math.ceil(self._factor() if self._next("(") else self._product()))
        if word.isdigit():
            return Fraction(int(word))
        for name in (word, word.lower()):
            if name in self._values:
                return Fraction(self._values[name])
        known = ", ".join(sorted(self._values))
        raise self._error(f"{word!r} is no size and no constant of the file; known are {known}")

    def _next(self, word: str) -> bool:
        return self._at < len(self._tokens) and self._tokens[self._at] == word

    def _take(self, *words: str) -> str:
        if any(map(self._next, words)):
            self._at += 1
            return self._tokens[self._at - 1]
        return ""

    def _error(self, why: str) -> UserError:
        return UserError(f"{self._text.strip()!r} cannot be read as sizes: {why}")
