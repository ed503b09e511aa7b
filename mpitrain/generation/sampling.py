"""Drawing the next token from logits: temperature, top-k and top-p.

Shapes: V tokens in the vocabulary.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..data.rng import SAMPLING, random_bits
from ..errors import UserError


@dataclass(frozen=True)
class Sampling:
    """Draws of the next token from softmax(logits / temperature).

    Parameters
    ----------
    temperature : float
        0 takes the most probable token.
    top_k : int
        Only the k most probable tokens; 0 for all.
    top_p : float
        Only the fewest tokens, the most probable first, whose probabilities sum to at least p (nucleus sampling:
        Holtzman et al. 2019, arXiv 1904.09751), of those that ``top_k`` leaves.
    seed : int

    Raises
    ------
    UserError
        If a number is out of its range.

    Notes
    -----
    The draw is a function of (seed, number of the prompt, position of the token) and the logits alone.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise UserError(f"the temperature must be 0 or more, but it is {self.temperature}")
        if self.top_k < 0:
            raise UserError(f"top-k must be 0 (all tokens) or more, but it is {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top-p must be more than 0 and at most 1, but it is {self.top_p}")

    def draw(self, logits: np.ndarray, number: int, position: int) -> int:
        """Return the token that follows, given logits (V,).

        Raises
        ------
        UserError
            If a logit is NaN.
        """
        if np.isnan(logits).any():
            raise UserError("the model's outputs are NaN, so no token can be drawn")
        if not self.temperature:
            return int(logits.argmax())
        tokens, probabilities = self.choices(logits)
        bits = random_bits(np.array([position]), self.seed, SAMPLING, number)[0]
        place = np.searchsorted(probabilities.cumsum(), float(bits >> np.uint64(11)) * 2.0**-53, side="right")
        return int(tokens[min(int(place), len(tokens) - 1)])

    def choices(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens that may be drawn, and their probabilities in float64, which sum to 1.

        With ``top_k`` or ``top_p`` the most probable comes first, and of equal ones the lower token.
        """
        tokens = np.arange(len(logits)) if not self.top_k else _largest(logits, self.top_k)
        scores = logits[tokens].astype(np.float64)
        weights = np.exp((scores - scores.max()) / self.temperature)
        probabilities = weights / weights.sum()
        return (tokens, probabilities) if self.top_p == 1 else self._nucleus(tokens, probabilities)

    def _nucleus(self, tokens: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # tokens below this have less than 1 - p together, so that they are not needed, and few are left to sort
        likely = np.flatnonzero(probabilities >= (1 - self.top_p) / len(probabilities))
        order = likely[np.argsort(-probabilities[likely], kind="stable")]
        count = int(np.searchsorted(probabilities[order].cumsum(), self.top_p)) + 1
        kept = probabilities[order[:count]]
        return tokens[order[:count]], kept / kept.sum()


def _largest(logits: np.ndarray, count: int) -> np.ndarray:
    """Return the places of the ``count`` largest, in falling order; of equal ones the first."""
    count = min(count, len(logits))
    least = np.partition(logits, len(logits) - count)[len(logits) - count]
    candidates = np.flatnonzero(logits >= least)
    order: np.ndarray = candidates[np.argsort(-logits[candidates], kind="stable")][:count]
    return order
