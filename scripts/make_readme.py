"""Write the output of `mpirun -n 8 python -m mpitrain` into README.md, shortened, in place of the block that is there.

The block is the indented one that begins with "8 ranks". Run it on a quiet machine:

    python scripts/make_readme.py
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
COMMAND = ["-m", "mpitrain", "-n", "8"]
BLOCK = re.compile(r"^    8 ranks, .*\n(?:    .*\n)+", re.MULTILINE)
WIDTH = 116  # characters of a line without its indentation
RANKS_SHOWN = 2


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, *COMMAND], cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    text = README.read_text(encoding="utf-8")
    README.write_text(replace(text, shorten(done.stdout)), encoding="utf-8")
    print(f"{README.name}: {len(find(text).splitlines())} lines replaced")


def find(readme: str) -> str:
    """Return the block, without its indentation."""
    found = BLOCK.findall(readme)
    if len(found) != 1:
        raise SystemExit(f"README.md has {len(found)} indented blocks that begin with '8 ranks', not one")
    return re.sub("^    ", "", found[0], flags=re.MULTILINE)


def replace(readme: str, lines: list[str]) -> str:
    """Return the README with ``lines`` as its block."""
    find(readme)
    block = "".join(f"    {line}\n" for line in lines)
    return BLOCK.sub(lambda _: block, readme)


def shorten(output: str) -> list[str]:
    """Return the lines of a run: the first and the last epoch and the first ranks; three dots stand for the others.

    Long lines are cut between words.
    """
    lines = output.splitlines()
    epochs = [line for line in lines if line.startswith("epoch ")]
    ranks = [line for line in lines if re.match(r"rank \d", line)]
    kept: list[str] = []
    for line in lines:
        if line in epochs[1:-1] or line in ranks[RANKS_SHOWN:]:
            kept += ["..."] if kept[-1] != "..." else []
        else:
            kept.append(line if len(line) <= WIDTH else f"{line[: WIDTH - 4].rpartition(' ')[0]} ...")
    return kept


def shape(line: str) -> str:
    """Return a line without its numbers and what depends on the machine, cut where it may be cut.

    >>> shape("8 ranks, 1 BLAS thread each, more ranks than cores (MPICH 5.0.2)")
    '# ranks, # BLAS thread each (MPI)'
    >>> shape("epoch 10/10  train loss 0.006405 accuracy 100.00%  12,345 samples/s  compute 31% ...")
    'epoch #/# train loss # accuracy # # samples/s compute'
    """
    line = re.sub(r",? more ranks than cores|,? as many ranks as cores", "", line)
    line = re.sub(r"\((?:MPICH|Open MPI) .*\)", "(MPI)", line)
    line = re.sub(r"(?<![\w.-])[\d.,]*\d(?:e[-+]\d+)?%?", "#", line)
    line = re.sub(r"^(slowest ).*", r"\1", line)
    line = re.sub(r"( samples/s +compute).*", r"\1", line)
    return " ".join(line.split())


if __name__ == "__main__":
    main()
