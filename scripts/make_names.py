"""Write the tables of docs/names.md, which list all registered names and their options, from the registries.

python scripts/make_names.py
"""

import re
from pathlib import Path

from mpitrain import losses, models, optim
from mpitrain.data.augment import AUGMENTATIONS
from mpitrain.metrics import METRICS
from mpitrain.monitor.registry import MONITORS
from mpitrain.parallel.compress.registry import CODECS
from mpitrain.parallel.sync.methods import SYNCS
from mpitrain.pipelines import PIPELINES
from mpitrain.registry import REGISTRIES
from mpitrain.training.hooks.registry import HOOKS

PAGE = Path(__file__).parent.parent / "docs/names.md"
KINDS = {
    "model": models.MODELS,
    "optimizer": optim.OPTIMIZERS,
    "schedule": optim.SCHEDULES,
    "loss": losses.LOSSES,
    "metric": METRICS,
    "augmentation": AUGMENTATIONS,
    "pipeline": PIPELINES,
    "codec": CODECS,
    "sync": SYNCS,
    "monitor": MONITORS,
    "hook": HOOKS,
}


def table(kind: str) -> str:
    """Return the Markdown table of a kind."""
    rows = "".join(
        f"| {name} | {f'`{options}`' if options else ''} | {doc} |\n" for name, options, doc in KINDS[kind].rows()
    )
    return f"| {kind} | options with their defaults | |\n|---|---|---|\n{rows}"


def page(text: str) -> str:
    """Return the text of the page with its tables written anew."""
    for kind in KINDS:
        assert kind in REGISTRIES
        text, count = re.subn(rf"(?<=<!-- {kind} -->\n)(?:\|.*\n)*", lambda _, kind=kind: table(kind), text)
        assert count == 1, kind
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
