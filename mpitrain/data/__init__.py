"""Input: sources of samples, their normalization, augmentation and order, and the loader that prepares batches."""

from .augment import Augment
from .dataset import Dataset, Features, Split
from .loader import Batch, Loader
from .normalize import Normalizer
from .sampler import StepShare, epoch_order, num_steps, share, step_shares
from .sources import SOURCES, open_dataset, open_features

__all__ = [
    "SOURCES",
    "Augment",
    "Batch",
    "Dataset",
    "Features",
    "Loader",
    "Normalizer",
    "Split",
    "StepShare",
    "epoch_order",
    "num_steps",
    "open_dataset",
    "open_features",
    "share",
    "step_shares",
]
