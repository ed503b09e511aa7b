"""Pages of the command line, from the dataclasses that its parsers are made of."""

import dataclasses
import functools
import importlib
import typing
from collections.abc import Iterator

from mpitrain.cli.commands import COMMANDS, module_of
from mpitrain.cli.fields import Option, list_options
from mpitrain.cli.options import kind_of

FOLDER = "reference/command-line"


@functools.cache
def pages() -> dict[str, str]:
    """Return the text of each page by its path in docs/."""
    found = {f"{FOLDER}/index.md": _index()}
    return found | {f"{FOLDER}/{name}.md": _page(name) for name in COMMANDS}


def _index() -> str:
    rows = "".join(f"| [`{name}`]({name}.md) | {text} |\n" for name, text in COMMANDS.items())
    return (
        "# Command line\n\n    mpitrain [-n RANKS] [COMMAND] [OPTIONS]\n\n"
        "`-n` starts the command on so many ranks, by the `mpirun` of the MPI library that mpi4py loads. Without a "
        "command it is `train`. `mpitrain COMMAND --help` prints what is on these pages.\n\n"
        f"| command | |\n|---|---|\n{rows}"
    )


def _page(name: str) -> str:
    module = module_of(name)
    parts = [f"# mpitrain {name}\n\n{COMMANDS[name]}\n"]
    if not hasattr(module, "SUBCOMMANDS"):
        return "\n".join([*parts, *_options(f"mpitrain {name}", module.parse, "##")])
    for word, file in module.SUBCOMMANDS.items():
        inside = importlib.import_module(f"{module.__name__}.{file}")
        parts += [f"## {name} {word}\n\n{inside.DESCRIPTION}\n"]
        parts += _options(f"mpitrain {name} {word}", inside.parse, "")
    return "\n".join(parts)


def _options(command: str, parse: typing.Any, heading: str) -> Iterator[str]:
    """Yield the usage and tables of options, one for each group of them."""
    kind = kind_of(parse)
    fields = list(_fields(kind))
    named = [(option, default) for group, option, default in fields if option.flags]
    arguments = [option.metavar or f"{{{','.join(option.choices)}}}" for _, option, _ in fields if not option.flags]
    yield f"    {' '.join([command, *arguments, *(['[OPTIONS]'] if named else [])])}\n"
    groups: dict[str, list[tuple[Option, str]]] = {}
    for group, option, default in fields:
        groups.setdefault(group, []).append((option, default))
    for group, rows in groups.items():
        if heading and len(groups) > 1:
            yield f"{heading} {group or 'General'}\n"
        table = "".join(f"| {_name(option)} | {default} | {_cell(option.help)} |\n" for option, default in rows)
        yield f'<div class="options" markdown>\n\n| option | default | |\n|---|---|---|\n{table}\n</div>\n'


def _fields(kind: type, group: str = "") -> Iterator[tuple[str, Option, str]]:
    """Yield (group, option, default) of each field of a dataclass and the dataclasses in it."""
    options = iter(list_options(kind))
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        inner = hints[field.name]
        if dataclasses.is_dataclass(inner):
            title = (inner.__doc__ or field.name).strip().partition("\n")[0].rstrip(".")
            for found in _fields(inner, title):
                next(options)
                yield found
        else:
            yield group, next(options), _default(field)


def _default(field: "dataclasses.Field[typing.Any]") -> str:
    value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    if value is dataclasses.MISSING:
        return "required"
    if value is None or value in ("", ()):
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{' '.join(map(str, value)) if isinstance(value, tuple) else value}`"


def _name(option: Option) -> str:
    shown = option.metavar or (f"{{{','.join(option.choices)}}}" if option.choices else "")
    if not option.flags:
        return f"`{_cell(shown)}`"
    flags = [flag for flag in option.flags if not flag.startswith("--no-")]
    names = ", ".join(f"`{flag}`" for flag in flags)
    return f"{names} `{_cell(shown)}`" if shown and option.takes_value else names


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
