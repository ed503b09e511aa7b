"""The PyTorch side of scripts/bench startup: one step of the smallest network, with DistributedDataParallel on gloo."""

import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed
from torch import nn

DIGITS = Path(__file__).parents[2] / "mpitrain" / "data" / "digits" / "digits.npz"
BATCH = 64


def main() -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    x, y = read()
    share = slice(rank * BATCH // size, (rank + 1) * BATCH // size)
    model = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    nn.functional.cross_entropy(model(x[share]), y[share]).backward()
    optimizer.step()
    Path(os.environ["STARTUP_FOLDER"], f"rank-{rank}").write_text(repr(time.time()))
    torch.distributed.destroy_process_group()


def read() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the digits as mpitrain has them."""
    with np.load(DIGITS) as arrays:
        images, labels = arrays["x_train"], arrays["y_train"]
    return torch.from_numpy(images.reshape(len(images), -1) / np.float32(255)), torch.from_numpy(
        labels.astype(np.int64)
    )


if __name__ == "__main__":
    main()
