"""``mpitrain completion``: a script that lets bash, zsh or fish complete commands, options and their values."""

import importlib
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from tyro.conf import Positional, arg

from .commands import COMMANDS, module_of
from .completion_scripts import FILES, VALUE, bash, fish, zsh
from .fields import Option
from .options import options_of, parse_options
from .order import LocalJob

DESCRIPTION = (
    'Print a script that lets a shell complete commands, options and their values. In bash: eval "$(mpitrain '
    'completion bash)", in zsh the same with zsh, in fish: mpitrain completion fish | source.'
)
SCRIPTS = {"bash": bash, "zsh": zsh, "fish": fish}
PATHS = ("PATH", "FILE", "DIR", "RUN")


class Place(NamedTuple):
    """Possible continuations of a command: subcommands, or options and arguments."""

    commands: dict[str, str]
    options: list[Option]


@dataclass(frozen=True, kw_only=True)
class CompletionOptions:
    """Options of completion."""

    shell: Annotated[Positional[Literal["bash", "zsh", "fish"]], arg(metavar="{bash,zsh,fish}")]
    """The shell that will read the script."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(CompletionOptions, argv, command="completion", description=DESCRIPTION, speaks=speaks)
    return LocalJob(lambda: show(options.shell))


def show(shell: str) -> int:
    """Print the script for ``shell``."""
    places = find_places()
    commands = {place: found.commands for place, found in places.items() if found.commands}
    options = {place: found.options for place, found in places.items() if not place or not found.commands}
    values = {id(option): values_of(option) for found in options.values() for option in found}
    print(SCRIPTS[shell](commands, options, values), end="")
    return 0


def find_places() -> dict[str, Place]:
    """Return the continuations of each command by its words; "" stands for no command, which means train."""
    places: dict[str, Place] = {}
    for name in COMMANDS:
        module = module_of(name)
        if not hasattr(module, "SUBCOMMANDS"):
            places[name] = Place({}, options_of(module.parse))
            continue
        inside = {
            word: importlib.import_module(f"{module.__name__}.{file}") for word, file in module.SUBCOMMANDS.items()
        }
        places[name] = Place({word: found.DESCRIPTION for word, found in inside.items()}, [])
        places |= {f"{name} {word}": Place({}, options_of(found.parse)) for word, found in inside.items()}
    return {"": Place(dict(COMMANDS), places["train"].options), **places}


def values_of(option: Option) -> tuple[str, ...]:
    """Return the words that may follow an option: FILES for paths, VALUE for what cannot be listed."""
    if not option.takes_value:
        return ()
    if option.choices:
        return option.choices
    if option.is_path or option.metavar in PATHS:
        return (FILES,)
    if option.metavar.startswith("ALG"):
        from ..collectives import COLLECTIVES, names

        algorithms = [name for collective in COLLECTIVES for name in names(collective)]
        return ("auto", "native", "shared", "nccl", *algorithms, FILES)
    if option.metavar.startswith("PIPELINE"):
        from ..pipelines import PIPELINES

        return (*PIPELINES, FILES)
    if option.metavar == "NAME":
        from .. import models

        return tuple(models.names())
    if option.metavar in ("OPTIMIZER", "SCHEDULE"):
        from ..optim import OPTIMIZERS, SCHEDULES

        return (*(OPTIMIZERS if option.metavar == "OPTIMIZER" else SCHEDULES), FILES)
    if option.metavar.startswith("METRIC"):
        from ..metrics import METRICS

        return (*METRICS, FILES)
    if option.metavar == "SOURCE":
        from ..data.sources import SOURCES

        return tuple(name if form == name else f"{name}:" for name, form in SOURCES.items())
    return (VALUE,)
