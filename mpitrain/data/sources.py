"""Datasets by one string: ``digits``, ``mnist:DIR``, ``csv:FILE,target=COLUMN`` and so on."""

from pathlib import Path

from ..errors import UserError
from .build import build_dataset, image_dataset
from .checks import check_features
from .cifar10 import CIFAR10_CLASSES, read_cifar10
from .dataset import CLASSIFICATION, REGRESSION, Dataset, Features
from .draw import Draw
from .files import file, folder, nearest
from .idx import DIGIT_CLASSES, FASHION_CLASSES, read_idx_folder
from .npz import read_member, read_npz, read_npz_samples
from .openml import read_openml
from .table import Table, open_table, read_target

SOURCES = {
    "digits": "digits",
    "mnist": "mnist:DIR",
    "fashion-mnist": "fashion-mnist:DIR",
    "cifar10": "cifar10:DIR",
    "npz": "npz:FILE",
    "csv": "csv:FILE,target=COLUMN",
    "openml": "openml:NAME",
}

_DIGITS = Path(__file__).parent / "digits" / "digits.npz"


def open_dataset(
    source: str, *, task: str | None = None, test_fraction: float = 0.2, seed: int = 0, draw: Draw = "stratified"
) -> Dataset:
    """Open a dataset.

    Parameters
    ----------
    source : str
        In one of the forms of ``SOURCES``. A path may start with ``~``.
    task : str, optional
        "classification" or "regression"; by default the data decide, and ``Dataset.notes`` say how.
    test_fraction : float
        The part to test on, between 0 and 1, of sources that have no test split (csv, openml, npz of x and y).
    seed : int
        Of the permutation that draws this part.
    draw : "stratified" or "random"
        Whether this part holds the same share of each class.

    Raises
    ------
    UserError
        If the source is unknown or its files are missing, damaged or unfit for the task, in one sentence.

    Examples
    --------
    >>> digits = open_dataset("digits")
    >>> digits.input_shape, len(digits.train), len(digits.test), digits.num_outputs
    ((8, 8, 1), 1437, 360, 10)
    """
    if task not in (None, CLASSIFICATION, REGRESSION):
        raise UserError(f"the task is {CLASSIFICATION} or {REGRESSION}, not {task!r}")
    if not 0 < test_fraction < 1:
        raise UserError(f"the part to test on must be between 0 and 1, and is {test_fraction}")
    kind, place = parse_source(source)
    match kind:
        case "digits":
            return _digits(task)
        case "mnist":
            return image_dataset(kind, *read_idx_folder(folder(place, kind)), DIGIT_CLASSES, task)
        case "fashion-mnist":
            return image_dataset(kind, *read_idx_folder(folder(place, kind)), FASHION_CLASSES, task)
        case "cifar10":
            return image_dataset(kind, *read_cifar10(folder(place, kind)), CIFAR10_CLASSES, task)
        case "npz":
            path = file(place, kind)
            train, test, notes = read_npz(path)
            return build_dataset(
                path.stem,
                str(path),
                train,
                test,
                task=task,
                test_fraction=test_fraction,
                seed=seed,
                draw=draw,
                notes=notes,
            )
        case "csv":
            return _csv(place, task, test_fraction, seed, draw)
        case _:
            whole, features, target = read_openml(place)
            return build_dataset(
                place,
                f"openml:{place}",
                whole,
                None,
                task=task,
                test_fraction=test_fraction,
                seed=seed,
                draw=draw,
                feature_names=features,
                target_name=target,
            )


