"""Datasets of text for language modeling: ``text:`` and ``tokens:``."""

import dataclasses
from pathlib import Path

from ...errors import UserError
from ..dataset import LANGUAGE_MODELING, Dataset, Split
from ..files import folder
from ..tokenizer import Tokenizer
from .encode import Encoding, Unit
from .masked import MaskedWindows, Masking
from .options import TextOptions, parse_text_source
from .pieces import find_files
from .stream import TokenStream
from .token_files import TokenFiles, find_token_files, open_token_files, read_meta
from .tokenizer import open_tokenizer
from .windows import Windows


def text_dataset(kind: str, place: str, task: str | None, test_fraction: float) -> Dataset:
    """Open ``text:place`` or ``tokens:place`` as a dataset; see ``data.open_dataset``.

    The end of the text is held out for the test where it has no test text of its own.
    """
    return _open(kind, place, task, test_fraction)


def whole_text(kind: str, place: str, task: str | None) -> Dataset:
    """Return a dataset of which nothing is held out: without a test text of its own, its test split is empty."""
    return _open(kind, place, task, 0.0)


def _open(kind: str, place: str, task: str | None, test_fraction: float) -> Dataset:
    check_task(kind, task)
    path, options = parse_text_source(kind, place)
    if kind == "tokens":
        return _tokens(path, options, test_fraction)
    tokenizer = open_tokenizer(options.tokenizer)
    whole = Encoding(find_files(path, kind), tokenizer).stream()
    test = Encoding(find_files(options.test, kind), tokenizer).stream() if options.test else None
    name = Path(path).name.split("*")[0].strip(".") or "text"
    return _dataset(name, f"{kind}:{path}", whole, test, options, test_fraction, tokenizer)


def units_of_source(kind: str, place: str) -> list[Unit]:
    """Return the work to do before ``text:place`` or ``tokens:place`` is opened, which ranks may share."""
    path, options = parse_text_source(kind, place)
    if kind == "tokens":
        return [unit for files in _token_files(path, options) for unit in files.units()]
    tokenizer = open_tokenizer(options.tokenizer)
    places = [path, *([options.test] if options.test else [])]
    return [unit for each in places for unit in Encoding(find_files(each, kind), tokenizer).units()]


def language_split(stream: TokenStream, length: int, masking: Masking | None = None) -> Split:
    """Return the windows of ``length`` tokens of a stream, with their targets: the next tokens, or hidden ones."""
    if masking is not None:
        return Split(
            MaskedWindows(stream, length, "inputs", masking), MaskedWindows(stream, length, "targets", masking)
        )
    return Split(Windows(stream, length, "inputs"), Windows(stream, length, "targets"))


def cut_windows(split: Split, count: int) -> tuple[Split, Split]:
    """Return a split of windows without its last ``count`` windows, and these."""
    stream, length = split.x.stream, split.x.shape[1]
    masking = split.x.masking if isinstance(split.x, MaskedWindows) else None
    parts = _cut(stream, count * length, masking is not None)
    return language_split(parts[0], length, masking), language_split(parts[1], length, masking)


def _cut(stream: TokenStream, last: int, masked: bool) -> tuple[TokenStream, TokenStream]:
    """Return a stream without the ``last`` tokens that are predicted, and these.

    Where the next token is predicted, the last token of one part is seen, but not predicted, by the other.
    """
    first = len(stream) - last - (not masked)
    return stream.between(0, first + (not masked)), stream.between(first, len(stream))


def check_task(kind: str, task: str | None) -> None:
    """Raise a UserError unless ``task`` is language modeling or open."""
    if task not in (None, LANGUAGE_MODELING):
        raise UserError(f"{kind}: has the tokens themselves as targets: its task is {LANGUAGE_MODELING}, not {task}")


def _token_files(path: str, options: TextOptions) -> list[TokenFiles]:
    train, test = find_token_files(folder(path, "tokens"))
    return [open_token_files(paths, options) for paths in (train, test) if paths]


def _tokens(path: str, options: TextOptions, test_fraction: float) -> Dataset:
    where = folder(path, "tokens")
    splits = _token_files(path, options)
    vocabulary, end, tokenizer_name = read_meta(where)
    tokenizer = open_tokenizer(tokenizer_name) if tokenizer_name else None
    vocabulary = options.vocabulary or vocabulary or splits[0].vocabulary
    if options.end_of_text < 0:
        options = dataclasses.replace(options, end_of_text=end if end >= 0 else splits[0].end_of_text)
    (most, place), note = max(files.largest() for files in splits), ""
    if not vocabulary:
        vocabulary = max(most, options.end_of_text) + 1
        note = f"tokens:{path}: the vocabulary is {vocabulary:,}, from the largest token: vocabulary=N says another"
    if max(most, options.end_of_text) >= vocabulary:
        which = f"{place} holds the token {most}" if most >= vocabulary else f"end_of_text= is {options.end_of_text}"
        raise UserError(f"tokens:{path}: {which}, and the vocabulary has the tokens 0 to {vocabulary - 1}")
    options = dataclasses.replace(options, vocabulary=vocabulary)
    streams = [files.stream for files in splits]
    test = streams[1] if len(streams) > 1 else None
    made = _dataset(where.name or "tokens", f"tokens:{path}", streams[0], test, options, test_fraction, tokenizer)
    return dataclasses.replace(made, notes=(note,) if note else ())


def _dataset(
    name: str,
    where: str,
    train: TokenStream,
    test: TokenStream | None,
    options: TextOptions,
    test_fraction: float,
    tokenizer: Tokenizer | None,
) -> Dataset:
    masked = options.mask > 0
    for part, stream in (("", train), (" to test on", test)):
        if stream is not None and len(stream) < 2:
            raise UserError(f"{where}: the text{part} has a single token: there is nothing to predict")
    if test is None and not test_fraction:
        test = train.between(0, 0 if masked else 1)
    if test is None:
        held_out = max(1, round(test_fraction * (len(train) - 1)))
        if len(train) - held_out < 2:
            raise UserError(f"{where}: {len(train)} tokens cannot be split into one part to train and one to test")
        train, test = _cut(train, held_out, masked)
    end = options.end_of_text if options.end_of_text >= 0 else None
    if tokenizer is not None and end is None:
        end = tokenizer.end_of_text
    end = end if options.separate else None
    vocabulary = tokenizer.vocabulary if tokenizer is not None and not options.vocabulary else options.vocabulary
    masking = None
    if masked:
        own = None if tokenizer is None else tokenizer.mask
        mask = vocabulary if own is None else own  # where there is none, it is one more token
        vocabulary = max(vocabulary, mask + 1)
        masking = Masking(options.mask, mask, vocabulary, end)
    return Dataset(
        name,
        LANGUAGE_MODELING,
        language_split(train, options.window, masking),
        language_split(test, options.window, masking),
        vocabulary,
        vocabulary=vocabulary,
        end_of_text=end,
        tokenizer=tokenizer,
        masked=masked,
    )
