"""Tokenizers in files of Hugging Face's ``tokenizers`` (tokenizer.json), an extra of the package: ``text``.

Shapes: V tokens in the vocabulary.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ..files import one_line, reading

ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "[SEP]", "<eos>", "<|im_end|>")
MASK_NAMES = ("[MASK]", "<mask>")


class HuggingFaceTokenizer:
    """A tokenizer of a file; see ``tokenizer.Tokenizer``.

    Truncation and padding of the file are switched off.
    """

    def __init__(self, path: Path):
        self.name = str(path)
        with reading(path, "a tokenizer"):
            self.file = path.read_bytes()
        self.digest = hashlib.blake2b(self.file, digest_size=16).hexdigest()
        tokenizers = import_tokenizers()
        try:
            self._own = tokenizers.Tokenizer.from_buffer(self.file)
        except Exception as error:  # the package raises Exception itself
            raise UserError(f"{path} holds no tokenizer that the package tokenizers reads: {one_line(error)}") from None
        self._own.no_truncation()
        self._own.no_padding()
        ids = self._own.get_vocab(with_added_tokens=True)
        self.vocabulary = max(ids.values(), default=-1) + 1
        if not self.vocabulary:
            raise UserError(f"{path} has no tokens: train it first, as mpitrain tokenize does")
        found = [ids[name] for name in ENDS if name in ids]
        self.end_of_text = found[0] if found else None
        self.mask = next((ids[name] for name in MASK_NAMES if name in ids), None)
        facts = json.loads(self.file)
        self.unknown = _unknown(facts, ids)
        self.token_bytes = self._token_bytes(facts, ids)
        around, text = (self._own.encode(text).ids for text in ("", "a"))
        self.closes = bool(around) and bool(text) and text[-1] == around[-1] and len(around) > (text[0] == around[0])

    def encode(self, texts: Sequence[bytes], *, special: bool = False) -> list[np.ndarray]:
        """Return the tokens of each text."""
        parts = self._own.encode_batch_fast([text.decode() for text in texts], add_special_tokens=special)
        return [np.array(part.ids, np.int64) for part in parts]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, without special ones."""
        text: str = self._own.decode(list(tokens), skip_special_tokens=True)
        return text

    def _token_bytes(self, facts: dict[str, Any], ids: dict[str, int]) -> np.ndarray | None:
        """Return the bytes of each token of a byte-level tokenizer, in which a character stands for a byte."""
        if not _is_byte_level(facts):
            return None
        sizes = np.zeros(self.vocabulary, np.int64)
        for text, number in ids.items():
            sizes[number] = len(text)
        for token in facts.get("added_tokens", []):
            sizes[token["id"]] = 0 if token.get("special") else len(token["content"].encode())
        return sizes


def _unknown(facts: dict[str, Any], ids: dict[str, int]) -> int | None:
    """Return the token of unknown text, which Unigram names by its number and the others by its text."""
    model = facts.get("model") or {}
    number = model.get("unk_id")
    return number if isinstance(number, int) else ids.get(str(model.get("unk_token")))


def _is_byte_level(facts: dict[str, Any]) -> bool:
    """Return whether tokens are written by characters for bytes, and no normalizer changes the text."""
    decoder = facts.get("decoder") or {}
    inner = [decoder, *decoder.get("decoders", [])]
    return facts.get("normalizer") is None and any(one.get("type") == "ByteLevel" for one in inner)


def import_tokenizers() -> Any:
    """Return the package ``tokenizers``.

    Raises
    ------
    UserError
        If it is not installed.
    """
    try:
        import tokenizers
    except ImportError:
        raise UserError(
            "a tokenizer of a file needs the package tokenizers: pip install mpitrain[text] installs it; "
            "tokenizer=bytes needs none"
        ) from None
    return tokenizers
