"""Training of tokenizers by Hugging Face's ``tokenizers``: byte-level BPE and WordPiece.

Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019) merges the most frequent pairs of tokens, from single bytes
on, so that no text is unknown. WordPiece (Schuster and Nakajima 2012, as in BERT) knows words and their continuations.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...errors import UserError
from .hugging_face import import_tokenizers
from .options import has_text, parse_table_source, parse_text_source
from .pieces import Piece, find_files, lines_of, pieces_of
from .table import rows_of
from .tokenizer import BYTES

END_OF_TEXT = "<|endoftext|>"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # of BERT
MOST_LETTERS = 1000  # that begin or continue a word by themselves

Texts = Callable[[], Iterator[str]]


def train_tokenizer(texts: Texts, kind: str, vocabulary: int, *, lowercase: bool = False) -> str:
    """Return the contents of the file of a tokenizer that is trained on ``texts``.

    The result depends on the texts alone, not on their order or the number of threads.

    Parameters
    ----------
    texts : callable() -> iterator of str
    kind : "bpe" or "wordpiece"
    vocabulary : int
        The most tokens, special ones included.
    lowercase : bool
        Of wordpiece: fold letters to lower case, and drop accents, before all else.

    Raises
    ------
    UserError
        If the package ``tokenizers`` is not installed, the texts hold no words, or more letters than the vocabulary.
    """
    tokenizers = import_tokenizers()
    if kind == "bpe":
        made = _bpe(tokenizers, texts, vocabulary)
    else:
        made = _word_piece(tokenizers, texts, vocabulary, lowercase)
    text: str = made.to_str(pretty=True)
    return text


def texts_of(source: str, most_bytes: int) -> Iterator[str]:
    """Yield the text of a source in parts, up to about ``most_bytes`` of it, evenly spread over long text files.

    Parameters
    ----------
    source : str
        ``text:...``, or ``csv:FILE,text=COLUMN`` or ``jsonl:FILE,text=KEY``.
    """
    kind, _, place = source.partition(":")
    if has_text(kind, place):
        path, table = parse_table_source(kind, place)
        left = most_bytes
        for text in rows_of(kind, find_files(path, kind), table):
            yield text
            left -= len(text.encode())
            if left < 0:
                return
        return
    if kind != "text":
        raise UserError(f"a tokenizer learns from text:FILE, csv:FILE,text=COLUMN or jsonl:FILE,text=KEY, not {source}")
    path, options = parse_text_source(kind, place)
    if options.tokenizer != BYTES:
        raise UserError(f"{source}: leave out tokenizer=, which is yet to be trained")
    for piece in spread(list(pieces_of(find_files(path, kind))), most_bytes):
        for part in lines_of(piece.read()):
            yield part.decode()


def spread(pieces: list[Piece], most_bytes: int) -> Iterator[Piece]:
    """Yield every k-th piece, with the least k for which they have up to ``most_bytes``; at least one."""
    total = sum(piece.stop - piece.start for piece in pieces)
    yield from pieces[:: max(1, -(-total // most_bytes))]


def trained_file(out: Path, text: str) -> None:
    """Write the file of a tokenizer, atomically."""
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text)
        temporary.replace(out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from None


def _bpe(tokenizers: Any, texts: Texts, vocabulary: int) -> Any:
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts(), trainer)
    return made


def _word_piece(tokenizers: Any, texts: Texts, vocabulary: int, lowercase: bool) -> Any:
    normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lowercase)
    splitter = tokenizers.pre_tokenizers.BertPreTokenizer()
    letters = _letters(normalizer, texts)
    if not letters or len(SPECIAL) + 2 * len(letters) > vocabulary:
        many = f"{len(letters):,} different letters, for which {vocabulary:,} tokens are too few"
        raise UserError(f"the text holds {many if letters else 'no words'}")
    # The trainer numbers continuations (##a) in the order of a hash table, and breaks ties by number. As special tokens
    # they come in our order; the tokenizer that is kept has them as ordinary ones.
    scratch = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    scratch.normalizer, scratch.pre_tokenizer = normalizer, splitter
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=vocabulary,
        special_tokens=[*SPECIAL, *(f"##{letter}" for letter in letters)],
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        show_progress=False,
    )
    scratch.train_from_iterator(texts(), trainer)
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(scratch.get_vocab(), unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizer, splitter
    made.decoder = tokenizers.decoders.WordPiece()
    made.add_special_tokens(list(SPECIAL))
    ends = (("[SEP]", made.token_to_id("[SEP]")), ("[CLS]", made.token_to_id("[CLS]")))
    made.post_processor = tokenizers.processors.BertProcessing(*ends)
    return made


def _letters(normalizer: Any, texts: Texts) -> list[str]:
    """Return the characters of words, the most frequent ones up to a thousand, in order."""
    counts: Counter[str] = Counter()
    for text in texts():
        counts.update(normalizer.normalize_str(text))
    letters = [(-number, letter) for letter, number in counts.items() if not letter.isspace()]
    return sorted(letter for _, letter in sorted(letters)[:MOST_LETTERS])
