"""Description of a sweep, from its file in TOML.

    [sweep]         method, trials, metric, ...
    [train]         options of mpitrain train, by their names there: data = "digits", batch-size = 64, config = "FILE"
    [parameters]    lr = {min = 0.001, max = 1.0, log = true}, batch-size = [32, 64]

A parameter is an option of train; or, in a text of [train], a part of it: model = "mlp:depth={depth}".
"""

import string
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import Config
from ..config_file import read_config
from ..config_keywords import config_over, setting_places
from ..duration import parse_time
from ..errors import UserError
from ..suggest import suggest
from .draw import active
from .parameters import Parameter, parse_parameter

METHODS = ("grid", "random", "latin-hypercube", "asha", "pbt")
SMALLER_IS_BETTER = ("loss", "mse", "rmse", "mae", "perplexity", "bits_per_byte", "error")
RESERVED = {
    "out": "each trial gets a directory of its own",
    "progress": "trials show no progress of their own",
    "max_time": "timeout in [sweep] limits a trial",
    "elastic": "a sweep continues by --resume",
    "profile": "profile a trial by itself, with its config.toml",
}
PBT_CHECKPOINTS = 4
TABLES = ("sweep", "train", "parameters")
KINDS: dict[str, Any] = {
    "method": str, "trials": int, "metric": str, "direction": str, "ranks-per-trial": int, "timeout": str, "seed": int,
    "kfold": int, "seeds": int, "cost": str, "reduction": int, "min-epochs": int, "interval": int,
}  # fmt: skip
OF_METHOD = {"reduction": ("asha",), "min-epochs": ("asha",), "interval": ("pbt",)}
WORDS = {str: "text", int: "a whole number"}


@dataclass(frozen=True)
class SweepSpec:
    """A sweep.

    Attributes
    ----------
    name : str
        The file's name without its suffix.
    method : str
        One of ``METHODS``.
    trials : int
        Points to draw; for a grid the most that it may have, 0 for any number.
    metric : str
        The score that is to be improved, of the validation samples, or of the test samples without any.
    larger_is_better : bool
    ranks_per_trial : int
    timeout : float
        Seconds after which a trial is ended; 0 for none.
    seed : int
        Seed of the points, and of the choices of pbt. (That of the trainings is an option of train.)
    kfold, seeds : int
        Folds, and seeds, of each point; 0 for one trial without.
    cost : str
        Parameter to which the time of a trial is proportional: long trials begin first. Empty if none is known.
    reduction, min_epochs : int
        Of asha: one of ``reduction`` trials goes on after ``min_epochs``, ``min_epochs * reduction``, ... epochs.
    interval : int
        Of pbt: epochs between two comparisons.
    base : mapping
        Options of [train], by their names with underscores.
    default : Config
        The settings over which they are laid.
    parameters : tuple of Parameter
    text : str
        The file.
    """

    name: str
    text: str
    method: str
    metric: str
    larger_is_better: bool
    trials: int = 0
    ranks_per_trial: int = 1
    timeout: float = 0.0
    seed: int = 0
    kfold: int = 0
    seeds: int = 0
    cost: str = ""
    reduction: int = 3
    min_epochs: int = 1
    interval: int = 1
    base: Mapping[str, Any] = field(default_factory=dict)
    default: Config = field(default_factory=Config)
    parameters: tuple[Parameter, ...] = ()

    @property
    def parts(self) -> set[str]:
        """Parameters that are parts of texts in [train], and no options of their own."""
        texts = [value for value in self.base.values() if isinstance(value, str)]
        return {hole for text in texts for hole in _holes(text, self.name)}

    @property
    def by_epochs(self) -> bool:
        """True if trials are trained by parts, and which goes on depends on the others."""
        return self.method in ("asha", "pbt")

    def first_values(self) -> Mapping[str, Any]:
        """Return some values of the parameters, for what is the same in all trials."""
        return active(self.parameters, [one.at(0.0) for one in self.parameters])

    def config(self, values: Mapping[str, Any], seed: int = 0, fold: int | None = None) -> Config:
        """Return the settings of a trial.

        Parameters
        ----------
        values : mapping
            Values of the parameters.
        seed : int
            Added to the seed of [train].
        fold : int, optional
            Number of the fold, from 1.

        Raises
        ------
        UserError
            For values that train would refuse.
        """
        places = setting_places()
        settings = {name: _filled(value, values) for name, value in self.base.items()}
        options = {name.replace("-", "_"): value for name, value in values.items() if name not in self.parts}
        settings |= {key: value for key, value in options.items() if key in places}
        if seed:
            settings["seed"] = settings.get("seed", self.default.run.seed) + seed
        if fold is not None:
            settings["fold"] = f"{fold}/{self.kfold}"
        settings.setdefault("monitor", self.default.run.monitor or "sqlite")
        if self.method == "pbt":  # the checkpoint of an interval's end is there until others could take it over
            keep = settings.get("keep_checkpoints", self.default.checkpoint.keep)
            settings |= {"checkpoint_every": "0", "keep_checkpoints": max(keep, PBT_CHECKPOINTS)}
        return config_over(self.default, settings | {"progress": "none"})


