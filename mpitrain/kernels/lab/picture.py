"""Pictures of a warp's worst access for the terminal: the words in each bank, or the words used of each sector."""

from collections import Counter
from dataclasses import dataclass

from .counts import SECTOR_BYTES, LineCount

BANKS = 32
WORD = 4  # bytes of a bank, too
HEIGHT = 8  # rows of bars
MOST_SECTORS = 6


@dataclass(frozen=True)
class Sector:
    """A sector of global memory that a warp touches, and which of its 8 words its lanes use."""

    first_word: int
    used: tuple[bool, ...]


def words_of(line: LineCount) -> list[int]:
    """Return the words, each once, that the worst request touches: their places in the array."""
    begins = [offset for offset in line.offsets if offset >= 0]
    return sorted({(begin + at) // WORD for begin in begins for at in range(0, line.bytes, WORD)})


def words_in_banks(line: LineCount) -> list[int]:
    """Return the number of different words in each bank; the array begins in bank 0."""
    found = Counter(word % BANKS for word in words_of(line))
    return [found[bank] for bank in range(BANKS)]


def sectors_of(line: LineCount) -> list[Sector]:
    """Return the sectors that the worst request touches."""
    words, each = set(words_of(line)), SECTOR_BYTES // WORD
    return [
        Sector(each * sector, tuple(each * sector + i in words for i in range(each)))
        for sector in sorted({word // each for word in words})
    ]


def draw_banks(line: LineCount) -> list[str]:
    """Return bars, one for each bank: as high as the turns that it takes.

    Examples
    --------
    >>> from mpitrain.kernels.lab.counts import LineCount
    >>> offsets = [8 * lane for lane in range(32)]
    >>> print("\\n".join(draw_banks(LineCount(7, "x", True, "load", 4, 1, 32, 2, 1, 2, 2, 1, [0, 0, 0], 0, offsets))))
     2 # # # # # # # # # # # # # # # #
     1 # # # # # # # # # # # # # # # #
       01234567890123456789012345678901
    """
    counts = words_in_banks(line)
    step = -(-max(counts) // HEIGHT)
    tops = range(step * -(-max(counts) // step), 0, -step)
    rows = [f"{top:2} {''.join('#' if count > top - step else ' ' for count in counts)}" for top in tops]
    return [row.rstrip() for row in [*rows, f"   {''.join(str(bank % 10) for bank in range(BANKS))}"]]


def draw_sectors(line: LineCount) -> list[str]:
    """Return a row for each sector: "#" is a word that a lane uses, "." one that is moved for nothing."""
    sectors = sectors_of(line)
    names = [f"{line.array}[{sector.first_word}]" for sector in sectors]
    shown = MOST_SECTORS if len(sectors) > MOST_SECTORS + 1 else len(sectors)
    width = max(map(len, names[:shown]))
    rows = [
        f"{name:{width}} {''.join('#' if used else '.' for used in sector.used)}"
        for name, sector in zip(names[:shown], sectors[:shown], strict=True)
    ]
    return [*rows, *([f"and {len(sectors) - shown} more"] if shown < len(sectors) else [])]
