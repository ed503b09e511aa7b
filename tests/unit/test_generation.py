"""Generation: a cache changes no result, texts longer than the window, draws."""

import itertools

import numpy as np
import pytest

from mpitrain import Arena, generate, models
from mpitrain.context import Context
from mpitrain.data.rng import SAMPLING, random_bits
from mpitrain.errors import UserError
from mpitrain.generation import NextToken, Sampling
from mpitrain.key_value_cache import KeyValueCache
from mpitrain.layers import MultiHeadAttention, Sequential, TiedHead, TokenEmbedding
from mpitrain.layers.base import Layer
from tests import transformer_formulas as formulas

V, T = 11, 100
GPT, LLAMA = "gpt:depth=2,width=16,heads=2", "llama:depth=2,width=16,heads=4,hidden=24,kv_heads=2"
MODELS = [GPT, LLAMA, f"{LLAMA},tied=false,base=100", f"{GPT},experts=4,every=2", f"{LLAMA},experts=4"]


def bound(text, dtype=np.float32, length=T, **options):
    """Return a model with random weights, large enough that tokens matter, and these by name in float64."""
    model = models.build(text, (length,), V, **options)
    arena = Arena(model, seed=0, dtype=dtype)
    rng = np.random.default_rng(0)
    for p in arena.parameters:
        p.data += (0.3 * rng.standard_normal(p.shape)).astype(p.data.dtype)
        if p.shape == (length, 16):  # the learned positions: otherwise a token mostly predicts itself
            p.data *= 6
    return model, {name: array.astype(np.float64) for name, array in arena.named_tensors().items()}


def formula_of(text, w, end_of_text=None):
    if text.startswith("gpt"):
        return lambda tokens: formulas.gpt(w, np.array(tokens), 2, 2, end_of_text)
    base = 100 if "base" in text else 10000
    return lambda tokens: formulas.llama(w, np.array(tokens), 2, 4, 2, base, end_of_text)


@pytest.mark.parametrize("text", MODELS)
def test_tokens_are_those_of_the_formula_in_float64(text):
    """Greedy tokens over more than one capacity of the cache (64), after prompts of several lengths."""
    model, w = bound(text)
    formula, said = formula_of(text, w), set()
    for length in (1, 2, 63):
        prompt = np.random.default_rng(length).integers(0, V, length).tolist()
        found = list(generate(model, prompt, 30, Sampling(temperature=0)))
        tokens = list(prompt)
        for _ in range(30):
            tokens.append(int(formula(tokens)[-1].argmax()))
        assert found == tokens[length:]
        said |= set(found)
    assert len(said) > 2, "the model says always the same"


