import pytest

from mpitrain.data.tables import CsvOptions, parse_csv_source
from mpitrain.data.tables.options import hint_at_option, split_names
from mpitrain.errors import UserError


@pytest.mark.parametrize(
    ("text", "path", "options"),
    [
        ("f.csv", "f.csv", {}),
        ("f.csv,target=y", "f.csv", {"target": "y"}),
        ("a, b.csv,target=price, net", "a, b.csv", {"target": "price, net"}),
        ("f.csv,target=y,drop=id,drop=name, first,na=-999,?", "f.csv",
         {"target": "y", "drop": ("id", "name, first"), "na": ("-999", "?")}),
        ("f.csv,decimal=comma,thousands=point,strip=$ %,sep=semicolon", "f.csv",
         {"decimal": ",", "thousands": ".", "strip": "$%", "sep": ";"}),
        ("f.csv,sep=,,target=y", "f.csv", {"sep": ",", "target": "y"}),
        ("f.csv,sep=tab", "f.csv", {"sep": "\t"}),
        ("f.csv,decimal=,,target=y", "f.csv", {"decimal": ",", "target": "y"}),
        ("f.csv,encoding=latin-1,test=other, file.csv", "f.csv", {"encoding": "latin-1", "test": "other, file.csv"}),
        ("f.csv,na=", "f.csv", {"na": ("",)}),
        ("a,b=c.csv,target=y", "a,b=c.csv", {"target": "y"}),
    ],
)  # fmt: skip
def test_sources(text, path, options):
    assert parse_csv_source(text) == (path, CsvOptions(**options))


def test_a_file_whose_name_looks_like_an_option(tmp_path):
    path = tmp_path / "a,target=b.csv"
    path.write_text("x,y\n1,2\n")
    assert parse_csv_source(f"{path},target=y") == (str(path), CsvOptions(target="y"))
    assert parse_csv_source(str(path)) == (str(path), CsvOptions())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("targte=y", r"has no option 'targte' \(did you mean 'target'\?\), only target, drop, test"),
        ("colour=y", r"has no option 'colour', only target, drop"),
        ("target=a,target=b", "target= is given twice"),
        ("decimal=dot", "decimal= is one of point, comma, not 'dot'"),
        ("thousands=x", "thousands= is one of comma, point, space, apostrophe, not 'x'"),
        ("decimal=comma,thousands=comma", "decimal= and thousands= name the same sign"),
        ("sep=ab", "sep=ab is no separator"),
        ("sep=", "sep= is no separator"),
        ("strip=kg", "strip=kg may hold signs only"),
        ("encoding=utf-99", "there is no encoding 'utf-99'; common ones are"),
        ("encoding=zlib", "there is no encoding 'zlib'"),
    ],
)
def test_unfit_options(tmp_path, options, message):
    path = tmp_path / "f.csv"
    path.write_text("x,y\n1,2\n")
    with pytest.raises(UserError, match=message):
        parse_csv_source(f"{path},{options}")


def test_names_with_commas():
    assert split_names("a,b,c", ["a", "b", "c"]) == ["a", "b", "c"]
    assert split_names("a,b,c", ["a,b", "b,c", "c"]) == ["a,b", "c"]
    assert split_names(" a , x", ["a"]) == ["a", "x"]
    assert split_names("", ["a"]) == []


def test_a_misspelt_option_in_a_value():
    assert hint_at_option("y,dorp=id") == " (did you mean the option drop=?)"
    assert hint_at_option("price, net") == hint_at_option("f(x),y=2") == ""
