"""FastAPI and PyTorch, as a user would write it: the same network with the same weights, for ``serve.py``.

The environment names the weights (SERVE_WEIGHTS, of ``serve.py``) and the kind of function (SERVE_ASYNC=1: in the event
loop; otherwise FastAPI runs it in its pool of threads).
"""

import os

import numpy as np
import torch
from fastapi import FastAPI
from pydantic import BaseModel

torch.set_num_threads(1)
found = dict(np.load(os.environ["SERVE_WEIGHTS"]))
layers: list[torch.nn.Module] = []
if any(array.ndim == 4 for array in found.values()):  # the convnet: conv, ReLU, conv, pool, ReLU, Linear, ReLU, Linear
    shapes = [array.shape for name, array in found.items() if name.endswith("weight")]
    (_, _, c0, c1), (_, _, _, c2), (flat, width), (_, classes) = shapes
    layers = [
        *(torch.nn.Conv2d(c0, c1, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(c1, c2, 3, padding=1)),
        *(torch.nn.MaxPool2d(2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(flat, width), torch.nn.ReLU()),
        torch.nn.Linear(width, classes),
    ]
else:
    (inputs, width), (_, classes) = (array.shape for name, array in found.items() if name.endswith("weight"))
    layers = [torch.nn.Flatten(), torch.nn.Linear(inputs, width), torch.nn.ReLU(), torch.nn.Linear(width, classes)]
net = torch.nn.Sequential(*layers).eval()
own = [layer for layer in net if hasattr(layer, "weight")]
names = [name.removesuffix(".weight") for name in found if name.endswith("weight")]
with torch.no_grad():
    for layer, name in zip(own, names, strict=True):
        weight = found[f"{name}.weight"]
        if weight.ndim == 4:
            weight = weight.transpose(3, 2, 0, 1)
        elif isinstance(layer, torch.nn.Linear):
            if any(isinstance(one, torch.nn.Conv2d) for one in own) and layer is own[2]:  # ours has channels last
                side = int((weight.shape[0] // own[1].out_channels) ** 0.5)
                shape = (side, side, own[1].out_channels, -1)
                weight = weight.reshape(shape).transpose(2, 0, 1, 3).reshape(-1, weight.shape[1])
            weight = weight.T
        layer.weight.copy_(torch.tensor(np.ascontiguousarray(weight)))
        layer.bias.copy_(torch.tensor(found[f"{name}.bias"]))
mean, std = float(found["mean"]), float(found["std"])
app = FastAPI()


class Images(BaseModel):
    """Images of one channel."""

    inputs: list[list[list[float]]]


def answer(images: Images) -> dict[str, list[dict[str, object]]]:
    """Return the class and the probabilities of each image."""
    with torch.inference_mode():
        x = (torch.tensor(images.inputs)[:, None] - mean) / std
        probabilities = torch.softmax(net(x), dim=1)
        most, best = probabilities.max(dim=1)
    rows = zip(best.tolist(), most.tolist(), probabilities.tolist(), strict=True)
    return {
        "predictions": [
            {"class": str(k), "probability": p, "probabilities": {str(j): v for j, v in enumerate(row)}}
            for k, p, row in rows
        ]
    }


if os.environ.get("SERVE_ASYNC"):

    @app.post("/predict")
    async def predict(images: Images) -> dict[str, list[dict[str, object]]]:
        """Answer in the event loop."""
        return answer(images)

else:

    @app.post("/predict")
    def predict(images: Images) -> dict[str, list[dict[str, object]]]:
        """Answer in a thread."""
        return answer(images)
