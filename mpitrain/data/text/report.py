"""Text report on a dataset of tokens."""

import numpy as np

from ..dataset import Dataset, Split

LOOKED_AT = 1 << 20  # tokens whose bytes are counted
SHOWN = 60  # tokens that are written out


def describe_texts(dataset: Dataset) -> list[str]:
    """Return lines on the lengths of the texts of all splits, with the beginning of each as text."""
    lines = []
    for name, split in dataset.splits.items():
        sizes, tokens = split.x.sizes, split.x.take(np.arange(min(1, len(split))))[:, :SHOWN]
        spread = f"{sizes.min()} to {sizes.max():,} tokens, mean {sizes.mean():.1f}"
        lines.append(f"  {'training' if name == 'train' else name:<10} {len(split):,} texts of {spread}")
        if dataset.tokenizer is not None:
            text = dataset.tokenizer.decode(tokens[tokens >= 0].tolist())
            lines.append(f"  {'':<10} {' '.join(text.split())!r}")
    return [*lines, f"  vocabulary {dataset.vocabulary:,} tokens, samples cut at {dataset.input_shape[0]:,}"]


def describe_text(dataset: Dataset) -> list[str]:
    """Return lines on the tokens of all splits, with the beginning of each as text."""
    lines = []
    for name, split in dataset.splits.items():
        stream = split.x.stream
        if dataset.masked:
            tokens_of = f"{len(stream):,} tokens, {split.x.masking.share:.3g} of them hidden,"
        else:
            tokens_of = f"{len(stream) - 1:,} tokens to predict"
        size = f"{tokens_of} in {len(split):,} windows of {split.x.shape[1]:,}"
        lines.append(f"  {'training' if name == 'train' else name:<10} {size}")
        if dataset.tokenizer is not None:
            tokens = stream.read(0, min(SHOWN, len(stream))).tolist()
            lines.append(f"  {'':<10} {' '.join(dataset.tokenizer.decode(tokens).split())!r}")
    end = "" if dataset.end_of_text is None else f", end of text {dataset.end_of_text}"
    lines.append(f"  vocabulary {dataset.vocabulary:,} tokens{end}{_say_bytes(dataset, dataset.train)}")
    return lines


def _say_bytes(dataset: Dataset, split: Split) -> str:
    """Return the bytes of text per token, of the first tokens of a split."""
    if dataset.tokenizer is None or dataset.tokenizer.token_bytes is None:
        return ""
    tokens = split.x.stream.read(0, min(LOOKED_AT, len(split.x.stream)))
    mean = float(np.mean(dataset.tokenizer.token_bytes[tokens]))
    return f", {mean:.3g} bytes of text in a token"
