"""Datasets named by one string: ``digits``, ``mnist:DIR``, ``csv:FILE,target=COLUMN`` and so on."""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..suggest import did_you_mean
from .audio import KEYS as AUDIO_KEYS
from .build import build_dataset, image_dataset
from .checks import check_features
from .dataset import LANGUAGE_MODELING, SEGMENTATION, TASKS, Dataset, Features
from .draw import Draw, Draws
from .files import folder
from .formats.idx import DIGIT_CLASSES, FASHION_CLASSES, read_idx_folder
from .formats.npz import read_member
from .images import KEYS as IMAGE_KEYS
from .ratings.options import KEYS as RATINGS_KEYS
from .source_options import ARRAY_KEYS, ARRAYS, SET_KEYS, join_options, split_options
from .tables.encoding import Encoding
from .tables.options import KEYS_OF, TABLES
from .text.options import KEYS as TEXT_KEYS
from .text.options import TABLE_KEYS, has_text

if TYPE_CHECKING:
    from .media.store import DecodingUnit
    from .text import Unit
    from .text.table import TableUnit

SOURCES = {
    "digits": "digits",
    "mnist": "mnist:DIR",
    "fashion-mnist": "fashion-mnist:DIR",
    "cifar10": "cifar10:DIR",
    "cifar100": "cifar100:DIR",
    "emnist": "emnist:DIR,split=balanced",
    "npz": "npz:FILE",
    "npy": "npy:DIR",
    "hdf5": "hdf5:FILE,x=NAME,y=NAME",
    "csv": "csv:FILE,target=COLUMN",
    "parquet": "parquet:FILE|DIR,target=COLUMN",
    "openml": "openml:NAME",
    "ratings": "ratings:FILE",
    "shapes": "shapes:samples=N,size=HxW",
    "clicks": "clicks:samples=N,columns=T,codes=V",
    "jsonl": "jsonl:FILE,text=KEY,target=KEY",
    "text": "text:FILE|DIR|GLOB",
    "tokens": "tokens:DIR",
    "images": "images:DIR",
    "audio": "audio:DIR",
}

OPTIONS = {
    "csv": KEYS_OF["csv"] | TABLE_KEYS,
    "parquet": KEYS_OF["parquet"],
    "jsonl": TABLE_KEYS,
    "images": IMAGE_KEYS,
    "audio": AUDIO_KEYS,
    "ratings": RATINGS_KEYS,
    **ARRAY_KEYS,
    **SET_KEYS,
    **TEXT_KEYS,
}
"""The options of each kind of source that has any, and their meaning."""
MEDIA = ("images", "audio")  # sources of files that are samples
PATHS = ("test", "tokenizer", "labels")  # options that are paths
PATHLESS = ("openml", "shapes", "clicks")  # what follows the colon is no path

_DIGITS = Path(__file__).parent / "digits" / "digits.npz"


