"""A trained model's reading of other csv files: options are inherited, columns and classes found by name."""

import dataclasses

import pytest

from mpitrain.data.matching.rows import open_rows, open_samples
from mpitrain.data.matching.signature import Signature
from mpitrain.data.sources import absolute_source, inherit_options
from mpitrain.errors import UserError

CLASSES = Signature("classification", (2,), 2, ("n", "p"), ("a", "b"), "y")
NUMBERS = dataclasses.replace(CLASSES, task="regression", num_outputs=1, class_names=())


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text, name="new.csv", encoding="utf-8"):
        (tmp_path / name).write_bytes(text.encode(encoding))
        return f"csv:{name}"

    return write


def trained(signature, options):
    """Return ``signature`` as that of a run on a file with ``options``, which is no longer there."""
    return dataclasses.replace(signature, source=f"csv:gone.csv{options}", absolute_source=f"csv:/gone.csv{options}")


@pytest.mark.parametrize(
    ("options", "header", "row"),
    [
        (",target=y,decimal=comma", "a;b;y", "1,5;-2;7,25"),
        (",target=y,decimal=comma,thousands=point", "a;b;y", "1,5;-2;7,25"),
        (",target=y,sep=pipe", "a|b|y", "1.5|-2|7.25"),
        (",target=y,strip=$%", "a,b,y", "$1.5,-2%,$7.25"),
        (",target=y,drop=id", "id,a,b,y", "x9,1.5,-2,7.25"),
        (",target=y,drop=id,drop=other", "id,a,b,y", "x9,1.5,-2,7.25"),  # a column to drop need not be there
        (",target=y,encoding=latin-1", "ä,a,b,y", "ö,1.5,-2,7.25"),
        (",target=y,test=gone-as-well.csv", "a,b,y", "1.5,-2,7.25"),
    ],
)
def test_options_of_the_trained_file(write, options, header, row):
    source = write(f"{header}\n{row}\n", encoding="latin-1" if "latin-1" in options else "utf-8")
    signature = trained(NUMBERS, options)
    (part,) = open_rows(source, signature).parts
    assert (part.x.tolist(), part.y.tolist()) == ([[1.5, -2]], [[7.25]])
    assert open_samples(source, signature).parts[0].x.tolist() == [[1.5, -2]]


def test_samples_need_no_target(write):
    signature = trained(NUMBERS, ",target=y,decimal=comma")
    assert open_samples(write("b;a\n2,5;1\n"), signature).parts[0].x.tolist() == [[1, 2.5]]
    with pytest.raises(UserError, match="no column 'y', which the model predicts"):
        open_rows("csv:new.csv", signature)


def test_given_options_go_before_inherited_ones(write):
    signature = trained(NUMBERS, ",target=y,decimal=comma,thousands=point")
    source = write("a,b,y\n1.5,-2,7.25\n") + ",decimal=point"
    (part,) = open_rows(source, signature).parts
    assert (part.x.tolist(), part.y.tolist()) == ([[1.5, -2]], [[7.25]])
    with pytest.raises(UserError, match=r"the model predicts 'y', but the target of new.csv is 'a'"):
        open_rows("csv:new.csv,decimal=point,target=a", signature)


def test_missing_words_are_inherited(write):
    signature = trained(CLASSES, ",target=y,na=-999")
    source = write("a,b,y\n1,2,n\n3,-999,p\n")
    with pytest.raises(UserError, match=r"1 missing value, the first in column 'b' on line 3 .'-999'."):
        open_rows(source, signature)
    assert len(open_rows(source + ",na=?", signature)) == 2


def test_a_column_that_the_model_needs_is_not_dropped(write):
    with pytest.raises(UserError, match="drop= leaves out column 'b', which the model was trained on"):
        open_rows(write("a,b,y\n1,2,n\n") + ",drop=b", CLASSES)


