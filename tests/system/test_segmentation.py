"""Segmentation as a user does it: training, resuming, scores, class maps and a page, from an npz file."""

import json

import numpy as np
import pytest

from mpitrain.data import open_dataset

from .small_table import one_sentence

TRAIN = ("train", "--model", "unet:depth=1,width=4", "--batch-size", "5", "--checkpoint-every", "1")


@pytest.fixture
def masks(tmp_path):
    data = open_dataset("shapes:samples=30,size=14x11,seed=6")
    y = np.array([10, 20, 30], np.int16)[np.concatenate([data.train.y, data.test.y])]
    y[:, 0] = -1
    np.savez(tmp_path / "masks.npz", x=np.concatenate([data.train.x, data.test.x]), y=y)
    return tmp_path


def test_train_resume_evaluate_and_predict(mpitrain, masks):
    code, out, err = mpitrain(2, *TRAIN, "--data", "npz:masks.npz", "--epochs", "2", "--out", "run", "--metrics", "iou")
    assert code == 0, err
    assert "segmentation, since the targets are classes of pixels, (30, 14, 11)" in out
    assert "of the pixels have no label (-1)" in out
    assert "masks: 24 training and 6 test samples, 14 x 11 x 1 -> 3 classes of pixels" in out
    code, out, err = mpitrain(3, "train", "--resume", "run", "--epochs", "3")
    assert code == 0, err
    report = json.loads((masks / "run/report.json").read_text())
    assert report["class_names"] == ["10", "20", "30"]
    assert report["test"].keys() == {"loss", "accuracy", "miou"}
    assert len(report["tables"]["iou"]) == 3

    code, out, err = mpitrain(2, "evaluate", "run", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["miou"] == pytest.approx(report["test"]["miou"], abs=1e-6)
    assert (found["samples"], found["total"], found["split"]) == (6, 30, "test")

    code, out, err = mpitrain(2, "predict", "run", "--data", "npz:masks.npz")
    assert code == 0, err
    assert "30 predictions for masks in predictions.npz" in out
    with np.load(masks / "predictions.npz") as maps:
        assert maps["class"].shape == maps["probability"].shape == (30, 14, 11)
        assert set(np.unique(maps["class"])) <= {10, 20, 30}
        assert maps["class_names"].tolist() == ["10", "20", "30"]
        assert ((maps["probability"] > 1 / 3 - 1e-6) & (maps["probability"] <= 1)).all()
    code, out, err = mpitrain(1, "report", "run", "-o", "page.html")
    assert code == 0, err
    page = (masks / "page.html").read_text()
    assert "Pixels of all 6 test samples" in page
    assert "data:image/png" in page


def test_a_file_of_masks_of_another_size(mpitrain, masks):
    with np.load(masks / "masks.npz") as arrays:
        np.savez(masks / "cut.npz", x=arrays["x"], y=arrays["y"][:, :-1])
    code, _, err = mpitrain(2, *TRAIN, "--data", "npz:cut.npz")
    assert code == 2
    assert one_sentence(err) == "cut.npz: targets of 13x11 pixels for images of 14x11: each pixel needs a class"
