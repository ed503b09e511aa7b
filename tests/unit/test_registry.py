"""The one grammar of names: NAME:key=value and FILE.py:FUNC, for models, optimizers, schedules and losses."""

import functools
import re
import textwrap
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpitrain import losses, models, optim, user_code, user_file
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.layers import Layer, Linear
from mpitrain.option_values import format_value, parse_value
from mpitrain.registry import REGISTRIES, Later, Registry, short_name
from scripts.make_names import PAGE, page


def thing(
    size,
    *,
    count: int = 3,
    rate: float = 0.5,
    name: str = "a",
    on: bool = False,
    widths: tuple[int, ...] = (4,),
    betas: tuple[float, float] = (0.9, 0.999),
    mode: Literal["x", "y"] = "x",
    limit: float | None = None,
    tags: Sequence[str] = (),
    inner: str = "chain",
    bare=7,
):
    """A thing.

    More about it.
    """
    return dict(locals())


@pytest.fixture
def things():
    registry = Registry("thing", {"thing": thing, "half-done": functools.partial(thing, count=1)}, arguments=("size",))
    yield registry
    del REGISTRIES["thing"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("thing", {}),
        ("thing:", {}),
        ("thing:count=5", {"count": 5}),
        ("thing:rate=1e-3,name=b c", {"rate": 1e-3, "name": "b c"}),
        ("thing:on=true", {"on": True}),
        ("thing:on=False", {"on": False}),
        ("thing:widths=256+128", {"widths": (256, 128)}),
        ("thing:widths=", {"widths": ()}),
        ("thing:betas=0.8+1e+0", {"betas": (0.8, 1.0)}),
        ("thing:mode=y", {"mode": "y"}),
        ("thing:limit=none", {"limit": None}),
        ("thing:limit=2", {"limit": 2.0}),
        ("thing:tags=a+b", {"tags": ("a", "b")}),
        ("thing:inner=ring(segments=2,root=1),count=2", {"inner": "ring:segments=2,root=1", "count": 2}),
        ("thing:inner=a(b=c(d=1))", {"inner": "a:b=c(d=1)"}),
        ("thing:bare=9", {"bare": 9}),
        ("half_done", {"count": 1}),
        ("half-done:count=2", {"count": 2}),
    ],
)
def test_texts(things, text, expected):
    found = things.make(text, 10)
    assert {key: found[key] for key in expected} == expected
    assert {k: type(v) for k, v in found.items() if k in expected} == {k: type(v) for k, v in expected.items()}
    assert found["size"] == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thign", "there is no thing 'thign'; did you mean 'thing'? there are thing, half-done, and FILE.py:FUNC"),
        ("zzz", "there is no thing 'zzz'; there are thing"),
        ("thing:cuont=1", "the thing 'thing' has no option 'cuont'; did you mean 'count'? it has count, rate"),
        ("thing:count", "takes options as key=value, not 'count'"),
        ("thing:count=1,count=2", "is given count twice"),
        ("thing:count=1.5", "count is '1.5', but must be a whole number"),
        ("thing:rate=fast", "rate is 'fast', but must be a number"),
        ("thing:on=1", "on is '1', but must be true or false"),
        ("thing:mode=z", "mode is 'z', but must be one of x, y"),
        ("thing:widths=1x2", r"widths is '1x2', but must be whole values, such as 1\+2"),
        ("thing:betas=0.9", r"betas is '0.9', but must be 2 number values, such as 0.1\+0.2"),
        ("thing:limit=x", "limit is 'x', but must be a number or none"),
        ("mine.py", "a thing of your own is FILE.py:FUNC, with the name of a function, not 'mine.py'"),
        ("mine.py:1", "a thing of your own is FILE.py:FUNC"),
        ("nowhere.py:f", "there is no file nowhere.py"),
    ],
)
def test_mistakes(things, text, message):
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        things.make(text, 10)


def test_options_of_the_text_go_first(things):
    found = things.make("thing:count=2", 10, count=9, rate=0.1)
    assert (found["count"], found["rate"]) == (2, 0.1)
    with pytest.raises(UserError, match="the thing 'thing' has no option 'speed'"):
        things.make("thing", 10, speed=1)


def test_the_table_for_help(things):
    name, options, doc = things.rows()[0]
    assert (name, doc) == ("thing", "A thing.")
    assert options.startswith("count=3,rate=0.5,name=a,on=false,widths=4,betas=0.9+0.999,mode=x,limit=none,tags=,")


