"""The kernels of memory_bound.py, with the loops that are counted."""

from typing import NamedTuple

class Case(NamedTuple):
    """A kernel and its parts, of which each is a loop or all of it.

    ``parts`` are (loads of 16 bytes, stores of 16 bytes, elements) of one turn; "shared" stands for loads from shared
    memory. With ``whole`` all of the kernel is one turn; ``more`` kinds of accesses are among those of a turn. ``moved`` and ``least`` are bytes for each element: those that
    it moves, and the inputs and outputs. ``most`` instructions are about a tenth above those of today; ``loads`` of 16
    bytes are under way in a thread, and ``blocks`` fit a multiprocessor for other reasons than registers.
    """

    file: str
    name: str
    macros: dict[str, int]
    parts: tuple[tuple[int | str, int, int], ...]
    moved: float
    least: float
    most: float
    threads: int = 256
    note: str = ""
    whole: bool = False
    loads: int = 0
    blocks: int = 32
    more: tuple[str, ...] = ()


BF16 = {"ELEMENT_BF16": 1}
NORM = BF16 | {"ROW_WARPS": 3}  # of 768 columns
CASES = [
    Case("softmax_cross_entropy", "softmax_cross_entropy", BF16 | {"ROW_WARPS": 16}, ((2, 0, 16), ("shared", 2, 16)), 4,
         4, 20, 512, "rows of 50257, kept in shared memory", blocks=2),
    Case("softmax_cross_entropy", "softmax_cross_entropy", {"ROW_WARPS": 16}, ((4, 0, 16), ("shared", 4, 16)), 8, 8,
         16.5, 512, "the same in fp32", blocks=1),
    Case("layernorm", "layernorm_forward", NORM, ((6, 2, 8),), 8, 8, 46, 96, "s = x + residual, y", True, loads=2),
    Case("layernorm", "layernorm_backward", NORM, ((5, 1, 8),), 8, 8, 41, 96, "dx + residual, dw, db", loads=3),
    Case("rmsnorm", "rmsnorm_forward", NORM, ((4, 2, 8),), 8, 8, 38, 96, "s = x + residual, y", True, loads=2),
    Case("rmsnorm", "rmsnorm_backward", NORM, ((5, 1, 8),), 8, 8, 33, 96, "dx + residual, dw", loads=3),
    Case("batchnorm", "batchnorm_moments", BF16, ((4, 0, 32),), 2, 2, 7.6),
    Case("batchnorm", "batchnorm_apply", BF16, ((2, 2, 16),), 4, 4, 10.2, note="with ReLU"),
    Case("batchnorm", "batchnorm_sums", BF16, ((4, 0, 16),), 4, 4, 6.8),
    Case("batchnorm", "batchnorm_dx", BF16, ((4, 2, 16),), 6, 6, 18.7, note="ReLU from x"),
    Case("reduce", "column_sum", BF16, ((4, 0, 32),), 2, 2, 3.8),
    Case("reduce", "column_sum", {}, ((4, 0, 16),), 4, 4, 2.4, note="fp32"),
    Case("elementwise", "add", BF16, ((2, 1, 8),), 6, 6, 11.5),
    Case("elementwise", "add_relu", BF16, ((2, 1, 8),), 6, 6, 11.5),
    Case("gelu", "gelu_tanh_dx", BF16, ((2, 1, 8),), 6, 6, 44),
    Case("dropout", "dropout_mask", BF16, ((0, 2, 16),), 2, 2, 24),
    Case("dropout", "dropout_mask", {}, ((0, 4, 16),), 4, 4, 24, note="fp32"),
    *(
        Case("pool", "max_pool", BF16 | {"KERNEL": size, "STRIDE": stride}, ((loads, stores, 8 * stores),), moved, moved,
             most, note=f"{size} x {size}, stride {stride}", loads=2, more=("STG.E.64",))
        for size, stride, loads, stores, moved, most in ((2, 2, 8, 2, 11, 33), (3, 2, 15, 2, 11, 57), (3, 1, 18, 4, 5, 41))
    ),
    *(
        Case("pool", "max_pool_dx", BF16 | {"KERNEL": size, "STRIDE": stride}, ((loads, 4, 32),), moved, moved,
             most, note=f"{size} x {size}, stride {stride}", loads=1, more=("LDG.E.64",))
        for size, stride, loads, moved, most in ((2, 2, 1, 2.75, 9), (3, 2, 4, 2.75, 15), (3, 1, 18, 5, 47))
    ),
    *(
        Case("pool", "mean_pool", BF16 | {"KERNEL": size, "STRIDE": stride}, ((loads, stores, 8 * stores),), moved, moved,
             most, note=f"{size} x {size}, stride {stride}", loads=2)
        for size, stride, loads, stores, moved, most in ((2, 2, 8, 2, 10, 23), (3, 2, 15, 2, 10, 37), (3, 1, 18, 4, 4, 26))
    ),
    *(
        Case("pool", "mean_pool_dx", BF16 | {"KERNEL": size, "STRIDE": stride}, ((loads, 4, 32),), moved, moved,
             most, note=f"{size} x {size}, stride {stride}", loads=1)
        for size, stride, loads, moved, most in ((2, 2, 1, 2.5, 8), (3, 2, 4, 2.5, 10), (3, 1, 18, 4, 29))
    ),
    Case("pool", "global_mean", BF16, ((4, 0, 32),), 2, 2, 3.8),
    Case("pool", "global_mean_dx", BF16, ((1, 1, 8),), 2, 2, 10, loads=1),
    Case("rotary", "rotary", BF16, ((6, 2, 16),), 4, 4, 22),
    Case("rotary", "rotary", {}, ((4, 2, 8),), 8, 8, 22, note="fp32"),
    Case("swiglu", "swiglu_forward", BF16, ((2, 1, 8),), 6, 6, 46),
    Case("swiglu", "swiglu_dx", BF16, ((3, 2, 8),), 10, 10, 64),
    Case("gelu", "gelu_forward", BF16, ((1, 2, 8),), 6, 6, 70),
    Case("gelu", "gelu_tanh_forward", BF16, ((1, 2, 8),), 6, 6, 50),
    Case("gelu", "gelu_dx", BF16, ((2, 1, 8),), 6, 6, 60),
    Case("elementwise", "silu_forward", BF16, ((1, 2, 8),), 6, 6, 40),
    Case("elementwise", "silu_dx", BF16, ((3, 1, 8),), 8, 8, 40),
    Case("elementwise", "tanh_forward", BF16, ((1, 1, 8),), 4, 4, 40),
    Case("elementwise", "sigmoid_forward", BF16, ((1, 1, 8),), 4, 4, 40),
    Case("elementwise", "multiply_fp32", BF16, ((3, 1, 8),), 8, 8, 40),
    Case("softmax", "softmax_forward", BF16, ((1, 0, 8),(1, 1, 8)), 4, 4, 40),
    Case("softmax", "softmax_dx", BF16, ((2, 0, 8),(2, 1, 8)), 6, 6, 40),
    Case("mse", "squared_error", BF16, ((3, 1, 8),), 8, 8, 40),
    Case("conv2d_im2col", "im2col", BF16, ((1, 1, 8),), 2, 2, 40,loads=1),
    Case("conv2d_im2col", "col2im", BF16, ((1, 0, 8),), 2, 2, 40),
    Case("embedding", "embedding_forward", BF16|{"TABLE_BF16":1}, ((1, 1, 8),), 4, 4, 40),
    Case("embedding", "embedding_dw", BF16, ((4, 0, 32),), 2, 2, 40),
    Case("reduce", "sum_of_squares", {}, ((1, 0, 4),), 4, 4, 40),
    Case("lars", "lars_norms", {}, ((2, 0, 4),), 8, 8, 40),
    Case("lars", "lars", {}, ((3, 2, 4),), 20, 20, 60,more=("STG.E.64",)),
    Case("update", "sgd", {}, ((3, 2, 4),), 20, 20, 60,more=("STG.E.64",)),
    Case("update", "adam", {}, ((4, 3, 4),), 28, 28, 60,more=("STG.E.64",)),
    Case("update", "adagrad", {}, ((3, 2, 4),), 20, 20, 60,more=("STG.E.64",)),
]  # fmt: skip