@pytest.mark.parametrize("text", MODELS)
def test_logits_with_and_without_a_cache(text):
    model, w = bound(text)
    formula, tokens = formula_of(text, w), np.random.default_rng(5).integers(0, V, 90).tolist()
    cached, whole = NextToken(model), NextToken(model, cache=False)
    assert (cached.caches, whole.caches) == (True, False)
    for length in (1, 2, 3, 40, 41, 64, 65, 90):
        expected = formula(tokens[:length])[-1]
        np.testing.assert_allclose(cached(tokens[:length]), expected, rtol=1e-4, atol=1e-4, err_msg=str(length))
        np.testing.assert_allclose(whole(tokens[:length]), expected, rtol=1e-4, atol=1e-4, err_msg=str(length))
    other = [*tokens[:10], *tokens[20:40]]  # not a continuation of what is in the cache
    np.testing.assert_allclose(cached(other), formula(other)[-1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(cached(other), formula(other)[-1], rtol=1e-4, atol=1e-4)  # the same text again
    longer = tokens[:31]  # not a continuation either, although it is longer
    np.testing.assert_allclose(cached(longer), formula(longer)[-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("text", MODELS[:2])
def test_a_model_with_adapters_has_a_cache(text):
    model = models.add_lora(models.build(text, (T,), V), "rank=2,dropout=0.1")
    arena = Arena(model, seed=0)
    rng = np.random.default_rng(0)
    for p in arena.parameters:
        p.data += (0.3 * rng.standard_normal(p.shape)).astype(p.data.dtype)
    tokens = rng.integers(0, V, 70).tolist()
    cached, whole = NextToken(model), NextToken(model, cache=False)
    assert cached.caches
    for length in (1, 3, 64, 65, 70):
        np.testing.assert_allclose(cached(tokens[:length]), whole(tokens[:length]), rtol=1e-4, atol=1e-4)


def test_a_step_computes_one_token():
    model, _ = bound(GPT)
    shapes = []
    stop = model.observe(lambda layer, phase, array: phase == "output" and shapes.append(array.shape))
    predict = NextToken(model)
    predict([1, 2, 3])
    stop()
    assert {shape[:2] for shape in shapes if len(shape) == 3} == {(1, 3)}
    shapes.clear()
    stop = model.observe(lambda layer, phase, array: shapes.append(array.shape))
    predict([1, 2, 3, 4])
    stop()
    assert {int(np.prod(shape[:-1])) for shape in shapes} == {1}


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("text", [GPT, LLAMA])
def test_a_text_longer_than_the_window(text, cache):
    """The beginning is cut off in steps of half a window."""
    model, w = bound(text, length=8)
    formula, tokens = formula_of(text, w), np.random.default_rng(6).integers(0, V, 30).tolist()
    predict = NextToken(model, window=8, cache=cache)
    starts = []
    for length in range(1, 31):
        start = next(start for start in range(0, 30, 4) if length - start <= 8)
        expected = formula(tokens[start:length])[-1]
        np.testing.assert_allclose(predict(tokens[:length]), expected, rtol=1e-4, atol=1e-4, err_msg=str(length))
        starts.append(start)
    assert starts[-1] == 24
    assert NextToken(bound(GPT, length=8)[0]).window == 8
    assert NextToken(bound(LLAMA, length=8)[0]).window == 0
    one = NextToken(model, window=1, cache=cache)
    np.testing.assert_allclose(one(tokens), formula(tokens[-1:])[-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("text", [GPT, LLAMA])
def test_texts_do_not_see_those_before_their_end(text, cache):
    end = 3
    model, w = bound(text, end_of_text=end)
    formula, predict = formula_of(text, w, end), NextToken(model, cache=cache)
    tokens = [1, 2, end, 4, 5, 6, end, 7, 8, end, end, 1]
    for length in range(1, len(tokens) + 1):
        expected = formula(tokens[:length])[-1]
        np.testing.assert_allclose(predict(tokens[:length]), expected, rtol=1e-4, atol=1e-4, err_msg=str(length))


def test_the_end_of_a_text_ends_it():
    model, _ = bound(GPT)
    free = list(generate(model, [1], 40, Sampling(seed=1)))
    end = free[10]
    found = list(generate(model, [1], 40, Sampling(seed=1), end_of_text=end))
    assert found == free[: free.index(end)]


class Reversed(Layer):
    """A layer of a user that mixes tokens: each gets the mean of all so far."""

    def forward(self, x, ctx):
        return np.cumsum(x, axis=1) / np.arange(1, x.shape[1] + 1)[:, None].astype(x.dtype)

    def backward(self, dy, ctx):
        raise NotImplementedError


def test_layers_that_mix_tokens_are_computed_anew():
    tokens = TokenEmbedding(V, 8, std=1.0)
    model = Sequential(tokens, Reversed(), TiedHead(tokens))
    Arena(model)
    predict = NextToken(model)
    assert not predict.caches
    predict([1])
    np.testing.assert_allclose(
        predict([1, 4]), tokens.weight.data[[1, 4]].mean(axis=0) @ tokens.weight.data.T, rtol=1e-5
    )


def test_what_is_refused():
    tokens = TokenEmbedding(V, 8, end_of_text=2)
    model = Sequential(tokens, MultiHeadAttention(8, 2), TiedHead(tokens))
    Arena(model)
    with pytest.raises(UserError, match="sees tokens after those that it predicts"):
        NextToken(model)
    ctx = Context(training=False)
    ctx.cache = KeyValueCache()
    with pytest.raises(UserError, match="not causal has no cache"):
        model.forward(np.array([[1]]), ctx)
    with pytest.raises(UserError, match="packed with several texts"):
        model.forward(np.array([[1, 2, 3]]), ctx)
    model, _ = bound(GPT, length=8)
    for window, message in ((9, "at most 8"), (-1, "0 .its own. or more")):
        with pytest.raises(UserError, match=message):
            NextToken(model, window=window)
    with pytest.raises(UserError, match="no token to continue"):
        NextToken(model)([])
    with pytest.raises(UserError, match="a token is 11"):
        NextToken(model)([11])
    ctx.cache.advance(8)
    with pytest.raises(UserError, match="a row has 9 tokens"):
        model.forward(np.array([[1]]), ctx)
    for wrong, message in (
        ({"temperature": -1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": -1}, "top-k"),
        ({"top_p": 0}, "top-p"),
        ({"top_p": 1.01}, "top-p"),
    ):
        with pytest.raises(UserError, match=message):
            Sampling(**wrong)
    with pytest.raises(UserError, match="NaN"):
        Sampling().draw(np.array([0, np.nan]), 0, 0)


LOGITS = np.log(np.array([0.05, 0.4, 0.1, 0.25, 0.2])).astype(np.float32)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, [0.05, 0.4, 0.1, 0.25, 0.2]),
        ({"temperature": 0.5}, np.array([0.05, 0.4, 0.1, 0.25, 0.2]) ** 2 / 0.275),
        ({"top_k": 2}, [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0]),
        ({"top_k": 99}, [0.05, 0.4, 0.1, 0.25, 0.2]),
        ({"top_p": 0.3}, [0, 1, 0, 0, 0]),
        ({"top_p": 0.6}, [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0]),
        ({"top_p": 0.7}, [0, 0.4 / 0.85, 0, 0.25 / 0.85, 0.2 / 0.85]),
        ({"top_k": 3, "top_p": 0.6}, [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0]),
        ({"temperature": 0}, [0, 1, 0, 0, 0]),
    ],
)
def test_frequencies_of_draws(how, expected):
    sampling, count = Sampling(**how, seed=3), 20_000
    draws = [sampling.draw(LOGITS, 1, position) for position in range(count)]
    found = np.bincount(draws, minlength=5) / count
    np.testing.assert_array_equal(found > 0, np.array(expected) > 0)
    np.testing.assert_allclose(found, expected, atol=4 * np.sqrt(0.25 / count))


def test_draws_of_other_seeds_prompts_and_positions_differ():
    flat = np.zeros(1 << 20, np.float32)
    draws = [Sampling(seed=s).draw(flat, n, p) for s, n, p in itertools.product(range(3), repeat=3)]
    assert len(set(draws)) == 27
    u = float(random_bits(np.array([2]), 0, SAMPLING, 1)[0] >> np.uint64(11)) * 2.0**-53
    assert Sampling().draw(flat, 1, 2) == int(u * (1 << 20))


def test_of_equal_tokens_the_first_are_kept():
    tokens, probabilities = Sampling(top_k=3).choices(np.array([1, 2, 1, 1, 2, 0], np.float32))
    assert tokens.tolist() == [1, 4, 0]
    assert probabilities.sum() == pytest.approx(1)
