"""Protocol of tokenizers: text as bytes, to arrays of token ids and back.

Shapes: V tokens in the vocabulary.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Tokenizer(Protocol):
    """A tokenizer.

    Attributes
    ----------
    name : str
        As in a source: ``bytes``, or the path of a file.
    vocabulary : int
        V.
    end_of_text : int or None
        The token between documents.
    mask : int or None
        The token in place of those to be predicted, as BERT has one.
    unknown : int or None
        The token of text that the vocabulary does not have; None where there is no such text.
    digest : str
        The same for tokenizers that encode alike.
    file : bytes
        The file that it was read from; empty for bytes.
    token_bytes : (V,) array of int64, or None
        Bytes of text of each token, 0 for special ones; None where a token does not say (WordPiece).
    closes : bool
        Whether ``special`` puts a token at the end.
    """

    name: str
    vocabulary: int
    end_of_text: int | None
    mask: int | None
    unknown: int | None
    digest: str
    file: bytes
    token_bytes: np.ndarray | None
    closes: bool

    def encode(self, texts: Sequence[bytes], *, special: bool = False) -> list[np.ndarray]:
        """Return the tokens of each text, which is UTF-8, as (n,) arrays of integers without the end of text.

        With ``special`` they have those around them that the tokenizer adds to a text to classify, such as [CLS].
        """

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens; what is no whole character becomes U+FFFD."""
