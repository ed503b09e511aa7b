"""Pipeline schedules by name: ``1f1b``, ``interleaved:chunks=4``, ``FILE.py:FUNC``."""

from collections.abc import Iterator

from ..registry import FILE, Registry
from .pipeline import Pipeline, make_pipeline
from .schedules import breadth_first, gpipe, greedy, interleaved, one_f_one_b, zb_h1
from .task import Task

PIPELINES: Registry[Iterator[Task]] = Registry(
    "pipeline",
    {
        "1f1b": one_f_one_b,
        "gpipe": gpipe,
        "interleaved": interleaved,
        "breadth_first": breadth_first,
        "zb_h1": zb_h1,
        "greedy": greedy,
    },
    arguments=("rank", "size", "num_microbatches"),
)
"""The pipeline schedules by name."""


def find(text: str) -> Pipeline:
    """Return the pipeline schedule that ``text`` selects, by the grammar of ``registry``.

    Raises
    ------
    UserError
        If there is no such schedule or option, or if a value is out of range.

    Examples
    --------
    >>> [str(task) for task in find("1f1b")(1, 2, 2)][:2]
    ['F of microbatch 0 on stage 1', 'B of microbatch 0 on stage 1']
    """
    function, _, options = PIPELINES.find(text)
    found = make_pipeline(function, text, **options)
    if not FILE.match(text):
        next(found(0, 1, 1))  # raises errors in options
    return found
