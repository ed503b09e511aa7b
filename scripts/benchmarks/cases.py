"""What scripts/bench step measures."""

from typing import NamedTuple


class Case(NamedTuple):
    """A network, its input, the global batch and how many ranks share it."""

    model: str
    input_shape: tuple[int, ...]
    batch: int
    ranks: int

    @property
    def name(self) -> str:
        """The network and the batch, as in mlp-64."""
        return f"{self.model}-{self.batch}"

    @property
    def title(self) -> str:
        """What --only looks into."""
        return f"{self.name}, {self.ranks} rank{'s' * (self.ranks > 1)}"


_STEPS = (
    ("mlp", (784,), 64),
    ("mlp", (784,), 512),
    ("lenet", (32, 32, 3), 64),
    ("lenet", (32, 32, 3), 256),
    ("resnet8", (32, 32, 3), 64),
)
CASES = [Case(*step, ranks) for ranks in (1, 2) for step in _STEPS]
NUM_CLASSES = 10
