"""``mpitrain generate``: continue texts with a language model that was trained."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from ..errors import UserError
from ..json_text import to_json
from ..plain_text import visible
from .options import parse_options
from .order import Job
from .prompts import read_prompts

if TYPE_CHECKING:
    from ..comm.world import World
    from ..data.tokenizer import Tokenizer
    from ..generation import Sampling
    from ..generation.writer import Prompt, TextWriter
    from ..training.directory.trained_model import TrainedModel

KEPT = "\n\t"  # control characters of a text that are written as they are
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """Options of generate."""

    directory: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run directory written by train, of a model that predicts the next token."""
    prompt: UseAppendAction[tuple[str, ...]] = ()
    """Text to continue; may be given several times. Without a prompt they are read from the standard input, one a line,
    or asked for where that is a terminal."""
    prompts: Path | None = None
    """File with a text to continue in each line."""
    tokens: int = 200
    """The most tokens to add to each text; fewer where the model ends it."""
    temperature: float = 1.0
    """Divides the logits: less than 1 prefers probable tokens, 0 always takes the most probable one."""
    top_k: int = 0
    """Draw from the K most probable tokens only; 0 for all."""
    top_p: float = 1.0
    """Draw from the fewest tokens only whose probabilities sum to P."""
    seed: int = 0
    """Seed of the draws: the same seed gives the same texts, on any number of ranks."""
    window: int = 0
    """The most tokens that the model sees; by default its learned positions, or else those of a training sample."""
    weights: Literal["last", "best"] = "last"
    """Weights of the last epoch, or of the epoch with the best validation score (or test score)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device, as in train --device."""
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    """Precision on a GPU, as in train --precision; auto takes that of the training, and fp32 on a CPU."""
    json: bool = False
    """Print a line of JSON for each prompt when it is complete: prompt, text, tokens, ended (by the model)."""


def parse(argv: list[str], speaks: bool) -> Job:
    """Return the job that ``argv`` asks for."""
    text = 'Continue texts with a language model: mpirun -n 4 python -m mpitrain generate RUN --prompt "Once upon".'
    options = parse_options(GenerateOptions, argv, command="generate", description=text, speaks=speaks)
    if options.tokens < 1:
        raise UserError(f"--tokens must be at least 1, but it is {options.tokens}")
    if options.prompt and options.prompts is not None:
        raise UserError("--prompt and --prompts exclude each other: put all prompts into the file")
    return Job("generate", options, lambda world: generate(options, world))


def generate(options: GenerateOptions, world: "World") -> int:
    """Continue the prompts, which the ranks share, and print the texts in order (rank 0)."""
    from ..device import CPU
    from ..generation import Sampling
    from ..generation.writer import TextWriter
    from ..training.devices import take_device_for_runs
    from ..training.directory.trained_model import open_trained_model

    CPU.use_threads(world.cores)
    with world.together():
        sampling = Sampling(options.temperature, options.top_k, options.top_p, options.seed)
        run = open_trained_model(options.directory, options.weights)
        tokenizer = _tokenizer_of(run, options.directory)
    run.check_weights_alike(world)
    device = take_device_for_runs(options.device, options.precision, [run.precision], world)
    with world.together():
        talks = world.rank == 0 and _talks(options, world.size)
        prompts = [] if world.rank or talks else read_prompts(options.prompt, options.prompts, tokenizer)
    prompts = world.all_gather(prompts)[0]
    run.load(world, device)
    with world.together():
        predict = run.next_token(options.window, device)
    writer = Writer(TextWriter(predict, tokenizer), sampling, options.tokens)
    if talks:
        talk(writer)
    else:
        write_all(writer, prompts, world, json=options.json)
    return 0


def _talks(options: GenerateOptions, num_ranks: int) -> bool:
    """Return True if prompts are to be asked for: on rank 0, whose standard input is a terminal."""
    if options.prompt or options.prompts is not None or sys.stdin is None or not sys.stdin.isatty():
        return False
    if num_ranks > 1:
        raise UserError("prompts are asked for on one rank only: leave out mpirun, or give --prompt TEXT")
    if options.json:
        raise UserError("--json is for prompts that are given: --prompt TEXT, --prompts FILE or the standard input")
    return True


def _tokenizer_of(run: "TrainedModel", directory: Path) -> "Tokenizer":
    from ..data.dataset import LANGUAGE_MODELING

    if run.signature.task != LANGUAGE_MODELING:
        raise UserError(f"{directory} is no language model but one for {run.signature.task}: it cannot continue a text")
    if run.tokenizer is None:
        raise UserError(f"{directory} was trained on tokens without a tokenizer, so it cannot read or write text")
    return run.tokenizer


class Writer:
    """Continues prompts, all on the same terms."""

    def __init__(self, writer: "TextWriter", sampling: "Sampling", num_tokens: int):
        self._writer, self._sampling, self._num_tokens = writer, sampling, num_tokens

    @property
    def tokenizer(self) -> "Tokenizer":
        """The tokenizer of the run."""
        return self._writer.tokenizer

    def write(self, prompt: "Prompt", number: int, say: Say) -> dict[str, Any]:
        """Continue prompt ``number``, and pass each piece of its text to ``say``; return the facts about it."""
        return self._writer.write(prompt, self._num_tokens, self._sampling, number, say)


def write_all(writer: Writer, prompts: "list[Prompt]", world: "World", *, json: bool) -> None:
    """Continue prompt i on rank i modulo the number of ranks; rank 0 prints all in order, its own as they come."""
    for first in range(0, len(prompts), world.size):
        number = first + world.rank
        streams = world.rank == 0 and not json
        found = None
        with world.together():
            if number < len(prompts):
                if streams:
                    say(("\n" if number else "") + prompts[number].text)
                found = writer.write(prompts[number], number, say if streams else _silent)
                if streams:
                    say("\n")
        round_of_ranks = [facts for facts in world.all_gather(found) if facts is not None]
        if world.rank == 0:
            for facts in round_of_ranks if json else round_of_ranks[1:]:
                say(to_json(facts) + "\n" if json else f"\n{facts['prompt']}{facts['text']}\n")


def talk(writer: Writer) -> None:
    """Ask for prompts until the input ends; Ctrl-C ends a text that is being written."""
    from ..generation.writer import make_prompt

    number = 0
    print("mpitrain: type a text to continue; Ctrl-C stops it, Ctrl-D ends", file=sys.stderr, flush=True)
    while True:
        try:
            text = input("> ")
        except EOFError:
            say("\n")
            return
        if not text:
            continue
        try:
            prompt = make_prompt(text, writer.tokenizer)
            say(text)
            writer.write(prompt, number, say)
        except UserError as error:
            print(f"mpitrain: {visible(str(error))}", file=sys.stderr, flush=True)
            continue
        except KeyboardInterrupt:
            pass
        say("\n")
        number += 1


def say(text: str) -> None:
    """Write a piece of text at once; control characters that could change the terminal are shown as escapes."""
    sys.stdout.write(visible(text, keep=KEPT))
    sys.stdout.flush()


def _silent(text: str) -> None:
    pass