def test_every_registry_has_a_table():
    assert {"model", "optimizer", "schedule", "loss"} <= set(REGISTRIES)
    for registry in REGISTRIES.values():
        for name, options, doc in registry.rows():
            assert doc, name
            given = ",".join(option for option in options.split(",") if "=" in option)  # not those without a default
            registry.find(f"{name}:{given}" if given else name)  # defaults are written as they are read


numbers = st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans())


@given(st.one_of(numbers, st.lists(st.integers()), st.lists(st.floats(allow_nan=False), min_size=1)))
def test_what_is_written_is_read(value):
    item = type(value[0]) if isinstance(value, list) and value else int
    kind = tuple[item, ...] if isinstance(value, list) else type(value)
    found = parse_value(format_value(value), kind)
    assert found == (tuple(value) if isinstance(value, list) else value)


def test_names_for_files():
    assert short_name("mlp") == "mlp"
    assert short_name("some/where.py:net:depth=2") == "net"


def write(folder, text, name="mine.py"):
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return path


MINE = """
    import numpy as np
    from mpitrain.arena import Parameter
    from mpitrain.layers import Flatten, Layer, Linear, ReLU, Sequential, init
    from mpitrain.losses import Loss, Totals
    from mpitrain.optim import Optimizer


    class Scale(Layer):
        def __init__(self, size):
            self.factor = Parameter((size,), init.ones)

        def forward(self, x, ctx):
            ctx[self] = x
            y = ctx.empty(self, "y", x.shape)
            np.multiply(x, self.factor.data, out=y)
            return y

        def backward(self, dy, ctx):
            x = ctx[self]
            self.factor.grad[...] = (x * dy).sum(axis=0) + self.factor.accumulate * self.factor.grad
            self.factor.written()
            return dy * self.factor.data


    def net(input_shape, num_outputs, *, width: int = 8):
        size = int(np.prod(input_shape))
        return Sequential(Flatten(), Linear(size, width), Scale(width), ReLU(), Linear(width, num_outputs))


    class Signed(Optimizer):
        def __init__(self, arena, *, strength: float = 1.0, weight_decay: float = 0.0):
            super().__init__(arena, weight_decay=weight_decay)
            self.strength = strength

        def update(self, block, lr, scale):
            block.w[...] -= lr * self.strength * np.sign(block.grad)


    def sawtooth(lr, total_steps, warmup_steps, period: int = 5):
        return lambda step: lr * (1 - step % period / period)


    class Absolute(Loss):
        def forward(self, outputs, targets, ctx):
            ctx[self] = outputs - targets
            return Totals(outputs.size, float(np.abs(ctx[self]).sum()), 0.0)

        def backward(self, ctx):
            return np.sign(ctx[self])


    def nothing(input_shape, num_outputs):
        return None


    def broken(input_shape, num_outputs):
        return 1 / 0


    def narrow(input_shape):
        return None
"""


def test_a_users_own_things_train(tmp_path):
    """A layer, model, optimizer, schedule and loss in one file of a user: nothing of the package is edited."""
    path = write(tmp_path, MINE)
    model = models.build(f"{path}:net:width=16", (2, 2), 1)
    assert [name for name, _ in model.running()] == ["0", "1", "2", "3", "4"]
    arena = Arena(model.named_parameters(), seed=1)
    assert "2.factor" in arena.named_tensors()
    optimizer = optim.build(f"{path}:Signed:strength=0.5", arena)
    rate = optim.schedule(f"{path}:sawtooth:period=4", lr=0.01, total_steps=60)
    loss, ctx, rng = losses.LOSSES.make(f"{path}:Absolute"), Context(), np.random.default_rng(0)
    x = rng.standard_normal((32, 2, 2)).astype(np.float32)
    targets, found = x.sum(axis=(1, 2))[:, None], []
    for step in range(60):
        arena.begin_step()
        found.append(loss.forward(model.forward(x, ctx), targets, ctx).loss)
        model.backward(loss.backward(ctx), ctx)
        optimizer.step(rate(step), 1 / 32)
    assert found[-1] < 0.5 * found[0]
    assert optimizer.strength == 0.5
    assert rate(5) == pytest.approx(0.0075)


