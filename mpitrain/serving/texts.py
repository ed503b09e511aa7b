"""Texts of requests, as rows of tokens for a model that classifies them.

Shapes: n texts, T tokens of the longest row.
"""

from typing import Any

import numpy as np

from ..context import PAD
from ..data.matching.signature import Signature
from ..data.text.rows import TokenRows
from ..data.text.stream import TokenStream
from ..data.tokenizer import Tokenizer
from ..errors import UserError


class TextReader:
    """Reader of texts.

    Parameters
    ----------
    signature : Signature
    tokenizer : Tokenizer or None
        None where the model was trained on tokens without one.
    """

    def __init__(self, signature: Signature, tokenizer: Tokenizer | None):
        self._longest, self._vocabulary, self._tokenizer = signature.input_shape[0], signature.vocabulary, tokenizer

    def read(self, inputs: list[Any]) -> np.ndarray:
        """Return texts, or lists of tokens, as (n, T) int64, padded to the longest; what is too long is cut.

        Raises
        ------
        UserError
            If an input is neither, or empty.
        """
        parts = [self._tokens(number, one) for number, one in enumerate(inputs)]
        sizes = np.array([len(part) for part in parts], np.int64)
        closes = self._tokenizer is not None and self._tokenizer.closes
        stream = TokenStream([np.concatenate(parts)])
        rows = TokenRows(stream, np.cumsum(sizes) - sizes, sizes, self._longest, closes=closes)
        return rows.take(np.arange(len(rows)))

    def check(self, x: np.ndarray) -> np.ndarray:
        """Return rows of tokens as (n, T) int64; raise a UserError if they are none of the model's."""
        if x.ndim != 2 or x.dtype.kind not in "iu" or not 0 < x.shape[1] <= self._longest or not len(x):
            raise UserError(f"the array must be rows of tokens, (n, T) integers with T up to {self._longest}")
        if x.min() < PAD or x.max() >= self._vocabulary:
            raise UserError(f"a token is outside of the vocabulary, 0 to {self._vocabulary - 1}")
        return x.astype(np.int64)

    def _tokens(self, number: int, one: Any) -> np.ndarray:
        if isinstance(one, str) and self._tokenizer is not None:
            if not one.strip():
                raise UserError(f"input {number} is empty")
            (found,) = self._tokenizer.encode([one.encode()], special=True)
            return np.asarray(found, np.int64)
        if isinstance(one, list) and one and all(type(token) is int for token in one):
            tokens: np.ndarray = self.check(np.array([one[: self._longest]]))[0]
            return tokens
        kind = "a list of tokens" if self._tokenizer is None else "a text, or a list of tokens"
        raise UserError(f"input {number} must be {kind}")
