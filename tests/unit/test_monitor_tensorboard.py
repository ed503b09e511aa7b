"""Event files, read by TensorBoard's own reader."""

import io
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest

import mpitrain as mt
from mpitrain.data.dataset import Split
from mpitrain.errors import UserError
from mpitrain.monitor.event_file import EventFile
from mpitrain.monitor.tensorboard import MOST_RANKS, _shares
from mpitrain.monitor.wrong_images import WrongImages
from mpitrain.training.step_timer import Times

pytest.importorskip("tensorboard", reason="tensorboard, which reads event files, is not installed")
SETTINGS = {"epochs": 3, "batch_size": 360, "progress": "none"}  # 4 steps an epoch


def load(directory):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory), size_guidance={"scalars": 0, "tensors": 0, "images": 0})
    events.Reload()
    return events


def curve(events, tag):
    return [(event.step, event.value) for event in events.Scalars(tag)]


def hparams(events):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = events.PluginTagToContent("hparams")
    return {tag.rpartition("/")[2]: HParamsPluginData.FromString(data) for tag, data in content.items()}


def test_the_figures_of_a_run(tmp_path):
    settings = {"out": str(tmp_path / "run"), "monitor": "tensorboard:histograms=true", "validation": 100}
    trainer = mt.Trainer("mlp:widths=8", "digits", **SETTINGS, **settings)
    result, events = trainer.fit(), load(tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    for name in ("loss", "lr"):
        expected = [(line["step"], float(np.float32(line[name]))) for line in steps]
        assert curve(events, f"step/{name}") == expected
    for split in ("train", "validation", "test"):
        for name in ("loss", "accuracy"):
            scores = [(one.step, float(np.float32(getattr(one, split)[name]))) for one in result.evaluations]
            assert curve(events, f"{split}/{name}") == scores
    shares = [sum(value for _, value in curve(events, f"time/{part}/rank0")) for part in vars(Times())]
    assert sum(shares) == pytest.approx(len(result.evaluations), abs=0.01)
    assert len(curve(events, "speed/samples_per_second")) == len(result.evaluations)
    histogram = events.Histograms("weights/1.weight")[-1]
    weights = dict(trainer.setup.model.named_parameters())["1.weight"].data
    assert histogram.step == result.steps
    assert histogram.histogram_value.num == weights.size
    assert histogram.histogram_value.sum == pytest.approx(float(weights.sum(dtype=np.float64)), rel=1e-4, abs=1e-4)
    found = hparams(events)
    options = found["session_start_info"].session_start_info.hparams
    assert options["batch-size"].number_value == 360
    assert options["model"].string_value == "mlp:widths=8"
    assert {metric.name.tag for metric in found["experiment"].experiment.metric_infos} == {"test/loss", "test/accuracy"}
    assert found["session_end_info"].session_end_info.status == 1  # success
    table = events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| validation | `100.0` |" in table


def test_a_resumed_run_is_one_curve(tmp_path, capfd):
    settings = {"out": str(tmp_path / "run"), "monitor": "tensorboard", "checkpoint_every": "5", "keep_checkpoints": 9}
    mt.Trainer("mlp:widths=8", "digits", **SETTINGS, **settings).fit()
    (tmp_path / "run" / "checkpoints" / "step-000000012.safetensors").unlink()
    (tmp_path / "run" / "report.json").unlink()
    mt.Trainer("mlp:widths=8", "digits", **SETTINGS, **settings).fit(resume=True)
    events = load(tmp_path / "run")
    assert [step for step, _ in curve(events, "step/loss")] == list(range(1, 13))
    assert [step for step, _ in curve(events, "test/loss")] == [4, 8, 12]
    assert len(list((tmp_path / "run").glob("events.out.tfevents.*"))) == 2


def test_a_failed_run_ends_its_session_so(tmp_path):
    class Fail(mt.Hook):
        def step_end(self, info):
            if info.step == 6:
                raise KeyError("lost")

    trainer = mt.Trainer("mlp:widths=8", "digits", monitor=f"tensorboard:dir={tmp_path}", hooks=[Fail], **SETTINGS)
    with pytest.raises(mt.HookError):
        trainer.fit()
    events = load(tmp_path)
    assert hparams(events)["session_end_info"].session_end_info.status == 2  # failure
    assert [step for step, _ in curve(events, "step/loss")] == [1, 2, 3, 4, 5]


def test_misclassified_images_are_shown(tmp_path):
    from PIL import Image

    settings = {"monitor": f"tensorboard:dir={tmp_path},images=6", "epochs": 1, "lr": 1e-6}
    mt.Trainer("mlp:widths=8", "digits", **SETTINGS | settings).fit()
    (event,) = load(tmp_path).Images("misclassified")
    picture = Image.open(io.BytesIO(event.encoded_image_string))
    assert picture.size == (event.width, event.height)
    assert len(set(np.array(picture).ravel().tolist())) > 10  # shades of the digits


def test_images_of_the_largest_margin_are_kept():
    images = np.zeros((5, 2, 2, 1), np.uint8)
    images[:, 0, 0, 0] = range(5)
    outputs = np.array([[9, 0, 0], [0, 3, 0], [0, 0, 5], [0, 1, 0], [0, 0, 2.0]])
    wrong = WrongImages(2, ("cat", "dog", "a very long name"))
    split = Split(images, np.array([0, 0, 0, 0, 0]))
    wrong.add(split, slice(0, 2), outputs[:2])
    wrong.add(split, slice(2, 5), outputs[2:])
    assert [(margin, image[0, 0, 0], target, taken) for margin, image, target, taken in wrong._found] == [
        (5.0, 2, 0, 2),
        (3.0, 1, 0, 1),
    ]
    assert wrong._label(0, 2, 72) == "cat as a ve"
    assert wrong.draw().png.startswith(b"\x89PNG")
    wrong.clear()
    assert wrong.draw() is None


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_images_of_any_kind_are_drawn(channels, kind):
    from PIL import Image

    wrong = WrongImages(3, ())
    images = np.arange(3 * 5 * 90 * channels).reshape(3, 5, 90, channels).astype(kind)
    wrong.add(Split(images, np.zeros(3, np.int64)), slice(0, 3), np.tile([0.0, 1.0], (3, 1)))
    picture = wrong.draw()
    assert Image.open(io.BytesIO(picture.png)).size == (picture.width, picture.height)


def test_a_language_model_continues_test_texts(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"the quick brown fox jumps over dog {k}" for k in range(60)))
    model, data = "gpt:depth=1,width=8,heads=1", f"text:{text},window=32"
    settings = {"steps": 2, "batch_size": 8, "progress": "none"}
    mt.Trainer(model, data, monitor=f"tensorboard:dir={tmp_path / 'log'},texts=1", **settings).fit()
    (sample,) = load(tmp_path / "log").Tensors("continuation/1/text_summary")
    prompt, _, continuation = sample.tensor_proto.string_val[0].decode().strip().partition(" [...] ")
    assert len(continuation) > 5
    shown = prompt.replace("\\n", "\n")
    assert len(shown) == 16
    assert shown in text.read_text()


