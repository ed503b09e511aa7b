"""Cases of scripts/bench step."""

from typing import NamedTuple

import numpy as np

LAYERS = (
    "conv3x3",
    "depthwise3x3",
    "grouped3x3",
    "dilated3x3",
    "linear",
    "layernorm",
    "gelu",
    "attention",
)  # forward, backward
GROUPS = 32  # of grouped3x3
HEAD = 32  # size of the heads of attention
NUM_CLASSES = 10
# All steps have the same samples: a network that learns them gets denormal numbers, which take PyTorch much longer.
RATE = 1e-8
VOCABULARY = {"gpt-8k": 8192, "gpt-50k": 50257, "gpt2": 50257}  # language models
WORDS, POSITIONS = 30522, 512  # of minilm, which tells classes of texts
TRANSFORMERS = (*VOCABULARY, "minilm", "vit")  # trained with AdamW


class Case(NamedTuple):
    """A network or a layer, its input, the global batch, how many ranks share it, and the threads of each."""

    model: str
    input_shape: tuple[int, ...]
    batch: int
    ranks: int
    threads: int

    @property
    def name(self) -> str:
        """The network and the batch, as in mlp-64; of a layer also the channels and size of images, or of sequences."""
        if len(self.input_shape) == 3 and self.model in LAYERS:
            return f"{self.model} {self.input_shape[2]}@{self.input_shape[0]}x{self.input_shape[1]}-{self.batch}"
        if len(self.input_shape) == 2:
            return f"{self.model} {self.input_shape[0]}x{self.input_shape[1]}-{self.batch}"
        if self.model == "linear":
            return f"{self.model} {self.input_shape[0]}-{self.batch}"
        return f"{self.model}-{self.batch}"

    @property
    def num_outputs(self) -> int:
        """Classes, or tokens of a language model."""
        return VOCABULARY.get(self.model, NUM_CLASSES)

    def samples(self) -> tuple[np.ndarray, np.ndarray]:
        """Return samples and targets of the whole batch."""
        rng = np.random.default_rng(0)
        if self.model in VOCABULARY:
            x, y = rng.integers(0, self.num_outputs, (2, self.batch, *self.input_shape))
            return x, y
        if self.model == "minilm":
            x = rng.integers(0, WORDS, (self.batch, *self.input_shape))
        else:
            x = rng.standard_normal((self.batch, *self.input_shape), np.float32)
        return x, rng.integers(0, NUM_CLASSES, self.batch)

    @property
    def title(self) -> str:
        """Title of the case, searched by --only."""
        ranks, threads = (f"{n} {what}{'s' * (n > 1)}" for n, what in ((self.ranks, "rank"), (self.threads, "thread")))
        return f"{self.name}, {ranks}, {threads}"


_STEPS = (
    ("mlp", (784,), 64),
    ("mlp", (784,), 512),
    ("lenet", (32, 32, 3), 64),
    ("lenet", (32, 32, 3), 256),
    ("resnet8", (32, 32, 3), 64),
    ("resnet20", (32, 32, 3), 64),
    ("conv3x3", (32, 32, 64), 32),
    ("conv3x3", (16, 16, 128), 32),
    ("conv3x3", (8, 8, 256), 32),
    ("depthwise3x3", (16, 16, 128), 64),
    ("grouped3x3", (16, 16, 128), 32),
    ("dilated3x3", (32, 32, 64), 16),
    ("linear", (256,), 2048),
    ("linear", (768,), 2048),
    ("linear", (1536,), 2048),
    ("layernorm", (256,), 4096),
    ("gelu", (1024,), 1024),
    ("attention", (64, 128), 16),
    ("attention", (256, 256), 8),
    ("gpt-8k", (256,), 8),
    ("gpt-50k", (256,), 8),
    ("minilm", (128,), 16),
    ("vit", (32, 32, 3), 64),
)
CASES = [
    Case(*step, ranks, threads)
    for ranks, threads in ((1, 1), (1, 2), (2, 1))
    for step in _STEPS
    if ranks == 1 or step[0] not in LAYERS
]