def test_a_file_is_loaded_once(tmp_path):
    path = write(tmp_path, MINE)
    first, second = (models.MODELS.find(f"{path}:net")[0] for _ in range(2))
    assert first is second
    write(tmp_path, MINE.replace("width: int = 8", "width: int = 9"))
    assert models.MODELS.find(f"{path}:net")[0] is not first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nte", r"has no function 'nte'; did you mean 'net'\? it has Scale, net, Signed"),
        ("nothing", "must return a Layer, but it returned a NoneType"),
        ("broken", r"mine.py:broken failed: ZeroDivisionError: division by zero \(line \d+\)"),
        ("narrow", r"narrow in .*mine.py must take \(input_shape, num_outputs\), as every model does"),
        ("net:width=wide", "width is 'wide', but must be a whole number"),
        ("net:depth=3", "has no option 'depth'; it has width"),
        ("sawtooth", r"sawtooth"),
    ],
)
def test_mistakes_in_a_users_file(tmp_path, text, message):
    path = write(tmp_path, MINE)
    with pytest.raises(UserError, match=message):
        models.build(f"{path}:{text}", (2, 2), 1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f(:\n", r"mine.py, line 1: "),
        ("\nimport nowhere_to_be_found\n", r"cannot be loaded: ModuleNotFoundError: .*\(line 2\)"),
        ("import sys\nsys.exit(0)\n", r"cannot be loaded: sys\.exit\(\) \(line 2\)"),
    ],
)
def test_a_file_that_cannot_be_loaded(tmp_path, source, message):
    path = write(tmp_path, source)
    with pytest.raises(UserError, match=message):
        models.build(f"{path}:f", (2, 2), 1)


@pytest.mark.parametrize(
    ("error", "text"), [("raise RuntimeError(1)", "RuntimeError: 1"), ("raise SystemExit(1)", "sys.exit()")]
)
def test_the_line_of_a_function_that_fails_in_a_relative_path(tmp_path, monkeypatch, error, text):
    write(tmp_path, f"def net(shape, outputs):\n    {error}\n", "relative.py")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"^relative.py:net failed: {re.escape(text)} .line 2.$"):
        models.build("relative.py:net", (2,), 1)


def test_a_required_option(tmp_path):
    path = write(tmp_path, "def net(shape, outputs, *, width: int):\n    raise AssertionError(width)\n")
    with pytest.raises(UserError, match=r"the model '.*mine\.py:net' needs width=WIDTH"):
        models.build(f"{path}:net", (2,), 1)


def test_texts_and_keywords_give_the_same():
    text = models.build("mlp:widths=6+5,activation=tanh,dropout=0.25", (3,), 2)
    keywords = models.build("mlp", (3,), 2, widths=(6, 5), activation="tanh", dropout=0.25)
    for a, b in zip(text.layers(), keywords.layers(), strict=True):
        assert type(a) is type(b)
    assert [p.shape for _, p in text.named_parameters()] == [p.shape for _, p in keywords.named_parameters()]
    arena = Arena(Linear(2, 2).named_parameters())
    adam = optim.build("adamw:beta1=0.8,beta2=0.99,eps=1e-6", arena, weight_decay=0.1)
    assert (adam.betas, adam.eps, adam.weight_decay) == ((0.8, 0.99), 1e-6, 0.1)
    assert isinstance(losses.LOSSES.make("cross-entropy:label_smoothing=0.1"), losses.SoftmaxCrossEntropy)


def test_registering(things):
    things.register("other", lambda size: size)
    assert things.make("other", 3) == 3
    with pytest.raises(ValueError, match="already"):
        things.register("other", thing)
    assert list(things) == ["thing", "half-done", "other"]
    assert isinstance(models.build("convnet", (8, 8, 1), 2), Layer)
    assert not Path("nowhere.py").exists()


def test_the_page_of_names_is_current():
    assert page(PAGE.read_text()) == PAGE.read_text(), "run: python scripts/make_names.py"


def test_a_file_that_does_not_end(tmp_path, monkeypatch):
    monkeypatch.setattr(user_file, "SECONDS", 0.3)
    monkeypatch.setattr(user_code, "TICK", 0.1)
    path = write(tmp_path, "while True:\n    pass\n")
    with pytest.raises(UserError, match=r"mine\.py, line [12]: it has been loading for 0 s; does the loop there end"):
        models.build(f"{path}:f", (2, 2), 1)


def test_functions_that_are_imported_when_they_are_used():
    made = Registry("late thing", {"half": Later("fractions", "Fraction", denominator=2)}, ("numerator",))
    assert made.names() == ["half"]
    assert made.make("half", 3) == Fraction(3, 2)
    assert made.make("half", 3, denominator=4) == Fraction(3, 4)
    assert made.find("half")[0] is made.find("half")[0]
    REGISTRIES.pop("late thing")
