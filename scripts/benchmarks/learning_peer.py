"""The training of a run again, in PyTorch: RUN FILE; writes lines like those of RUN/metrics.jsonl to FILE.

Initial weights, batches, their order and the learning rates are those of the run's settings; the network, its
gradients, clipping and AdamW are PyTorch's.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from peer_gpt import GPT
from peer_transformers import BERT
from torch import nn
from torch.nn import functional

from mpitrain.arena import Parameter
from mpitrain.comm.world import World
from mpitrain.config_file import read_config
from mpitrain.data.dataset import LANGUAGE_MODELING, Split
from mpitrain.json_text import to_json
from mpitrain.optim import AdamW
from mpitrain.training.build import make_run
from mpitrain.training.directory.run_directory import CONFIG
from mpitrain.training.display.console import PlainConsole
from mpitrain.training.display.progress_log import ProgressLog
from mpitrain.training.pretrained.architecture import attention_of, embedding_of, hidden_size, positions_of
from mpitrain.training.pretrained.rules import block_names
from mpitrain.training.run import TrainingRun
from mpitrain.training.setup import open_setup

AT_ONCE = 16  # samples of an evaluation


def main() -> None:
    config, file, world = read_config(Path(sys.argv[1], CONFIG)), Path(sys.argv[2]), World()
    torch.set_num_threads(config.parallel.threads)
    run = make_run(config, open_setup(config, world), world, ProgressLog(PlainConsole(quiet=True), config.run), 0)
    parameters = run.setup.arena.parameters[::-1]  # in forward order
    model = make_model(run)
    copy_weights(model, parameters)
    unfinished = file.with_suffix(".part")
    with unfinished.open("w") as lines:
        train(run, model, make_optimizer(run, model, parameters), lines)
    unfinished.rename(file)


def make_model(run: TrainingRun) -> nn.Module:
    """Return the network of the run, in PyTorch."""
    ours: Any = run.setup.model
    sizes = {
        "depth": len(block_names(ours)),
        "width": embedding_of(ours).size,
        "heads": attention_of(ours).num_heads,
    }
    vocabulary, positions = embedding_of(ours).num_embeddings, positions_of(ours)
    if run.setup.dataset.task == LANGUAGE_MODELING:
        return GPT(vocabulary, positions, **sizes)
    return BERT(vocabulary, positions, run.setup.dataset.num_outputs, hidden=hidden_size(ours), **sizes)


def copy_weights(model: nn.Module, parameters: Sequence[Parameter]) -> None:
    """Give ``model`` the values of our parameters, which are in the same order; its Linears are (outputs, inputs)."""
    tables = {id(layer.weight) for layer in model.modules() if isinstance(layer, nn.Embedding)}
    linears = {id(layer.weight) for layer in model.modules() if isinstance(layer, nn.Linear)} - tables
    with torch.no_grad():
        for theirs, ours in zip(model.parameters(), parameters, strict=True):
            values = torch.from_numpy(ours.data)
            values = values.T if id(theirs) in linears else values
            assert theirs.shape == values.shape, (ours.name, theirs.shape, values.shape)
            theirs.copy_(values)


def make_optimizer(run: TrainingRun, model: nn.Module, parameters: Sequence[Parameter]) -> torch.optim.Optimizer:
    """Return AdamW with the numbers of ours, which decays the same parameters."""
    ours = run.optimizer
    assert isinstance(ours, AdamW)
    groups = [
        {
            "params": [p for p, q in zip(model.parameters(), parameters) if ours.decays(q) == decays],
            "weight_decay": decay,
        }
        for decays, decay in ((True, ours.weight_decay), (False, 0.0))
    ]
    return torch.optim.AdamW(groups, betas=ours.betas, eps=ours.eps, fused=True)


def train(run: TrainingRun, model: nn.Module, optimizer: torch.optim.Optimizer, lines: TextIO) -> None:
    """Train as the run does, and write a line for each step and each evaluation."""
    step, clip = 0, run.config.optimizer.clip_norm
    for epoch in range(1, run.length.last_epoch + 1):
        for (batch,) in run.loader.epoch(epoch):
            if step == run.length.total_steps:
                break
            lr = run.schedule(step)
            for group in optimizer.param_groups:
                group["lr"] = lr
            loss, weight, _ = sums(model, batch.x, batch.y)
            optimizer.zero_grad()
            (loss / weight).backward()
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            step += 1
            write(lines, kind="step", step=step, epoch=epoch, loss=loss.item() / weight, lr=lr)
            if run.length.evaluates_after(step):
                write(lines, kind="epoch", step=step, epoch=epoch, test=evaluate(run, model, run.setup.dataset.test))


def sums(model: nn.Module, x: np.ndarray, y: np.ndarray) -> tuple[torch.Tensor, int, int]:
    """Return the sum of the losses of a batch, the number of its targets, and of those predicted."""
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y).flatten()
    known, there = inputs >= 0, targets >= 0
    padded = isinstance(model, BERT) and not known.all()  # a GPT does not see what comes later
    logits = model(inputs.clamp(min=0), *([known[:, None, None]] if padded else [])).flatten(0, -2)
    loss = functional.cross_entropy(logits, targets, ignore_index=-100, reduction="sum")
    return loss, int(there.sum()), int((logits.argmax(1) == targets)[there].sum())


def evaluate(run: TrainingRun, model: nn.Module, split: Split) -> dict[str, float]:
    """Return the scores of a split, as the run makes them of their sums."""
    totals = np.zeros(run.scoring.num_sums)
    with torch.inference_mode():
        for start in range(0, len(split), AT_ONCE):
            x, y = (values[start : start + AT_ONCE] for values in (split.x, split.y))
            loss, weight, correct = sums(model, x, y)
            totals[:3] += weight, float(loss), correct
            if len(totals) > 3:
                totals[3] += run.setup.dataset.tokenizer.token_bytes[y[y >= 0]].sum()
    return run.scoring.scores(totals, [split])


def write(lines: TextIO, **entry: object) -> None:
    lines.write(to_json(entry) + "\n")
    lines.flush()


if __name__ == "__main__":
    main()
