"""Image files for a trained model, in the shape that it was trained on."""

import numpy as np
import pytest

from mpitrain.data import open_dataset
from mpitrain.data.matching import pieces
from mpitrain.data.matching.rows import as_trained, open_rows, open_samples
from mpitrain.data.matching.signature import Signature
from mpitrain.errors import UserError
from tests.unit.images_source.pets import write


def test_for_a_trained_model(tmp_path, pets):
    data = open_dataset(f"images:{pets},size=4x6,channels=1,fit=stretch")
    signature = Signature.of(data, source=f"images:{pets},size=4x6,channels=1,fit=stretch,test=x,labels=y")
    write(tmp_path / "new" / "dog" / "b.png", (100, 0, 0), size=(30, 20))
    write(tmp_path / "new" / "dog" / "a.png", (100, 0, 0))
    assert as_trained("images:new", signature) == "images:new,size=4x6,channels=1,fit=stretch"
    rows = open_rows("images:new", signature)
    assert (rows.split, len(rows), rows.parts[0].x.shape[1:]) == ("all", 2, (4, 6, 1))
    assert rows.parts[0].y.tolist() == [1, 1]
    found = open_samples("images:new/dog", signature)
    assert (found.files, found.split, found.total) == (("a.png", "b.png"), "all", 2)
    assert open_samples("images:new", signature).files == ("dog/a.png", "dog/b.png")
    write(tmp_path / "new" / "fox" / "b.png")
    with pytest.raises(UserError, match="a class that the model does not know: 'fox'"):
        open_rows("images:new", signature)
    automatic = Signature.of(open_dataset(f"images:{pets}"), source=f"images:{pets}")
    assert as_trained("images:new", automatic) == "images:new,size=8x10,channels=3"
    assert as_trained("digits", automatic) == "digits"


def test_names_of_files_in_pieces_have_one_type(tmp_path, pets, monkeypatch):
    """Later names are longer: arrays that grow piece by piece would cut them."""
    monkeypatch.setattr(pieces, "LEAST", 1)
    (pets / "dog" / "5.png").rename(pets / "dog" / "a longer name.png")
    signature = Signature.of(open_dataset(f"images:{pets}"), source=f"images:{pets}")
    found = pieces.open_pieces(f"images:{pets}", signature, lambda x: 4)
    files = [found.files(number) for number in range(len(found))]
    assert len(files) == 5
    assert len({part.dtype for part in files}) == 1
    assert np.concatenate(files).tolist() == list(open_samples(f"images:{pets}", signature).files)
