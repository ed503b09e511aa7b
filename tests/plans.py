"""Models, machines and estimators that the tests of planning share."""

import dataclasses

from mpitrain.models import Codes, build
from mpitrain.models.outline import describe
from mpitrain.planning import PRECISIONS, Estimator, Level, Machine, Product, Speed, Unit
from mpitrain.planning.estimate import Work

MIXED = PRECISIONS["mixed"]
NODE = Level("node", 8, 2e-6, 100e9, 100e9)
NETWORK = Level("network", 0, 5e-6, 10e9, 10e9)
MACHINE = Machine(
    "two levels",
    {"fp32": Speed(2e12, 1e12), "bf16": Speed(4e12, 2e12)},
    16e9,
    1e12,
    (NODE, NETWORK),
    half=0.0,
    call=0.0,
)

FLAT = dataclasses.replace(MACHINE, name="one level", levels=(Level("network", 0, 0.0, 1e9, 1e9),), overlap=0.0)


def korthikanti(s, h, a, vocabulary=51200):
    """A block with the activations of the paper, in elements of 16 bits: s h (34 + 5 a s / h) bytes for a sample.

    Of the 34, 10 are outside of the products (norms, dropout, inputs) and 24 inside, as is the part of attention.
    """
    return Unit(
        "block",
        products=(Product(s, h, h),),
        kept=10 * s * h / 2,
        kept_cut=(24 * s * h + 5 * a * s * s) / 2,
        output=s * h,
        heads=a,
        length=s,
    )


def gpt3(**more):
    model = build("gpt:depth=96,width=12288,heads=96", (2048,), 50257, codes=Codes(50257))
    return describe(model, (2048,), "gpt3", tokens=True, **more)


def gpt(size="gpt2", tokens=1024):
    return describe(build(f"gpt:size={size}", (tokens,), 50257, codes=Codes(50257)), (tokens,), size, tokens=True)


def estimators(model, machine, batch, precision="fp32", slots=2.0):
    work = Work(batch, PRECISIONS[precision], slots)
    return Estimator(model, machine, work), Estimator(model, machine, work, exact=True)