def open_dataset(
    source: str,
    *,
    task: str | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    draw: Draw = "stratified",
    encoding: Encoding | None = None,
    validation: float = 0.0,
    fold: str = "",
) -> Dataset:
    """Open a dataset.

    Parameters
    ----------
    source : str
        In one of the forms of ``SOURCES``. A path may start with ``~``.
    task : str, optional
        "classification", "regression", "segmentation" or "language-modeling"; by default the data decide, and
        ``Dataset.notes`` say how.
    test_fraction : float
        The part to test on, between 0 and 1, of sources that have no test split (csv, openml, npz of x and y).
    seed : int
        Seed of the permutation that draws this part.
    draw : "stratified" or "random"
        Whether this part holds the same share of each class.
    encoding : Encoding, optional
        How the columns of a table become those of the samples, as an earlier training has decided; by default the
        training rows of this one do.
    validation, fold
        As ``amount`` and ``fold`` of ``with_validation``, which holds these samples out afterwards: they do not choose
        the encoding.

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
    if task not in (None, *TASKS):
        raise UserError(f"the task is {', '.join(TASKS[:-1])} or {TASKS[-1]}, not {task!r}")
    if not 0 < test_fraction < 1:
        raise UserError(f"the part to test on must be between 0 and 1, and is {test_fraction}")
    kind, place = parse_source(source)
    if kind in TEXT_KEYS:
        from .text import text_dataset

        return text_dataset(kind, place, task, test_fraction)
    if has_text(kind, place):
        from .text import text_table_dataset

        return text_table_dataset(kind, place, task, test_fraction, seed, draw)
    if task == LANGUAGE_MODELING:
        raise UserError(f"{source} is no text: the task {task} is for the sources {' and '.join(TEXT_KEYS)}")
    match kind:
        case "digits":
            return _digits(task)
        case "ratings":
            from .ratings import ratings_dataset

            return ratings_dataset(place, task, test_fraction, seed)
        case "shapes":
            from .shapes import shapes_dataset

            return shapes_dataset(place, task)
        case "clicks":
            from .clicks import clicks_dataset

            return clicks_dataset(place, task)
        case "mnist":
            return image_dataset(kind, *read_idx_folder(folder(place, kind)), DIGIT_CLASSES, task)
        case "fashion-mnist":
            return image_dataset(kind, *read_idx_folder(folder(place, kind)), FASHION_CLASSES, task)
        case "cifar10":
            from .formats.cifar10 import CIFAR10_CLASSES, read_cifar10

            return image_dataset(kind, *read_cifar10(folder(place, kind)), CIFAR10_CLASSES, task)
        case "images" | "audio":
            from .media.open import open_parts
            from .media.samples import media_dataset

            return media_dataset(open_parts(kind, place), task, test_fraction, seed, draw)
        case "cifar100":
            from .formats.cifar100 import cifar100_dataset

            return cifar100_dataset(place, task)
        case "emnist":
            from .formats.emnist import emnist_dataset

            return emnist_dataset(place, task)
        case "npz" | "npy" | "hdf5":
            from .formats.arrays import open_arrays

            arrays = open_arrays(kind, place)
            train, test, notes = arrays.splits()
            return build_dataset(
                arrays.name,
                str(arrays.path),
                train,
                test,
                task=task,
                test_fraction=test_fraction,
                seed=seed,
                draw=draw,
                notes=notes,
            )
        case "csv" | "parquet":
            if task == SEGMENTATION:
                raise UserError(f"{source} is a table: the task {task} is for images, as in npz:FILE")
            from .tables import csv_dataset

            return csv_dataset(place, task, Draws(test_fraction, seed, draw, validation, fold), encoding, kind)
        case _:
            from .formats.openml import read_openml

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
    """Open the samples of a source for predictions, without targets.

    A csv file, an npz archive (x) or a directory of images or sounds may be without targets; of any other source these
    are the samples to test on.

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
    if kind in TABLES:
        from .tables import open_csv

        table = open_csv(place, feature_names, kind)
        x = check_features(table.numbers(table.features), f"{table.path}: the samples", table.features)
        return Features(table.name, x, table.features)
    if kind in ARRAYS:
        from .formats.arrays import open_arrays

        arrays = open_arrays(kind, place)
        return Features(arrays.name, check_features(arrays.samples(), f"{arrays.path}: the samples"))
    if kind in MEDIA:
        from .media.open import open_parts
        from .media.samples import media_samples

        found = media_samples(open_parts(kind, place))
        return Features(found.name, found.x, notes=found.notes)
    dataset = open_dataset(source)
    return Features(dataset.name, dataset.test.x, dataset.feature_names)


def absolute_source(source: str) -> str:
    """Return a source with absolute paths, valid in other directories, too.

    Examples
    --------
    >>> absolute_source("digits"), absolute_source("csv:/data/a.csv,target=y")
    ('digits', 'csv:/data/a.csv,target=y')
    """
    kind, place = parse_source(source)
    if not place or kind in PATHLESS:
        return source
    path, options = split_place(kind, place)
    for key in PATHS:
        if options.get(key, [""])[0] not in ("", "bytes"):
            options[key] = [_absolute(options[key][0])]
    return f"{kind}:{join_options(_absolute(path), options)}"


def split_place(kind: str, place: str) -> tuple[str, dict[str, list[str]]]:
    """Split what follows the colon of a source into the path or name and the options, unchecked."""
    return split_options(place, OPTIONS[kind]) if kind in OPTIONS else (place, {})


def find_source(source: str, absolute: str) -> str:
    """Return the name under which a source exists: ``absolute``, else ``source``.

    Raises
    ------
    UserError
        If it is found under neither, with both paths.
    """
    kind, place = parse_source(source)
    if not absolute or not place or kind in PATHLESS:
        return source
    paths = [Path(path_of(name)).expanduser() for name in (absolute, source)]
    for name, path in zip((absolute, source), paths):
        if path.exists() or (kind == "text" and glob.glob(str(path), recursive=True)):
            return name
    places = list(dict.fromkeys(str(path.absolute()) for path in paths))
    missing = f"neither {places[0]} nor {places[1]}" if len(places) > 1 else f"no {places[0]}"
    raise UserError(f"{source}: there is {missing}: say where the data are with --data")


