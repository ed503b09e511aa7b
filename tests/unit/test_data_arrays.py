"""Arrays in npy and HDF5 files: mapped, and checked or converted once where they are large."""

import random
import subprocess
import sys

import numpy as np
import pytest

from mpitrain.data import large_arrays, open_dataset
from mpitrain.data.floats import as_floats
from mpitrain.data.formats import hdf5
from mpitrain.data.mapped import is_mapped
from mpitrain.data.matching.rows import open_rows, open_samples
from mpitrain.data.matching.signature import Signature
from mpitrain.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(large_arrays.CACHE.variable, str(tmp_path / "cache"))
    return tmp_path


def samples(shape=(60, 5)):
    seed = random.randrange(1 << 30)
    print(f"{seed=}")
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape), np.array(["no", "yes"])[np.arange(shape[0]) % 2]


def write_npy(folder, **arrays):
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return f"npy:{folder}"


@pytest.mark.parametrize("shape", [(60, 5), (60, 4, 4), (60, 8, 8, 3)])
def test_npy(folder, shape):
    x, y = samples(shape)
    source = write_npy(folder / "set", x=x, y=y)
    data = open_dataset(source)
    assert (data.name, data.class_names, len(data.test)) == ("set", ("no", "yes"), 12)
    signature = Signature.of(data, source=source)
    rows = open_rows(source, signature)
    np.testing.assert_array_equal(rows.parts[0].x.reshape(x.shape), x)
    assert is_mapped(rows.parts[0].x)
    assert (rows.parts[0].y == np.arange(60) % 2).all()
    (folder / "set" / "y.npy").unlink()
    np.testing.assert_array_equal(open_samples(source, signature).parts[0].x.reshape(x.shape), x)


def test_splits_and_objects(folder):
    x, y = samples()
    labels = y[:20].astype(object)
    data = open_dataset(write_npy(folder / "set", X_train=x.astype("f2"), y_train=y, X_test=x[:20], y_test=labels))
    assert (data.train.x.dtype, data.test.x.dtype) == (np.float32, np.float64)
    assert (data.test.y == np.arange(20) % 2).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:600]), r"x.npy is cut off: its header promises \(60, 5\)"),
        (lambda path: path.write_bytes(b"hello"), "x.npy is damaged or not an array of NumPy"),
        (lambda path: path.write_bytes(b""), "x.npy is damaged or not an array of NumPy"),
        (lambda path: np.save(path, np.full((60, 5), np.nan)), "the samples hold NaN, .* first in row 0"),
        (lambda path: np.save(path, np.zeros((0, 5))), r"0 samples, but targets for 60"),
        (lambda path: np.save(path, np.zeros((60, 5)) * 1j), "the samples are of type complex128, expected numbers"),
        (lambda path: path.unlink(), "set holds y, expected arrays named x and y"),
    ],
)
def test_npy_refusals(folder, change, message):
    x, y = samples()
    source = write_npy(folder / "set", x=x, y=y)
    change(folder / "set" / "x.npy")
    with pytest.raises(UserError, match=message):
        open_dataset(source)