def open_features(source: str, *, feature_names: tuple[str, ...] = ()) -> Features:
    """Open the samples of a source, to predict on: no targets are needed.

    A csv file or an npz archive (x) may be without targets; of any other source these are the samples to test on.

    Parameters
    ----------
    source : str
        As in ``open_dataset``; of ``csv:FILE,target=COLUMN`` the target is left out.
    feature_names : tuple of str
        The columns of a csv file to take, in this order: those that a model was trained on. By default all.

    Raises
    ------
    UserError
        As ``open_dataset``, or if a column is lacking.
    """
    kind, place = parse_source(source)
    if kind == "csv":
        table, target = open_csv(place)
        names = feature_names or _features(table, target)
        table.check_names(names)
        x = check_features(table.numbers(names), f"{table.path}: the samples", names)
        return Features(table.path.stem, x, names)
    if kind == "npz":
        path = file(place, kind)
        return Features(path.stem, check_features(read_npz_samples(path), f"{path}: the samples"))
    dataset = open_dataset(source)
    return Features(dataset.name, dataset.test.x, dataset.feature_names)


def absolute_source(source: str) -> str:
    """Return a source with an absolute path, so that it is found from other directories, too.

    Examples
    --------
    >>> absolute_source("digits"), absolute_source("csv:/data/a.csv,target=y")
    ('digits', 'csv:/data/a.csv,target=y')
    """
    kind, place, options = split_source(source)
    if not place or kind == "openml":
        return source
    return f"{kind}:{Path(place).expanduser().absolute()}{options}"


def find_source(source: str, absolute: str) -> str:
    """Return the one of two names of a source under which it is found: ``absolute``, else ``source``.

    Raises
    ------
    UserError
        If it is found under neither, with both paths.
    """
    kind, place, _ = split_source(source)
    if not absolute or not place or kind == "openml":
        return source
    paths = [Path(split_source(name)[1]).expanduser() for name in (absolute, source)]
    for name, path in zip((absolute, source), paths):
        if path.exists():
            return name
    places = list(dict.fromkeys(str(path.absolute()) for path in paths))
    missing = f"neither {places[0]} nor {places[1]}" if len(places) > 1 else f"no {places[0]}"
    raise UserError(f"{source}: there is {missing}: say where the data are with --data")


def split_source(source: str) -> tuple[str, str, str]:
    """Return the kind of a source, its path or name, and its options with the comma before them."""
    kind, place = parse_source(source)
    if kind != "csv":
        return kind, place, ""
    path, comma, target = place.rpartition(",target=")
    return (kind, path, comma + target) if comma else (kind, place, "")


def parse_source(source: str) -> tuple[str, str]:
    """Return the kind of the source and what follows the colon."""
    kind, _, place = source.partition(":")
    if kind not in SOURCES:
        raise UserError(f"there is no source {kind!r}{nearest(kind, SOURCES)}, only {', '.join(SOURCES.values())}")
    if kind == "digits" and place:
        raise UserError(f"digits comes with mpitrain and takes no {place!r}")
    return kind, place


def _digits(task: str | None) -> Dataset:
    x, y, x_test, y_test = (read_member(_DIGITS, name) for name in ("x_train", "y_train", "x_test", "y_test"))
    return image_dataset("digits", (x, y), (x_test, y_test), DIGIT_CLASSES, task)


def _csv(place: str, task: str | None, test_fraction: float, seed: int, draw: Draw) -> Dataset:
    table, target = open_csv(place)
    if not target:
        columns = ", ".join(table.columns)
        raise UserError(f"csv: say which column is predicted, as in csv:{place},target=COLUMN; there are {columns}")
    table.check_names([target])
    names = _features(table, target)
    if not names:
        raise UserError(f"{table.path} has no column but the target {target!r}: there is nothing to predict it from")
    y, task, notes = read_target(table, target, task)
    return build_dataset(
        table.path.stem,
        str(table.path),
        (table.numbers(names), y),
        None,
        task=task,
        test_fraction=test_fraction,
        seed=seed,
        draw=draw,
        feature_names=names,
        target_name=target,
        notes=notes,
    )


def open_csv(place: str) -> tuple[Table, str]:
    """Return the table and the name of the target, if there is one."""
    name, _, target = place.rpartition(",target=") if ",target=" in place else (place, "", "")
    return open_table(file(name, "csv")), target.strip()


def _features(table: Table, target: str) -> tuple[str, ...]:
    return tuple(name for name in table.columns if name != target)
