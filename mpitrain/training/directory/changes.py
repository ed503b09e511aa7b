"""Description of changes in the data of a run between its checkpoint and its continuation."""

from collections.abc import Iterator, Sequence

import numpy as np

from ...data.matching.signature import Signature
from ...data.normalize import Normalizer

_EXACT = 1e-9  # of the deviation: sums over another number of ranks differ by less, one changed value by more
_COARSE = 1e-3  # where an older version has fitted the normalizer


def changes(then: Signature, now: Signature) -> Iterator[str]:
    """Yield the differences between the data and those of a checkpoint, the most informative first.

    Parts that an older version has not written down are not compared.
    """
    if then.task != now.task:
        yield f"the task was {then.task} and is now {now.task}"
    if then.target_name != now.target_name:
        yield f"the target was {then.target_name!r} and is now {now.target_name!r}"
    if then.tokenizer != now.tokenizer or then.vocabulary != now.vocabulary:
        yield "the text was encoded by another tokenizer"
    yield from _names("column", then.feature_names, now.feature_names)
    if then.input_shape != now.input_shape and not (then.feature_names or now.feature_names):
        yield f"samples had the shape {then.input_shape} and now have {now.input_shape}"
    if [None if one is None else one.digest() for one in then.categories] != [
        None if one is None else one.digest() for one in now.categories
    ]:
        yield "the columns hold other categories"
    yield from _names("class", then.class_names, now.class_names)
    if then.num_outputs != now.num_outputs and not (then.class_names or now.class_names):
        yield f"there were {then.num_outputs} targets for each sample and are now {now.num_outputs}"
    if then.dtype and then.dtype != now.dtype:
        yield f"samples were {then.dtype} and are now {now.dtype}"
    for part, text in then.contents.items():
        if text != now.contents.get(part):
            yield f"the contents of the {part} differ"


def normalizer_changes(
    then: Normalizer | None, now: Normalizer | None, names: Sequence[str], what: str, *, exact: bool
) -> Iterator[str]:
    """Yield the differences between the statistics of the training data and those of a checkpoint.

    They are sums over all rows, and so show a change of a single value that a fingerprint of sampled blocks may miss.

    Parameters
    ----------
    names : sequence of str
        Names of the columns; empty if they have none.
    what : str
        Samples or targets.
    exact : bool
        False for a checkpoint of an older version, which may have rounded differently.
    """
    if then is None or now is None or then.mean.shape != now.mean.shape:
        return
    tolerance = _EXACT if exact else _COARSE
    scale = np.maximum(then.std, now.std)
    for word, old, new in (("mean", then.mean, now.mean), ("deviation", then.std, now.std)):
        # float64 itself resolves a mean of 1e9 only to 1e-7
        odd = np.flatnonzero(np.abs(old - new) > tolerance * scale + 1e-12 * np.abs(old))
        if odd.size:
            k = int(odd[0])
            where = f"column {names[k]!r}" if k < len(names) else f"the training {what}"
            yield f"the {word} of {where} was {old[k]:.9g} and is now {new[k]:.9g}"
            return


def _names(kind: str, then: Sequence[str], now: Sequence[str]) -> Iterator[str]:
    plural = "classes" if kind == "class" else f"{kind}s"
    if len(then) != len(now):
        lost, new = ([name for name in a if name not in b] for a, b in ((then, now), (now, then)))
        side = f" ({lost[0]!r} is gone)" if lost else f" ({new[0]!r} is new)" if new else ""
        yield f"there were {len(then)} {plural} and are now {len(now)}{side}"
        return
    for k, (old, new_name) in enumerate(zip(then, now)):
        if old != new_name:
            yield f"{kind} {k} was {old!r} and is now {new_name!r}"
            return
