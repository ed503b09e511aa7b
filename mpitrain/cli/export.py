"""``mpitrain export``: write a model as a folder of Hugging Face, or its adapters as one of peft."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from ..errors import UserError
from .options import parse_options
from .order import Job
from .terminal import make_console

if TYPE_CHECKING:
    from ..comm.world import World

DESCRIPTION = (
    "Write a model as a folder that transformers loads: mpitrain export RUN hf:DIR; or the adapters of --lora alone as "
    "one that peft loads: mpitrain export RUN peft:DIR."
)


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of export."""

    source: Annotated[Positional[str], arg(metavar="RUN")]
    """Run directory written by train, or gguf:FILE, which is converted with its tokenizer."""
    target: Annotated[Positional[str], arg(metavar="hf:DIR|peft:DIR")]
    """Folder to write: hf:DIR for config.json, model.safetensors (adapters merged) and the run's tokenizer.json if it
    has one; peft:DIR for adapter_config.json and adapter_model.safetensors."""
    weights: Literal["last", "best"] = "last"
    """Weights of the last epoch, or of the epoch with the best validation score (or test score)."""
    force: bool = False
    """Write over a model, or adapters, in the folder."""


def parse(argv: list[str], speaks: bool) -> Job:
    """Return the job that ``argv`` asks for."""
    options = parse_options(ExportOptions, argv, command="export", description=DESCRIPTION, speaks=speaks)
    kind, _, folder = options.target.partition(":")
    if kind not in ("hf", "peft") or not folder:
        raise UserError(f"the target is hf:DIR, a folder of Hugging Face, or peft:DIR, not {options.target!r}")
    if kind == "peft" and options.source.startswith("gguf:"):
        raise UserError("a GGUF file has no adapters: export it to hf:DIR")
    return Job("export", options, lambda world: export(options, world))


def export(options: ExportOptions, world: "World") -> int:
    """Write the folder (rank 0)."""
    from ..training.export import export_gguf, export_lora, export_run

    kind, _, name = options.target.partition(":")
    folder, files = Path(name).expanduser(), list[Path]()
    with world.together(asleep=True):
        if world.rank == 0 and options.source.startswith("gguf:"):
            files = export_gguf(options.source, folder, force=options.force)
        elif world.rank == 0:
            write = export_run if kind == "hf" else export_lora
            files = write(Path(options.source), options.weights, folder, force=options.force)
    if world.rank == 0:
        make_console().say(f"{folder}: {', '.join(path.name for path in files)}")
    return 0
