"""Windows of a token stream in which some tokens are hidden, to be predicted from all others (BERT).

Shapes: N tokens of the stream; W = ceil(N / T) windows; V tokens in the vocabulary.

A hidden token is replaced by the mask token in 80% of the cases, by any token in 10%, and stays in 10%, where the model
cannot know that it is one (Devlin et al. 2018, arXiv 1810.04805). Which ones are hidden depends on the seed, the epoch
and the place in the stream alone. In training, the windows of each epoch begin elsewhere, as those of ``windows`` do.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ...context import PAD
from ..lazy import LazyRows
from ..rng import MASKS, WINDOWS, random_bits
from .stream import TokenStream
from .windows import IGNORED

MASKED, ANY = 0.8, 0.1  # of the hidden tokens


@dataclass(frozen=True)
class Masking:
    """The tokens to hide.

    Attributes
    ----------
    share : float
        Probability of each token.
    token : int
        The mask token.
    vocabulary : int
        V.
    end_of_text : int or None
        A token that is not hidden.
    seed, epoch : int
    """

    share: float
    token: int
    vocabulary: int
    end_of_text: int | None = None
    seed: int = 0
    epoch: int = 0

    def hidden(self, tokens: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return which tokens are to be predicted, (n,) bool, given them and their places in the stream."""
        chosen: np.ndarray = self._draw(places, 0) < self.share
        return chosen if self.end_of_text is None else chosen & (tokens != self.end_of_text)

    def shown(self, tokens: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return the tokens that the model gets, (n,)."""
        kind, other = self._draw(places, 1), (self._draw(places, 2) * self.vocabulary).astype(np.int64)
        changed = np.where(kind < MASKED, self.token, np.where(kind < MASKED + ANY, other, tokens))
        shown: np.ndarray = np.where(self.hidden(tokens, places), changed, tokens)
        return shown

    def _draw(self, places: np.ndarray, number: int) -> np.ndarray:
        """Return numbers in [0, 1)."""
        bits: np.ndarray = random_bits(places, self.seed, MASKS, self.epoch, number) >> np.uint64(11)
        return bits * 2.0**-53


class MaskedWindows(LazyRows):
    """The windows of ``stream`` with hidden tokens, or these: -100 elsewhere.

    Parameters
    ----------
    stream : TokenStream
    length : int
        T.
    kind : "inputs" or "targets"
    masking : Masking
    shift : int
        In [0, T): where the first window begins.

    Examples
    --------
    >>> stream, masking = TokenStream([np.arange(6, dtype=np.uint8)]), Masking(0.5, 9, 10)
    >>> [MaskedWindows(stream, 4, kind, masking)[:].tolist() for kind in ("inputs", "targets")]
    [[[0, 1, 9, 3], [9, 5, -1, -1]], [[-100, -100, 2, -100], [4, -100, -100, -100]]]
    """

    def __init__(
        self, stream: TokenStream, length: int, kind: Literal["inputs", "targets"], masking: Masking, shift: int = 0
    ):
        super().__init__(-(-len(stream) // length), length)
        self.stream, self.kind, self.masking, self.shift = stream, kind, masking, shift

    def take(self, indices: np.ndarray, width: int | None = None) -> np.ndarray:
        """Return windows by their numbers, (n, T) int64."""
        length, size = self.shape[1], len(self.stream)
        rows = np.full((len(indices), length), PAD if self.kind == "inputs" else IGNORED, np.int64)
        for row, number in zip(rows, indices.tolist()):
            count = min(length, size - number * length)
            places = (number * length + self.shift + np.arange(count)) % size
            tokens = np.empty(count, np.int64)
            first = min(count, size - int(places[0]))
            self.stream.read_into(tokens[:first], int(places[0]))
            self.stream.read_into(tokens[first:], 0)
            if self.kind == "inputs":
                row[:count] = self.masking.shown(tokens, places)
            else:
                row[:count] = np.where(self.masking.hidden(tokens, places), tokens, IGNORED)
        return rows

    def of_epoch(self, seed: int, epoch: int) -> "MaskedWindows":
        """Return the windows of an epoch, with a shift and hidden tokens of (seed, epoch)."""
        shift = int(random_bits(np.array([epoch]), seed, WINDOWS)[0] % np.uint64(min(self.shape[1], len(self.stream))))
        masking = replace(self.masking, seed=seed, epoch=epoch)
        return MaskedWindows(self.stream, self.shape[1], self.kind, masking, shift)

    def starts(self) -> np.ndarray:
        """Return the places in the stream of the first token of each window, (W,) int64."""
        return (np.arange(len(self)) * self.shape[1] + self.shift) % max(1, len(self.stream))

    def digest(self) -> str:
        """Return the length, the share of hidden tokens, the number of tokens and a hash of blocks of them."""
        hidden = f"{self.masking.share:g} hidden"
        return f"{self.shape} {self.dtype.name} {hidden} {self.stream.digest().rpartition(' ')[2]}"
