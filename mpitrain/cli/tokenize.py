"""``mpitrain tokenize``: train a tokenizer on text."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from ..errors import UserError
from ..plain_text import count
from .options import parse_options
from .order import Job
from .terminal import make_console

if TYPE_CHECKING:
    from ..comm.world import World

DESCRIPTION = (
    "Train a tokenizer on text, to be used as text:FILE,tokenizer=tokenizer.json: "
    "mpitrain tokenize text:DIR --out tokenizer.json."
)


@dataclass(frozen=True, kw_only=True)
class TokenizeOptions:
    """Options of tokenize."""

    source: Annotated[Positional[str], arg(metavar="SOURCE")]
    """Text: text:FILE|DIR|GLOB, csv:FILE,text=COLUMN or jsonl:FILE,text=KEY."""
    out: Path = Path("tokenizer.json")
    """File to write, which must not exist."""
    force: bool = False
    """Overwrite the file if it exists."""
    kind: Literal["bpe", "wordpiece"] = "bpe"
    """Tokens: bpe of bytes (as GPT-2), or wordpiece (as BERT)."""
    vocabulary: int = 8000
    """The most tokens."""
    lowercase: bool = False
    """Let wordpiece fold letters to lower case and drop accents."""
    most_mb: float = 1024.0
    """Text to train on at most, in MiB, in parts that are spread over it; more text hardly changes the tokens."""


def parse(argv: list[str], speaks: bool) -> Job:
    """Return the job that ``argv`` asks for."""
    options = parse_options(TokenizeOptions, argv, command="tokenize", description=DESCRIPTION, speaks=speaks)
    check(options)
    return Job("tokenize", options, lambda world: tokenize(options, world))


def check(options: TokenizeOptions) -> None:
    """Raise a UserError for a value outside its range."""
    least = {"bpe": 258, "wordpiece": 30}[options.kind]
    if options.vocabulary < least:
        raise UserError(f"--vocabulary is {options.vocabulary}, but must be at least {least} for {options.kind}")
    if not 0 < options.most_mb < float("inf"):
        raise UserError(f"--most-mb is {options.most_mb}, but must be positive")
    if options.lowercase and options.kind == "bpe":
        raise UserError("--lowercase is for --kind wordpiece: tokens of bytes keep the text as it is")


def tokenize(options: TokenizeOptions, world: "World") -> int:
    """Train on rank 0 by the threads of all cores of its node, while the other ranks sleep, and write the file."""
    from ..data.text.train import texts_of, train_tokenizer, trained_file

    made = ""
    with world.together(asleep=True):
        if world.rank == 0:
            if options.out.exists() and not options.force:
                raise UserError(f"{options.out} exists already: write over it with --force, or choose another --out")
            if hasattr(os, "sched_setaffinity"):  # not only those that mpirun has bound this rank to
                os.sched_setaffinity(0, range(os.cpu_count() or 1))
            texts = partial(texts_of, options.source, int(options.most_mb * 2**20))
            made = train_tokenizer(texts, options.kind, options.vocabulary, lowercase=options.lowercase)
            trained_file(options.out, made)
    if world.rank == 0:
        report(options)
    return 0


def report(options: TokenizeOptions) -> None:
    """Print the size of the vocabulary, and how the beginning of the text is encoded."""
    from ..data.text import open_tokenizer
    from ..data.text.train import texts_of

    tokenizer, console = open_tokenizer(str(options.out)), make_console()
    text = next(texts_of(options.source, 1 << 20)).encode()[: 1 << 16].decode(errors="ignore")
    tokens = tokenizer.encode([text.encode()])[0]
    console.say(f"{options.out}: {options.kind}, {count(tokenizer.vocabulary, 'token')}")
    ratio = len(text.encode()) / max(1, len(tokens))
    console.say(f"{ratio:.2f} bytes of text in a token, at the beginning of the text")
    shown = " | ".join(" ".join(tokenizer.decode([token]).split()) or "_" for token in tokens[:24].tolist())
    console.say(shown)
