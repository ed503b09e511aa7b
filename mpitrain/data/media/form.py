"""The contract of decoders: files of one kind become arrays of one shape."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..cache import Cache


class Undecodable(Exception):
    """The contents of a file are not of the kind that is wanted, or cut off."""


@dataclass(frozen=True)
class Facts:
    """Facts about one file, for reports.

    Attributes
    ----------
    kind : str
        Its format.
    sizes : mapping of str to float
        Such as width and height.
    """

    kind: str
    sizes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Medium:
    """A kind of files.

    Attributes
    ----------
    source : str
        The kind of source, as in "images".
    noun : str
        One of them, as in "image".
    suffixes : frozenset of str
        Ends of their names, in small letters.
    cache : Cache
        Holds them decoded.
    """

    source: str
    noun: str
    suffixes: frozenset[str]
    cache: Cache

    @property
    def nouns(self) -> str:
        """More of them."""
        return f"{self.noun}s"


class Form(ABC):
    """The form that all files of a source get.

    Attributes
    ----------
    medium : Medium
    dtype : numpy dtype
    """

    medium: ClassVar[Medium]
    dtype: ClassVar[np.dtype[Any]]

    @property
    @abstractmethod
    def dims(self) -> tuple[int, ...]:
        """The shape of a sample."""

    @property
    def num_bytes(self) -> int:
        """The bytes of a sample."""
        return int(np.prod(self.dims)) * self.dtype.itemsize

    @abstractmethod
    def facts(self) -> Iterable[object]:
        """Return all that decoded samples depend on besides the files: options, and versions of libraries.

        Raises
        ------
        UserError
            If a library is not installed.
        """

    @abstractmethod
    def decode(self, path: str) -> tuple[np.ndarray, Facts]:
        """Return a sample (``dims``), and facts about its file.

        Raises
        ------
        Undecodable
            If the file is damaged.
        UserError
            If it cannot be opened, or does not fit the options.
        """

    def notes(self, ranges: Mapping[str, tuple[float, float]], where: str) -> Iterable[str]:
        """Return sentences for the user about the least and the largest sizes of the files of a split."""
        return ()


@dataclass(frozen=True)
class MediaOptions:
    """Options that all sources of files have.

    Attributes
    ----------
    skips_bad : bool
    labels, target, test : str
        Empty where they are not given.
    """

    skips_bad: bool = False
    labels: str = ""
    target: str = ""
    test: str = ""
