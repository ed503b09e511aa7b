"""Models of finished runs, and of GGUF files, as folders of Hugging Face or as ONNX; adapters as folders of peft."""

from pathlib import Path

import safetensors.numpy

from .. import models
from ..arena import Arena
from ..errors import UserError
from ..model_table import ModelTable
from .directory.run_directory import BEST, LAST, TOKENIZER
from .directory.trained_model import open_trained_model
from .pretrained.export import export_folder
from .pretrained.gguf import open_gguf, tokenizer_text
from .pretrained.peft_write import export_adapters

FILES = {"last": LAST, "best": BEST}


def export_run(directory: Path, weights: str, folder: Path, *, force: bool = False) -> list[Path]:
    """Write the ``weights`` (last or best) of the run in ``directory`` to ``folder``, and return the files.

    Adapters are merged into the weights.

    Raises
    ------
    UserError
        If there is no whole run, its model is none of ``transformers``, or the files cannot be written.
    """
    run = open_trained_model(directory, weights)
    tensors = models.merge_lora(run.model, safetensors.numpy.load_file(directory / FILES[weights]))
    tokenizer = directory / TOKENIZER
    return export_folder(
        folder,
        run.model_text,
        models.remove_lora(run.model),
        tensors,
        class_names=run.signature.class_names or (),
        tokenizer=tokenizer.read_bytes() if tokenizer.is_file() else "",
        force=force,
    )


def export_lora(directory: Path, weights: str, folder: Path, *, force: bool = False) -> list[Path]:
    """Write the adapters of the run in ``directory`` to ``folder``, and return the files.

    Raises
    ------
    UserError
        If there is no whole run, or it has no adapters, or ``peft`` cannot have them.
    """
    run = open_trained_model(directory, weights)
    if run.lora is None:
        raise UserError(f"{directory} was trained without --lora and has no adapters: export it to hf:DIR")
    tensors = safetensors.numpy.load_file(directory / FILES[weights])
    base = run.first_weights.removeprefix("hf:") if run.first_weights.startswith("hf:") else ""
    return export_adapters(folder, run.model_text, run.model, tensors, run.lora, base=base, force=force)


def export_onnx(directory: Path, weights: str, path: Path, *, force: bool = False) -> list[Path]:
    """Write the ``weights`` (last or best) of the run in ``directory`` as an ONNX file, and return its path.

    Adapters are merged into the weights.

    Raises
    ------
    UserError
        If there is no whole run, a layer of it has no operators in ONNX, or the file cannot be written.
    """
    from .onnx_export.write import check_target, make_onnx, write_onnx

    check_target(path, force=force)
    run = open_trained_model(directory, weights)
    tensors = models.merge_lora(run.model, safetensors.numpy.load_file(directory / FILES[weights]))
    model = models.remove_lora(run.model)
    for name, tensor in (*model.named_parameters(), *model.named_states()):
        if name in tensors:  # a weight that layers share is there by its first name
            tensor.data = tensors[name]
    file = make_onnx(model, run.signature, run.normalizer, run.target_normalizer, name=run.model_text)
    write_onnx(file, path, force=force)
    return [path]


def export_gguf(source: str, folder: Path, *, force: bool = False) -> list[Path]:
    """Write the model and the tokenizer of a GGUF file to ``folder``, and return the files.

    Raises
    ------
    UserError
        If they cannot be read or written.
    """
    weights = open_gguf(source, Path(source.removeprefix("gguf:")).expanduser())
    model = models.build(weights.text, (1,), weights.tensors.shapes["token_embd.weight"][0])
    match = weights.fit(model)
    arena = Arena(model, whole=ModelTable.of(model))
    match.load(arena)
    tokenizer = tokenizer_text(weights.files[0])
    return export_folder(folder, weights.text, model, arena.named_tensors(), tokenizer=tokenizer, force=force)
