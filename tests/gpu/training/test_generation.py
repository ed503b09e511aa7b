"""Generation on what stands for a GPU, beside that on the CPU."""

import numpy as np
import pytest

from mpitrain import Arena, models
from mpitrain.generation import NextToken
from tests.gpu.device import ShimDevice

V, T = 11, 12


@pytest.mark.parametrize(("precision", "end_of_text"), [("fp32", None), ("fp32", 3), ("tf32", 3)])
@pytest.mark.parametrize(
    "text", ["gpt:depth=2,width=16,heads=2", "llama:depth=2,width=16,heads=4,hidden=24,kv_heads=2"]
)
def test_logits_are_those_of_the_cpu(text, precision, end_of_text):
    predict, gpu = [], ShimDevice()
    gpu.precision = precision
    for device in ({}, {"device": gpu}):
        model = models.build(text, (T,), V, end_of_text=end_of_text)
        Arena(model, seed=0, **device)
        predict.append(NextToken(model, window=8, **device))
    assert predict[1].caches
    tokens = [*np.random.default_rng(1).integers(4, V, 6).tolist(), 3, 7, 8, 9, 1, 2, 4, 5, 6, 7]
    for length in (1, 2, 5, 7, 8, 9, 10, 16):
        expected, found = (each(tokens[:length]).copy() for each in predict)
        rounding = 1 if precision == "fp32" else 100
        np.testing.assert_allclose(found, expected, rtol=1e-4 * rounding, atol=1e-5 * rounding, err_msg=str(length))
    assert gpu.launches["attention_decode"], "one token after the others"
    assert bool(gpu.launches["attention_mma"]) == (precision == "tf32"), "several tokens at once"