def test_many_ranks_are_shown_as_a_range():
    times = [Times(compute=1.0 + rank, waiting=10.0) for rank in range(MOST_RANKS + 1)]
    shares = _shares(SimpleNamespace(times_of_ranks=times))
    assert len(shares) == 12
    compute = [one.shares()["compute"] for one in times]
    assert shares["time/compute/least"] == compute[0]
    assert shares["time/compute/median"] == compute[MOST_RANKS // 2]
    assert shares["time/compute/most"] == compute[-1]
    assert len(_shares(SimpleNamespace(times_of_ranks=times[:MOST_RANKS]))) == 4 * MOST_RANKS


def test_a_batch_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """After a full disk the file ends with a whole record, and later the rest follows."""
    from tensorboardX.proto.event_pb2 import Event

    file = EventFile(tmp_path, 1)
    file.add(Event(step=1))
    file.flush()
    (path,) = tmp_path.iterdir()
    size, healthy_write = path.stat().st_size, os.write

    def half(descriptor, data):
        if len(data) < 10:
            raise OSError(28, "No space left on device")
        return healthy_write(descriptor, data[: len(data) // 2])

    for step in range(2, 5):
        file.add(Event(step=step))
    monkeypatch.setattr(os, "write", half)
    with pytest.raises(UserError, match="No space left on device"):
        file.flush()
    assert path.stat().st_size == size
    monkeypatch.undo()
    file.add(Event(step=5))
    file.flush()
    file.close()
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

    steps = [Event.FromString(record).step for record in RawEventFileLoader(str(path)).Load()]
    assert steps == [0, 1, 1, 2, 3, 4, 5]  # the version, and where the run begins
