"""``mpitrain export``: write a model as a folder of Hugging Face or as an ONNX file, or its adapters for peft."""

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
    "one that peft loads: mpitrain export RUN peft:DIR; or an ONNX file, which takes raw samples: mpitrain export RUN "
    "model.onnx."
)


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of export."""

    source: Annotated[Positional[str], arg(metavar="RUN")]
    """Run directory written by train, or gguf:FILE, which is converted with its tokenizer."""
    target: Annotated[Positional[str], arg(metavar="hf:DIR|peft:DIR|FILE.onnx")]
    """Folder or file to write: hf:DIR for config.json, model.safetensors (adapters merged) and the run's tokenizer.json
    if it has one; peft:DIR for adapter_config.json and adapter_model.safetensors; FILE.onnx for what predict does."""
    weights: Literal["last", "best"] = "last"
    """Weights of the last epoch, or of the epoch with the best validation score (or test score)."""
    force: bool = False
    """Write over a model, or adapters, in the folder, or over the file."""


def parse(argv: list[str], speaks: bool) -> Job:
    """Return the job that ``argv`` asks for."""
    options = parse_options(ExportOptions, argv, command="export", description=DESCRIPTION, speaks=speaks)
    kind, _ = _target(options)
    if kind != "hf" and options.source.startswith("gguf:"):
        raise UserError(f"a GGUF file is exported to hf:DIR, not to {options.target}")
    return Job("export", options, lambda world: export(options, world))


def _target(options: ExportOptions) -> tuple[str, Path]:
    """Return the kind, hf, peft or onnx, and the path."""
    kind, _, name = options.target.partition(":")
    if kind in ("hf", "peft") and name:
        return kind, Path(name).expanduser()
    if options.target.endswith(".onnx"):
        return "onnx", Path(options.target).expanduser()
    raise UserError(f"the target is hf:DIR, a folder of Hugging Face, peft:DIR or FILE.onnx, not {options.target!r}")


def export(options: ExportOptions, world: "World") -> int:
    """Write the folder or the file (rank 0)."""
    from ..training.export import export_gguf, export_lora, export_onnx, export_run

    kind, folder = _target(options)
    files = list[Path]()
    with world.together(asleep=True):
        if world.rank == 0 and options.source.startswith("gguf:"):
            files = export_gguf(options.source, folder, force=options.force)
        elif world.rank == 0:
            write = {"hf": export_run, "peft": export_lora, "onnx": export_onnx}[kind]
            files = write(Path(options.source), options.weights, folder, force=options.force)
    if world.rank == 0:
        names = "" if kind == "onnx" else f": {', '.join(path.name for path in files)}"
        make_console().say(f"{folder}{names}")
    return 0
