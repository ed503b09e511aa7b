"""Loss and score over the epochs, as a picture."""

import io
from pathlib import Path

from .progress import EpochResult
from .weights import write_atomically


def draw_curves(results: list[EpochResult], metric: str, title: str, path: Path) -> None:
    """Write a PNG with the training and test loss on the left and ``metric`` on the right."""
    import matplotlib  # slow to import, and only rank 0 draws

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    epochs = [r.epoch for r in results]
    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for panel, name in zip(panels, ("loss", metric), strict=True):
        for split, color in (("train", "#888888"), ("test", "#0b6e99")):
            scores = [getattr(r, split).get(name) for r in results]
            if scores[0] is not None:
                panel.plot(epochs, scores, color=color, marker="o", markersize=3, label=split)
        panel.set(xlabel="epoch", title=name)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False)
    if metric == "accuracy":
        panels[1].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    figure.suptitle(title)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    pyplot.close(figure)
    write_atomically(path, picture.getvalue())
