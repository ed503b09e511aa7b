"""Named functions of one kind, and the text that selects one with options: models, optimizers, schedules, losses.

    NAME                          mlp
    NAME:key=value,key=value      mlp:widths=256+128,dropout=0.1
    FILE.py:FUNC                  mine.py:net
    FILE.py:FUNC:key=value        mine.py:net:depth=3

The options are the keyword arguments of the function (or class). Its annotations and default values give their types,
and ``option_values`` defines the notation of values.
"""

import importlib
import inspect
import os
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from .errors import UserError
from .option_values import format_value, parse_value, split_options
from .suggest import nearest
from .user_code import describe, line_in
from .user_file import load_file

T = TypeVar("T")
FILE = re.compile(r"(.+\.py):([^\W\d]\w*)(?::(.*))?$", re.S)

REGISTRIES: dict[str, "Registry[Any]"] = {}
"""All registries by kind, for help and docs."""


@dataclass(frozen=True)
class Option:
    """One option of a function: its name, type and default value (``inspect.Parameter.empty`` if there is none)."""

    name: str
    type: Any
    default: Any

    @property
    def text(self) -> str:
        """The option with its default, as it is written: ``dropout=0.0``."""
        return self.name if self.default is inspect.Parameter.empty else f"{self.name}={format_value(self.default)}"


class Later:
    """A function of a registry that is imported when it is first asked for.

    Parameters
    ----------
    module : str
        The whole name of the module that defines it.
    name : str
        Its name there.
    **options
        Its keyword arguments, unless others are given.
    """

    def __init__(self, module: str, name: str, **options: Any):
        self._module, self._name, self._options = module, name, options

    def load(self) -> Callable[..., Any]:
        """Return the function."""
        function: Callable[..., Any] = getattr(importlib.import_module(self._module), self._name)
        return partial(function, **self._options) if self._options else function


