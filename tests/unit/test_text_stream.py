"""Text of tokens that come one by one, and prompts that a tokenizer does not know."""

import numpy as np
import pytest

from mpitrain.data.text import ByteTokenizer, TextStream, open_tokenizer
from mpitrain.data.text.train import train_tokenizer
from mpitrain.errors import UserError
from mpitrain.generation.writer import make_prompt

BYTES = ByteTokenizer()
TEXT = "für 3 € 🙂 naïve\n" * 20


def written(tokenizer, tokens, before=()):
    stream = TextStream(tokenizer, before)
    pieces = [stream.add(token) for token in tokens]
    return pieces, stream.end()


def test_text_in_bytes():
    tokens = list(TEXT.encode())
    pieces, rest = written(BYTES, tokens, b"a prompt")
    assert ("".join(pieces), rest) == (TEXT, "")
    ends = np.cumsum([len(char.encode()) for char in TEXT]) - 1
    assert [pieces[end] for end in ends] == list(TEXT)  # each as soon as it is complete


@pytest.mark.parametrize("seed", range(20))
def test_any_bytes_are_written_as_they_are_decoded(seed):
    rng = np.random.default_rng(seed)
    common = [*"a€🙂".encode(), 0xFF, 0xC3, 0xE2, 256]
    tokens = rng.choice(common, 500).tolist() if seed % 2 else rng.integers(0, 257, 500).tolist()
    pieces, rest = written(BYTES, tokens)
    assert "".join(pieces) + rest == BYTES.decode(tokens), f"seed {seed}"
    assert len(rest) <= 1


def test_what_is_cut_off_is_said():
    assert written(BYTES, [0xE2, 0x82]) == (["", ""], "\ufffd")


@pytest.fixture(params=["bpe", "wordpiece"])
def tokenizer(request, tmp_path):
    pytest.importorskip("tokenizers")
    texts = [TEXT, "hello world, one fish"] * 9
    (tmp_path / "t.json").write_text(train_tokenizer(lambda: iter(texts), request.param, 300))
    return open_tokenizer(str(tmp_path / "t.json"))


def test_text_of_a_tokenizer_of_a_file(tokenizer):
    text = "one fish, hello " * 30 + "für 3 €"
    (tokens,) = tokenizer.encode([text.encode()])
    for cut in (1, 7, len(tokens) // 2):
        pieces, rest = written(tokenizer, tokens[cut:], tokens[:cut])
        whole = tokenizer.decode(tokens.tolist())
        assert tokenizer.decode(tokens[:cut].tolist()) + "".join(pieces) + rest == whole


def test_prompts_of_unknown_text(tokenizer):
    assert make_prompt("one fish", tokenizer).tokens == tokenizer.encode([b"one fish"])[0].tolist()
    if tokenizer.unknown is None:  # all bytes are known
        assert make_prompt("one Ж", tokenizer).tokens
        return
    with pytest.raises(
        UserError, match=r"^the prompt 'one Ж' in line 3 has text that the tokenizer of the run does not"
    ):
        make_prompt("one Ж", tokenizer, " in line 3")


def test_prompts_that_are_no_text():
    with pytest.raises(UserError, match=r"the prompt 'a\\xff' is not UTF-8"):
        make_prompt("a\udcff", BYTES)
    with pytest.raises(UserError, match=r"the prompt is empty"):
        make_prompt("", BYTES)
    assert make_prompt("€", BYTES).tokens == [0xE2, 0x82, 0xAC]