@pytest.mark.parametrize("kind", ["f8", "f4", ">f4", "f2", "u1", "i2", "i8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_large_arrays_are_converted_once(folder, monkeypatch, kind, order):
    x, _ = samples((600, 7))
    x = np.array((x * 50).clip(0, 200) if kind in ("u1", "?") else x * 50, dtype=kind, order=order)
    np.save(folder / "x.npy", x)
    wanted = as_floats(x, "here")
    monkeypatch.setattr(large_arrays, "LARGE", 100)
    monkeypatch.setattr(large_arrays, "PART", 1000)
    for _ in range(2):
        found = as_floats(np.load(folder / "x.npy", mmap_mode="r"), "here")
        assert found.dtype == wanted.dtype
        assert is_mapped(found)
        np.testing.assert_array_equal(found, wanted)
    assert len([one for one in (folder / "cache").iterdir() if one.is_dir()]) == 1


@pytest.mark.parametrize("row", [0, 333, 599])
def test_where_a_large_array_is_wrong(folder, monkeypatch, row):
    monkeypatch.setattr(large_arrays, "LARGE", 100)
    monkeypatch.setattr(large_arrays, "PART", 1000)
    x, _ = samples((600, 7))
    x[row, 3] = np.inf
    np.save(folder / "x.npy", x)
    with pytest.raises(UserError, match=f"here hold NaN, Inf or .* first in column 'd' of row {row}$"):
        as_floats(np.load(folder / "x.npy", mmap_mode="r"), "here", tuple("abcdefg"))
    big = np.full((600, 7), 2**53, np.int64)
    big[row, 1] += 1
    np.save(folder / "x.npy", big)
    with pytest.raises(UserError, match=f"integers that float64 cannot tell .* row {row}:"):
        as_floats(np.load(folder / "x.npy", mmap_mode="r"), "here")
    x[row, 3] = 0
    np.save(folder / "x.npy", x)
    as_floats(np.load(folder / "x.npy", mmap_mode="r"), "here")  # the file has changed: it is looked at anew


def test_parts_of_mapped_arrays(folder):
    np.save(folder / "x.npy", np.arange(40.0).reshape(10, 4))
    mapped = np.load(folder / "x.npy", mmap_mode="r")
    facts = [large_arrays.facts_of_mapped(one) for one in (mapped, mapped[2:], mapped[2:6], mapped[..., None])]
    assert len({str(one) for one in facts}) == 4
    assert large_arrays.facts_of_mapped(mapped[2:][1:])[3] == mapped.offset + 3 * 32


def write_hdf5(path, x, y):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["x"], file["y"] = x, np.arange(len(y)) % 2
        file.create_dataset("group/packed", data=x, chunks=(7, 5), compression="gzip", shuffle=True)
        file["group/names"] = y.tolist()
        file["group/pair"] = np.zeros(3, dtype=[("a", "i4"), ("b", "f4")])
    return f"hdf5:{path}"


@pytest.mark.parametrize("large", [False, True])
def test_hdf5(folder, monkeypatch, large):
    x, y = samples()
    source = write_hdf5(folder / "a.h5", x, y)
    if large:
        monkeypatch.setattr(hdf5, "LARGE", 0)
        monkeypatch.setattr(large_arrays, "LARGE", 0)
        monkeypatch.setattr(large_arrays, "PART", 700)
    data = open_dataset(source)
    packed = open_dataset(f"{source},x=group/packed,y=/group/names")
    assert packed.class_names == ("no", "yes")
    assert any("group/names, group/packed, group/pair are not used" in note for note in data.notes)
    for one, names in ((packed, ",x=group/packed,y=group/names"), (data, ",x=x,y=y")):
        rows = open_rows(source, Signature.of(one, source=f"{source}{names}"))
        np.testing.assert_array_equal(np.sort(np.concatenate([one.train.x, one.test.x]), 0), np.sort(x, 0))
        np.testing.assert_array_equal(rows.parts[0].x, x)
        np.testing.assert_array_equal(one.train.x, data.train.x)
        assert is_mapped(rows.parts[0].x) or (one is packed and not large)  # it lies in the file as it is
    with_test = open_dataset(f"{source},x=x,y=y,x_test=group/packed,y_test=y")
    np.testing.assert_array_equal(with_test.test.x, x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (",x=foo,y=y", "a.h5 has no dataset 'foo'; it has 'group/names', 'group/packed'"),
        (",x=group,y=y", r"a.h5 has no dataset 'group' \(did you mean 'group/pair'\?\); it has"),
        (",x=group/pair,y=y", "/group/pair holds .*, expected numbers or text"),
        (",x=x", "y= is missing: say which dataset holds the targets beside 'x'"),
        (",x=x,y=y,x_test=x", "x_test= and y_test= go together"),
        (",x=x,y=y,z=1", "has no dataset 'y,z=1'"),
        (",z=1", "a.h5 has no option 'z', only x, y, x_test, y_test"),
    ],
)
def test_hdf5_refusals(folder, options, message):
    source = write_hdf5(folder / "a.h5", *samples())
    with pytest.raises(UserError, match=message):
        open_dataset(f"{source}{options}")


def test_damaged_hdf5(folder):
    source = write_hdf5(folder / "a.h5", *samples())
    whole = (folder / "a.h5").read_bytes()
    for size in (0, 20, len(whole) // 2):
        (folder / "a.h5").write_bytes(whole[:size])
        with pytest.raises(UserError, match="is damaged or not an HDF5 file"):
            open_dataset(source)


def test_without_h5py(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"")
    code = (
        "import sys; sys.modules['h5py'] = None\n"
        "from mpitrain.cli.main import main\n"
        f"sys.exit(main(['data', 'check', 'hdf5:{tmp_path}/a.h5']))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 2
    assert "HDF5 files are read by h5py" in ran.stderr
    assert "pip install 'mpitrain[hdf5]'" in ran.stderr