def read_spec(path: Path) -> SweepSpec:
    """Return the sweep that a file describes.

    Raises
    ------
    UserError
        For a file that cannot be read, an unknown table, key, option or parameter (the nearest one is named), or a
        value that does not fit, in one sentence.
    """
    try:
        text = path.read_text("utf-8")
        tree = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the sweep {path}: {getattr(error, 'strerror', None) or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not valid TOML: {error}") from None
    return make_spec(tree, path.stem, text, str(path))


def make_spec(tree: Mapping[str, Any], name: str, text: str, where: str) -> SweepSpec:
    """Return the sweep of a parsed file; see ``read_spec``."""
    for table, content in tree.items():
        _known(where, "table", table, TABLES)
        if not isinstance(content, dict):
            raise UserError(f"{where}: {table} must be a table, [{table}]")
    options = _options(tree.get("sweep", {}), where)
    default, base = _base(tree.get("train", {}), where)
    parameters = tuple(parse_parameter(key, given, where) for key, given in tree.get("parameters", {}).items())
    metric = options.pop("metric", "loss")
    direction = options.pop("direction", "min" if metric in SMALLER_IS_BETTER else "max")
    if direction not in ("min", "max"):
        raise UserError(f"{where}: direction is {direction!r}, but must be min or max")
    spec = SweepSpec(
        name=name,
        text=text,
        metric=metric,
        larger_is_better=direction == "max",
        base=base,
        default=default,
        parameters=parameters,
        **options,
    )
    _check(spec, where)
    return spec


def _options(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in given.items():
        key = key.replace("_", "-")
        _known(where, "key in [sweep]", key, list(KINDS))
        if type(value) is not KINDS[key]:
            raise UserError(f"{where}: {key} in [sweep] is {value!r}, but must be {WORDS[KINDS[key]]}")
        if KINDS[key] is int and value < (0 if key == "seed" else 1):
            raise UserError(f"{where}: {key} in [sweep] is {value}, but must be at least {0 if key == 'seed' else 1}")
        found[key.replace("-", "_")] = value
    if "method" not in found:
        raise UserError(f"{where}: [sweep] needs a method: {', '.join(METHODS)}")
    if found["method"] not in METHODS:
        raise UserError(f"{where}: there is no method {found['method']!r}; {suggest(found['method'], METHODS)}")
    for key, methods in OF_METHOD.items():
        if key.replace("-", "_") in found and found["method"] not in methods:
            raise UserError(f"{where}: {key} is for the method {' and '.join(methods)}, not {found['method']}")
    if "timeout" in found:
        found["timeout"] = parse_time(found["timeout"])
    return found


def _base(given: Mapping[str, Any], where: str) -> tuple[Config, dict[str, Any]]:
    places = setting_places()
    default, base = Config(), dict[str, Any]()
    for key, value in given.items():
        name = key.replace("-", "_")
        if name == "config":
            default = read_config(Path(str(value)))
            continue
        _known(where, "option in [train]", name, ["config", *places])
        if name in RESERVED:
            raise UserError(f"{where}: {key} is no option for a sweep: {RESERVED[name]}")
        base[name] = value
    return default, base


def _check(spec: SweepSpec, where: str) -> None:
    """Check the parameters by their names, and what goes with a method."""
    places, names = setting_places(), [one.name for one in spec.parameters]
    holes = spec.parts
    for hole in sorted(holes - set(names)):
        raise UserError(f"{where}: [train] has {{{hole}}}, but there is no such parameter; {suggest(hole, names)}")
    for place, one in enumerate(spec.parameters):
        key = one.name.replace("-", "_")
        if key in RESERVED or key == "config":
            raise UserError(f"{where}: {one.name} cannot be a parameter: {RESERVED.get(key, 'it names a file')}")
        if key not in places and one.name not in holes:
            near = suggest(key, places)
            raise UserError(f"{where}: the parameter {one.name} is no option of train, nor in one as a part; {near}")
        for other in one.when:
            if other not in names[:place]:
                raise UserError(f"{where}: {one.name} depends on {other}, which is no parameter before it")
    if spec.cost and spec.cost not in names:
        raise UserError(f"{where}: cost is {spec.cost}, but must be a parameter; {suggest(spec.cost, names)}")
    if not names and not spec.kfold and not spec.seeds:
        raise UserError(f"{where}: there are no parameters, no kfold and no seeds: nothing to try")
    if spec.kfold == 1:
        raise UserError(f"{where}: kfold is 1, but must be at least 2")
    if spec.kfold and (spec.base.get("validation") or "validation" in names):
        raise UserError(f"{where}: kfold holds out the validation samples itself: leave validation out")
    _check_method(spec, where)


def _check_method(spec: SweepSpec, where: str) -> None:
    names = {one.name.replace("-", "_") for one in spec.parameters}
    if spec.method == "grid":
        return
    if not names:
        raise UserError(f"{where}: the method {spec.method} needs parameters")
    if not spec.trials:
        raise UserError(f"{where}: the method {spec.method} needs trials = N in [sweep]")
    if not spec.by_epochs:
        return
    if spec.kfold or spec.seeds:
        raise UserError(f"{where}: kfold and seeds do not go with the method {spec.method}")
    for name in ("epochs", "steps"):
        if name in names or (name == "steps" and spec.base.get("steps", spec.default.run.steps)):
            raise UserError(f"{where}: the method {spec.method} sets how long trials train: {name} does not go with it")
    _check_parts(spec, where)


def _check_parts(spec: SweepSpec, where: str) -> None:
    epochs = spec.base.get("epochs", spec.default.run.epochs)
    least, what = (spec.min_epochs, "min-epochs") if spec.method == "asha" else (spec.interval, "interval")
    if type(epochs) is int and least > epochs:
        raise UserError(f"{where}: {what} is {least}, but must be at most the epochs of a trial, {epochs}")
    if spec.method == "asha" and spec.reduction < 2:
        raise UserError(f"{where}: reduction is {spec.reduction}, but must be at least 2")
    if spec.method == "pbt" and spec.trials < 2:
        raise UserError(f"{where}: trials is {spec.trials}, but a population has at least 2")
    if spec.method == "pbt" and (fixed := sorted(FIXED_IN_A_RUN & {one.name for one in spec.parameters})):
        raise UserError(f"{where}: {fixed[0]} cannot change while a trial trains, so that pbt cannot explore it")


FIXED_IN_A_RUN = {
    *("model", "widths", "activation", "freeze", "lora", "task", "batch-size", "batch_size", "batch-tokens"),
    *("batch_tokens", "draw-test", "draw_test", "validation", "sync", "seed", "data", "test-fraction", "fold"),
}
"""Options that a checkpoint fixes (see ``training.directory.resume.FIXED``)."""


def _known(where: str, what: str, name: str, known: Any) -> None:
    if name not in known:
        raise UserError(f"{where}: unknown {what}: {name}; {suggest(name, known)}")


def _holes(text: str, where: str) -> set[str]:
    """Return the names in braces of a text."""
    try:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError:
        raise UserError(f"{where}: {text!r} has a brace that is not closed") from None


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    """Return a text with the values of parameters in the place of their names in braces."""
    if not isinstance(value, str) or "{" not in value:
        return value
    try:
        return value.format_map(values)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise UserError(f"{value!r} has a part without a value here: {error}") from None
