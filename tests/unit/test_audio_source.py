"""Sources of sound files: classes of folders, tables of labels, options, notes, and bad files."""

import numpy as np
import pytest

from mpitrain.data import open_dataset, open_features
from mpitrain.data.audio import describe_audio
from mpitrain.data.audio.features import fit_length
from mpitrain.data.audio.parts import audio_parts
from mpitrain.data.audio.resample import resample
from mpitrain.data.audio.waveform import read_waveform
from mpitrain.data.matching.rows import open_samples
from mpitrain.data.matching.signature import Signature
from mpitrain.data.sources import absolute_source, inherit_options, units_of
from mpitrain.errors import UserError
from tests.sounds import write_tone, write_tones

OPTIONS = "rate=8000,seconds=0.25,mels=16"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MPITRAIN_AUDIO", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tones(tmp_path):
    write_tones(tmp_path / "tones", 8)
    return tmp_path / "tones"


def test_folders_are_classes(tones):
    data = open_dataset(f"audio:{tones},{OPTIONS}")
    assert data.class_names == ("high", "low")
    assert (len(data.train), len(data.test), data.input_shape) == (13, 3, (23, 16, 1))
    assert data.train.x.dtype == np.float32
    bands = np.asarray(data.train.x)[..., 0].mean(axis=1).argmax(axis=1)
    assert bands[data.train.y == 0].min() > bands[data.train.y == 1].max()
    assert any("sounds of up to 0.3 s; of longer ones than seconds=0.25, the middle" in note for note in data.notes)


def test_features_are_those_of_the_file(tones):
    parts = audio_parts(f"{tones},rate=5000,seconds=0.5,window=20,hop=15,mels=8")
    form, store = parts.form(), parts.stores()["train"]
    x, found = store.open()
    assert found.ranges == {"rate": (8000, 8000), "seconds": (0.3, 0.3)}
    sound = read_waveform(store.files[3])
    expected = form.log_mel(fit_length(resample(sound.samples, 8000, 5000), 2500))
    np.testing.assert_allclose(x[3, ..., 0], expected, rtol=1e-6)
    assert form.log_mel.window == 100
    assert form.log_mel.hop == 75


def test_computed_once_for_each_set_of_options(tones, cache):
    source = f"audio:{tones},{OPTIONS}"
    first = open_dataset(source)
    assert open_dataset(source).train.x[:].tobytes() == first.train.x[:].tobytes()
    assert len(list(cache.iterdir())) == 1
    open_dataset(source.replace("mels=16", "mels=12"))
    assert len(list(cache.iterdir())) == 2
    write_tone(tones / "low" / "new.wav", 300, 1)
    assert units_of(source)
    assert len(open_dataset(source).train) + len(open_dataset(source).test) == 17


def test_labels_in_a_table(tones, tmp_path):
    rows = [f"{name}/{k}.wav,{100 * k + 7.5}" for name in ("low", "high") for k in range(8)]
    (tmp_path / "labels.csv").write_text("file,pitch\n" + "\n".join(rows) + "\n")
    data = open_dataset(f"audio:{tones},{OPTIONS},labels={tmp_path}/labels.csv")
    assert (data.task, data.target_name) == ("regression", "pitch")
    assert len(data.train) == 13


def test_splits_of_their_own_and_speakers(tmp_path):
    for part, count in (("train", 6), ("test", 3)):
        write_tones(tmp_path / "set" / part, count)
    data = open_dataset(f"audio:{tmp_path}/set,{OPTIONS}")
    assert (len(data.train), len(data.test)) == (12, 6)


def test_predictions_need_no_folders(tones, tmp_path):
    source = f"audio:{tones},{OPTIONS}"
    signature = Signature.of(open_dataset(source), source=source, absolute_source=absolute_source(source))
    for number in range(3):
        write_tone(tmp_path / "new" / f"{number}.wav", 500, number, seconds=1.0)
    found = open_samples(f"audio:{tmp_path}/new", signature)
    assert found.files == ("0.wav", "1.wav", "2.wav")
    assert found.parts[0].x.shape == (3, 23, 16, 1)
    assert open_features(f"audio:{tmp_path}/new").x.shape == (3, 98, 40, 1)
    assert inherit_options("audio:new,mels=8", source) == "audio:new,mels=8,rate=8000,seconds=0.25"


def test_bad_files_are_named_or_left_out(tones):
    (tones / "low" / "0.wav").write_bytes((tones / "low" / "1.wav").read_bytes()[:900])
    (tones / "high" / "0.wav").write_text("no sound")
    (tones / "high" / "notes.txt").write_text("left out")
    with pytest.raises(UserError, match=r"2 of 16 files cannot be decoded, .*high/0.wav \(no WAV file.*cut off: 2,400"):
        open_dataset(f"audio:{tones},{OPTIONS}")
    data = open_dataset(f"audio:{tones},{OPTIONS},bad=skip")
    assert len(data.train) + len(data.test) == 14
    assert any("2 of 16 files cannot be decoded" in note for note in data.notes)
    assert any("1 file is no sound by name" in note for note in data.notes)
    lines = "\n".join(describe_audio(f"{tones},{OPTIONS}"))
    assert "all sounds become 0.25 s at 8,000 Hz, 23 frames of 16 bands" in lines
    assert "16 files: 14 WAV 16 bits mono" in lines
    assert lines.count("\n! ") == 3


def test_a_low_rate_is_told(tones):
    notes = open_dataset(f"audio:{tones},seconds=0.3,mels=20").notes
    assert any("sounds of 8,000 samples a second have nothing above 4,000 Hz" in note for note in notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("mell=3", "has no option 'mell' (did you mean 'mels'?)"),
        ("rate=0", "rate=0 must be a whole number from 1000 to 200,000"),
        ("seconds=-1", "seconds=-1 must be a number above 0, up to 600"),
        ("seconds=nan", "seconds=nan must be a number above 0"),
        ("window=300,seconds=0.2", "window=300 milliseconds is longer than seconds=0.2"),
        ("mels=400", "bands would hold no frequency at window=25 milliseconds: take fewer bands or a longer window"),
        ("target=a", "target= is a column of the csv file labels="),
        ("labels=none.csv", "there is no file none.csv"),
    ],
)
def test_bad_options(tones, options, message):
    with pytest.raises(UserError) as error:
        open_dataset(f"audio:{tones},{options}")
    assert message in str(error.value)


@pytest.mark.parametrize("place", ["nowhere", "empty", "flat"])
def test_bad_directories(tones, tmp_path, place):
    (tmp_path / "empty").mkdir()
    write_tone(tmp_path / "flat" / "a.wav", 300, 1)
    expected = {"nowhere": "there is no directory", "empty": "holds no sounds", "flat": "no folders that name"}
    with pytest.raises(UserError, match=expected[place]):
        open_dataset(f"audio:{tmp_path}/{place}")