def test_the_index_of_a_data_frame_is_no_extra_column(write):
    rows = open_rows(write(",a,b,y\n0,1,2,n\n1,3,4,p\n"), CLASSES)
    assert (rows.parts[0].x.tolist(), rows.notes) == ([[1, 2], [3, 4]], ())


@pytest.mark.parametrize(
    ("names", "cells", "classes"),
    [
        (("1", "2"), ["2.0", "1.0"], [1, 0]),  # as data frames write integers beside missing values
        (("1", "2"), ["+2"], [1]),
        (("1", "01"), ["01", "1"], [1, 0]),
        (("12345678901234567890", "12345678901234567891"), ["12345678901234567891"], [1]),
        (("EU", "NA"), ["NA", "NA", "EU"], [1, 1, 0]),
        (("EU", "NA"), ["NA"], [1]),  # a column of nothing else is no column of missing values
        (("x", "True"), ["True"], [1]),
    ],
)
def test_classes_by_their_exact_text(write, names, cells, classes):
    source = write("a,b,y\n" + "".join(f"1,2,{cell}\n" for cell in cells))
    assert open_rows(source, dataclasses.replace(CLASSES, class_names=names)).parts[0].y.tolist() == classes


def test_unknown_classes(write):
    signature = dataclasses.replace(CLASSES, class_names=("1", "2"))
    with pytest.raises(UserError, match=r"that the model does not know: '03' \(line 3\), 'NA' \(line 4\)"):
        open_rows(write("a,b,y\n1,2,1\n1,2,03\n1,2,NA\n"), signature)


def test_several_targets(write):
    names = ("u", "v, w")
    one_hot = trained(dataclasses.replace(CLASSES, class_names=names, target_name="u,v, w"), ",target=u,v, w")
    source = write('a,u,b,"v, w"\n1,0,2,1\n3,1,4,0\n')
    (part,) = open_rows(source, one_hot).parts
    assert (part.x.tolist(), part.y.tolist()) == ([[1, 2], [3, 4]], [1, 0])
    values = dataclasses.replace(one_hot, task="regression", num_outputs=2, class_names=())
    assert open_rows(source, values).parts[0].y.tolist() == [[0, 1], [1, 0]]
    assert open_samples(source, values).notes == ()


def test_a_test_file(write):
    source = write("a,b,y\n1,2,n\n3,4,p\n") + ",test=more.csv"
    write("y,b,a\np,6,5\n", "more.csv")
    rows = open_rows(source, CLASSES)
    assert (rows.parts[0].x.tolist(), rows.parts[0].y.tolist(), rows.split, rows.total) == ([[5, 6]], [1], "test", 3)
    assert [len(part) for part in open_rows(source, CLASSES, "all").parts] == [2, 1]
    assert open_rows(source, CLASSES, "train").parts[0].y.tolist() == [0, 1]
    assert open_samples(source, CLASSES).parts[0].x.tolist() == [[5, 6]]
    with pytest.raises(UserError, match="has no validation split, only train and test"):
        open_rows(source, CLASSES, "validation")
    with pytest.raises(UserError, match="has no test split of its own"):
        open_rows("csv:new.csv", CLASSES, "test")


def test_sources_with_inherited_options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    earlier = "csv:old.csv,target=price, net,drop=id,drop=n,sep=;,test=t.csv"
    assert inherit_options("csv:a,b.csv", earlier) == "csv:a,b.csv,target=price, net,drop=id,drop=n,sep=;"
    assert inherit_options("csv:new.csv,drop=x,sep=,", earlier) == "csv:new.csv,drop=x,sep=,,target=price, net"
    assert inherit_options(earlier, earlier) == earlier
    for source in ("csv:new.csv", "digits", "npz:f.npz"):
        assert inherit_options(source, "digits") == inherit_options(source, "") == source
    assert inherit_options("npz:f.npz", earlier) == "npz:f.npz"
    expected = f"csv:{tmp_path}/old.csv,target=price, net,drop=id,drop=n,sep=;,test={tmp_path}/t.csv"
    assert absolute_source(earlier) == absolute_source(expected) == expected
