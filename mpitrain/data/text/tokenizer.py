"""The tokenizer of bytes, and tokenizers by name."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..tokenizer import Tokenizer

BYTES = "bytes"


class ByteTokenizer:
    """Each byte is a token, and 256 is the end of a text: a tokenizer for any language, without training.

    >>> tokenizer = ByteTokenizer()
    >>> tokens = tokenizer.encode(["é".encode()])[0].tolist()
    >>> tokens, tokenizer.decode([*tokens, 256])
    ([195, 169], 'é')
    """

    name = BYTES
    vocabulary = 257
    end_of_text: int | None = 256
    mask: int | None = None
    unknown: int | None = None
    digest = BYTES
    file = b""
    closes = False

    def __init__(self) -> None:
        self.token_bytes: np.ndarray | None = np.append(np.ones(256, np.int64), 0)

    def encode(self, texts: Sequence[bytes], *, special: bool = False) -> list[np.ndarray]:
        """Return the bytes."""
        return [np.frombuffer(text, np.uint8) for text in texts]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of bytes."""
        return bytes(token for token in tokens if 0 <= token < 256).decode("utf-8", "replace")


def open_tokenizer(name: str) -> Tokenizer:
    """Return the tokenizer ``bytes``, or the one in a file.

    Raises
    ------
    UserError
        If there is no such file, it holds no tokenizer, or the package that reads it is not installed.
    """
    if name == BYTES:
        return ByteTokenizer()
    from .hugging_face import HuggingFaceTokenizer

    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(f"there is no tokenizer {name!r}: it is {BYTES}, or a file such as tokenizer.json")
    return HuggingFaceTokenizer(path)


def dtype_for(vocabulary: int) -> np.dtype[np.unsignedinteger]:
    """Return the type in which token ids are stored: the smallest that holds them."""
    return np.dtype(np.uint8 if vocabulary <= 1 << 8 else "<u2" if vocabulary <= 1 << 16 else "<u4")