def path_of(source: str) -> str:
    """Return the path or name in a source, without its options."""
    kind, place = parse_source(source)
    return split_place(kind, place)[0]


def inherit_options(source: str, earlier: str) -> str:
    """Return a source completed by the options of an ``earlier`` one of its kind; others as they are.

    A model that was trained on a file with decimal commas, or by a tokenizer, reads other files likewise. Files of test
    samples and of labels are not inherited. The notation of numbers (decimal=, thousands=) is inherited as a whole or
    not at all.

    Examples
    --------
    >>> inherit_options("csv:new.csv", "csv:old.csv,target=y,decimal=comma,test=t.csv")
    'csv:new.csv,target=y,decimal=comma'
    >>> inherit_options("csv:new.csv,decimal=point", "csv:old.csv,target=y,decimal=comma,thousands=point")
    'csv:new.csv,decimal=point,target=y'
    """
    (kind, place), (earlier_kind, _, earlier_place) = parse_source(source), earlier.partition(":")
    families = ({*TABLES, "jsonl"}, set(TEXT_KEYS), {"images"}, {"audio"}, {"ratings"}, {"hdf5"})
    if not any({kind, earlier_kind} <= family for family in families):
        return source
    path, options = split_place(kind, place)
    given = {"test", "labels", "x_test", "y_test", *options}
    if {"decimal", "thousands"} & options.keys():
        given |= {"decimal", "thousands"}
    if "labels" in OPTIONS[kind] and "labels" not in options:  # files without a table have no columns
        given.add("target")
    _, before = split_place(earlier_kind, earlier_place)
    added = {key: values for key, values in before.items() if key not in given and key in OPTIONS[kind]}
    return f"{kind}:{join_options(path, options | added)}" if added else source


def replace_option(source: str, key: str, value: str) -> str:
    """Return a source with another value of an option that it has; one without it as it is.

    >>> replace_option("text:a.txt,tokenizer=b.json,window=64", "tokenizer", "c.json")
    'text:a.txt,tokenizer=c.json,window=64'
    """
    if not source:
        return source
    kind, place = parse_source(source)
    path, options = split_place(kind, place)
    return f"{kind}:{join_options(path, options | {key: [value]})}" if key in options else source


def default_options(source: str, options: Mapping[str, str]) -> str:
    """Return a source with options that it does not give.

    >>> default_options("images:photos,channels=1", {"size": "32", "channels": "3"})
    'images:photos,channels=1,size=32'
    """
    kind, place = parse_source(source)
    path, given = split_place(kind, place)
    added = {key: [value] for key, value in options.items() if key not in given}
    return f"{kind}:{join_options(path, given | added)}"


def default_tokenizer(source: str, file: str) -> str:
    """Return a source of text with the tokenizer ``file`` if it names none; others as they are.

    >>> default_tokenizer("text:a.txt,window=64", "b.json"), default_tokenizer("digits", "b.json")
    ('text:a.txt,window=64,tokenizer=b.json', 'digits')
    """
    if not source:
        return source
    kind, place = parse_source(source)
    if kind != "text" and not (kind in ("csv", "jsonl") and has_text(kind, place)):
        return source
    path, options = split_place(kind, place)
    return source if "tokenizer" in options else f"{kind}:{join_options(path, options | {'tokenizer': [file]})}"


def units_of(source: str) -> "Sequence[Unit | TableUnit | DecodingUnit]":
    """Return the work to do once before a source is opened, which ranks may share; none for most sources."""
    kind, place = parse_source(source)
    if kind in MEDIA:
        from .media.open import units_of_media

        return units_of_media(kind, place)
    if kind not in TEXT_KEYS and not has_text(kind, place):
        return []
    from .text import units_of_source, units_of_table

    return units_of_source(kind, place) if kind in TEXT_KEYS else units_of_table(kind, place)


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def parse_source(source: str) -> tuple[str, str]:
    """Return the kind of the source and what follows the colon."""
    kind, _, place = source.partition(":")
    if kind not in SOURCES:
        raise UserError(f"there is no source {kind!r}{did_you_mean(kind, SOURCES)}, only {', '.join(SOURCES.values())}")
    if kind == "digits" and place:
        raise UserError(f"digits comes with mpitrain and takes no {place!r}")
    return kind, place


def _digits(task: str | None) -> Dataset:
    x, y, x_test, y_test = (read_member(_DIGITS, name) for name in ("x_train", "y_train", "x_test", "y_test"))
    return image_dataset("digits", (x, y), (x_test, y_test), DIGIT_CLASSES, task)
