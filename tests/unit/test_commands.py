"""The commands: their help, their names, and what is suggested for others."""

import re
import subprocess
import sys

import pytest

from mpitrain.cli.commands import COMMANDS, module_of
from mpitrain.cli.fields import _help, list_options
from mpitrain.cli.main import main
from mpitrain.cli.train import TrainOptions

FAMILIES = {name: module.SUBCOMMANDS for name in COMMANDS if hasattr(module := module_of(name), "SUBCOMMANDS")}
LEAVES = [
    [name, *rest] for name in COMMANDS for rest in ([[word] for word in FAMILIES[name]] if name in FAMILIES else [[]])
]


FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def boxed(out):
    """Return the lines in the boxes of a help text, whose borders are blanks where the output is not UTF-8."""
    return [line[2:].rstrip() for line in out.splitlines() if line.startswith("  ")]


def run(capsys, *argv):
    code = main(list(argv))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["help"]])
def test_help_lists_every_command_first(capsys, argv):
    code, out, _ = run(capsys, *argv)
    assert code == 0
    before = out[: out.index("usage: mpitrain train")]
    assert all(re.search(rf"^  {name} +[A-Z]", before, re.M) for name in COMMANDS)
    assert "kernel" in COMMANDS
    assert "--epochs" in out


def test_help_of_a_family_lists_its_commands(capsys):
    for name, inside in FAMILIES.items():
        for argv in ([name], [name, "--help"], ["help", name]):
            code, out, _ = run(capsys, *argv)
            assert code == 0
            assert all(re.search(rf"^  {word} +[A-Z]", out, re.M) for word in inside)


@pytest.mark.parametrize("argv", LEAVES, ids=" ".join)
def test_help_reads_well(capsys, argv):
    code, out, _ = run(capsys, *argv, "--help")
    assert code == 0
    assert "``" not in out
    assert "{None}" not in out
    assert "(default: )" not in out
    assert max(map(len, boxed(out))) <= 78
    assert run(capsys, "help", *argv)[1] == out


@pytest.mark.parametrize("argv", LEAVES, ids=" ".join)
def test_options_for_completion_are_those_of_the_help(capsys, argv):
    from mpitrain.cli.completion import find_places

    flags = {flag for option in find_places()[" ".join(argv)].options for flag in option.flags}
    out = run(capsys, *argv, "--help")[1]
    invocations = [re.split(r"(?<=\S)  ", line)[0] for line in boxed(out) if line.startswith("-")]
    assert flags | {"-h", "--help"} == {word for line in invocations for word in re.findall(FLAG, line)}


def test_lines_of_the_help_end_where_the_box_ends(capsys):
    """The breaks of docstrings are not those of the help: a line ends where the next word does not fit."""
    _, out, _ = run(capsys, "train", "--help")
    texts = [option for option in list_options(TrainOptions) if len(option.help) > 150]
    assert len(texts) > 5
    lines = boxed(out)
    for option in texts:
        start = next(i for i, line in enumerate(lines) if re.match(rf"{option.flags[0]}\b", line))
        column = re.match(rf"(.*?  +)?{re.escape(option.help.split()[0])}", lines[start])
        first = start if column and option.help.split()[0] in lines[start] else start + 1
        shown, words = [], option.help.split()
        for line in lines[first:]:
            taken = 0
            while taken < len(words) and " ".join(words[: taken + 1]) in " ".join(line.split()):
                taken += 1
            if not taken:
                break
            rest = words[taken:]
            shown += words[:taken]
            if rest:
                assert len(line) + 1 + len(rest[0]) > 76, f"{option.flags[0]}: {line!r} has room"
            words = rest
        assert " ".join(shown) == option.help


def test_docstrings_of_inherited_fields_are_found():
    assert _help(TrainOptions, "dry_run").startswith("Print the layers")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian"], "there is no command 'trian' (did you mean 'train'?); there are train, find-lr, "),
        (["evalute"], "(did you mean 'evaluate'?)"),
        (["collectve", "list"], "(did you mean 'collective'?)"),
        (["bench"], "(did you mean 'collective bench' or 'kernel bench'?)"),
        (["price"], "(did you mean 'collective price' or 'pipeline price'?)"),
        (["qqq"], "there is no command 'qqq'; there are"),
        (["collective", "prise"], "there is no collective command 'prise' (did you mean 'price'?); there are list, "),
        (["kernel", "bild"], "(did you mean 'build'?)"),
        (["help", "trian"], "(did you mean 'train'?)"),
        (["-n"], "-n needs a number of ranks"),
        (["-n", "many"], "-n is 'many', but must be a number of ranks"),
        (["-n0"], "-n is '0', but must be a number of ranks"),
        (["-n", "4", "collective", "show", "ring"], "collective show runs in one process: leave out -n 4 before it"),
    ],
)
def test_mistakes_name_what_was_meant(capsys, argv, message):
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["[/red]", "[bold]x", ":smile:", "--[/red]"])
def test_mistakes_show_names_as_they_are(capsys, name):
    for argv in ([f"x{name}"], ["--epochs", name], ["--nothing", name], ["collective", f"x{name}"]):
        code, out, err = run(capsys, *argv)
        assert (code, out) == (2, "")
        assert name in err, argv


def test_help_is_quick():
    """Less than a CPU second, of which about 0.4 are usual: imports are what it costs."""
    program = "import sys; from mpitrain.cli.main import main; sys.exit(main(['--help']))"
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5