class Registry(Generic[T]):
    """The functions of one kind by name.

    Parameters
    ----------
    kind : str
        The kind of their results, for messages: "model".
    functions : mapping of str to callable or Later
        Built-in ones; the first is the default. In names, "-" and "_" are the same.
    arguments : sequence of str
        Names of the positional arguments that the program passes.
    result : type
        The type of their results; None for any.
    """

    def __init__(
        self,
        kind: str,
        functions: Mapping[str, Callable[..., T] | Later],
        arguments: Sequence[str],
        result: type[T] | None = None,
    ):
        self.kind = kind
        self._functions = dict(functions)
        self._arguments, self._result = tuple(arguments), result
        REGISTRIES[kind] = self

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def names(self) -> list[str]:
        """Return the names of all functions, the default first."""
        return list(self._functions)

    def register(self, name: str, function: Callable[..., T]) -> None:
        """Add ``function`` under ``name``.

        Raises
        ------
        ValueError
            If there is one of that name.
        """
        if name in self._functions:
            raise ValueError(f"there is a {self.kind} '{name}' already")
        self._functions[name] = function

    def make(self, text: str, *arguments: Any, **defaults: Any) -> T:
        """Return the result of the function that ``text`` selects.

        Parameters
        ----------
        text : str
            See this module.
        *arguments
            The positional arguments.
        **defaults
            Options, which those of ``text`` override.

        Raises
        ------
        UserError
            In one sentence, for an unknown name, option or value, and for a user's function that fails.
        """
        function, name, options = self.find(text)
        known = [option.name for option in self.options(function)]
        for option in defaults:
            if option not in known:
                raise UserError(self._no_option(name, option, known))
        result = self._call(function, name, arguments, {**defaults, **options})
        if self._result is not None and not isinstance(result, self._result):
            wanted = self._result.__name__
            raise UserError(f"{text} must return a {wanted}, but it returned a {type(result).__name__}")
        return result

    def find(self, text: str) -> tuple[Callable[..., T], str, dict[str, Any]]:
        """Return the function that ``text`` selects, its name for messages, and the options in ``text``."""
        file = FILE.match(text)
        if file:
            path, name, rest = file.groups()
            function = self._from_file(Path(path), name)
            name = f"{path}:{name}"
        elif text.endswith(".py") or ".py:" in text:
            article = "an" if self.kind[0] in "aeiou" else "a"
            raise UserError(
                f"{article} {self.kind} of your own is FILE.py:FUNC, with the name of a function, not {text!r}"
            )
        else:
            name, _, rest = text.partition(":")
            name = self._known(name)
            function = self._get(name)
        return function, name, self._parse(name, rest or "", self.options(function))

    def options(self, function: Callable[..., T]) -> list[Option]:
        """Return the options of ``function``: its parameters without those that the program passes."""
        parameters = list(inspect.signature(function).parameters.values())[len(self._arguments) :]
        hints = _type_hints(function)
        variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        return [Option(p.name, hints.get(p.name, Any), p.default) for p in parameters if p.kind not in variadic]

    def rows(self) -> list[tuple[str, str, str]]:
        """Return (name, options with defaults, first line of the docstring) of each function, for help and docs."""
        rows = []
        for name in self._functions:
            function = self._get(name)
            options = ",".join(option.text for option in self.options(function))
            doc = inspect.getdoc(getattr(function, "func", function)) or ""
            rows.append((name, options, doc.partition("\n")[0]))
        return rows

    def _get(self, name: str) -> Callable[..., T]:
        found = self._functions[name]
        if isinstance(found, Later):
            found = self._functions[name] = found.load()
        return found

    def _known(self, name: str) -> str:
        same = {_plain(known): known for known in self._functions}
        if _plain(name) not in same:
            hint = _did_you_mean(_plain(name), same)
            there = ", ".join(self._functions)
            raise UserError(f"there is no {self.kind} '{name}'; {hint}there are {there}, and FILE.py:FUNC")
        return same[_plain(name)]

    def _no_option(self, name: str, option: str, known: Iterable[str]) -> str:
        known = list(known)
        there = f"{_did_you_mean(option, known)}it has {', '.join(known)}" if known else "it has none"
        return f"the {self.kind} '{name}' has no option '{option}'; {there}"

    def _parse(self, name: str, text: str, options: Sequence[Option]) -> dict[str, Any]:
        by_name = {option.name: option for option in options}
        found: dict[str, Any] = {}
        for part in split_options(text):
            key, equals, value = part.partition("=")
            if not equals:
                raise UserError(f"the {self.kind} '{name}' takes options as key=value, not {part!r}")
            if key not in by_name:
                raise UserError(self._no_option(name, key, list(by_name)))
            if key in found:
                raise UserError(f"the {self.kind} '{name}' is given {key} twice")
            try:
                found[key] = parse_value(value, by_name[key].type, by_name[key].default)
            except ValueError as error:
                raise UserError(f"the {self.kind} '{name}': {key} is {value!r}, but must be {error}") from None
        return found

    def check_given(self, function: Callable[..., T], name: str, options: Mapping[str, Any]) -> None:
        """Raise UserError if an option without a default is missing from ``options``."""
        missing = [
            option.name
            for option in self.options(function)
            if option.default is inspect.Parameter.empty and option.name not in options
        ]
        if missing:
            raise UserError(f"the {self.kind} '{name}' needs {missing[0]}={missing[0].upper()}")

    def _call(self, function: Callable[..., T], name: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> T:
        self.check_given(function, name, options)
        try:
            return function(*arguments, **options)
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # a user's function that calls sys.exit must not end the job silently
            if name in self._functions:
                raise
            where = line_in(os.path.abspath(name.rpartition(":")[0]), error.__traceback__)
            raise UserError(f"{name} failed: {describe(error)}{where}") from error

    def _from_file(self, path: Path, name: str) -> Callable[..., T]:
        module = load_file(path)
        function = getattr(module, name, None)
        if not callable(function):
            there = [
                k for k, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__
            ]
            hint = _did_you_mean(name, there)
            known = f"; {hint}it has {', '.join(there)}" if there else ""
            raise UserError(f"{path} has no function '{name}'{known}")
        parameters = inspect.signature(function).parameters.values()
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        if len(positional) < len(self._arguments) and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
            raise UserError(f"{name} in {path} must take ({', '.join(self._arguments)}), as every {self.kind} does")
        made: Callable[..., T] = function
        return made


def take_option(text: str, key: str) -> tuple[str, str | None]:
    """Return ``text`` without the option ``key``, and its value as text; None if it is not there.

    >>> take_option("adam:lr=0.1,eps=1e-6", "lr"), take_option("mine.py:Lion", "lr")
    (('adam:eps=1e-6', '0.1'), ('mine.py:Lion', None))
    """
    file = FILE.match(text)
    name, _, rest = (f"{file[1]}:{file[2]}", ":", file[3] or "") if file else text.partition(":")
    parts = split_options(rest)
    found = [part for part in parts if part.partition("=")[0] == key and "=" in part]
    if len(found) != 1:
        return text, None
    left = ",".join(part for part in parts if part is not found[0])
    return (f"{name}:{left}" if left else name), found[0].partition("=")[2]


def split_names(text: str) -> list[str]:
    """Return the names in a comma-separated text, in which options belong to the name before them.

    >>> split_names("accuracy,topk:k=3,mine.py:score:a=1,b=2,auc")
    ['accuracy', 'topk:k=3', 'mine.py:score:a=1,b=2', 'auc']
    """
    found: list[str] = []
    for part in filter(None, (part.strip() for part in split_options(text))):
        if found and re.match(r"[A-Za-z_]\w*=", part):
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found


def short_name(text: str) -> str:
    """Return the name that ``text`` selects without options and folders, for use in file names.

    >>> short_name("mlp:widths=256"), short_name("work/mine.py:net:depth=3")
    ('mlp', 'net')
    """
    file = FILE.match(text)
    return file[2] if file else text.partition(":")[0]


def _type_hints(function: Callable[..., Any]) -> dict[str, Any]:
    function = getattr(function, "func", function)  # of functools.partial
    try:
        return typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except Exception:  # an annotation of a user's that cannot be resolved: the default value has a type too
        return {}


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return f"did you mean {near!r}? " if near else ""
