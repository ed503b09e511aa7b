"""The kernels of memory_bound.py, with the loops that are counted."""

from typing import NamedTuple


class Case(NamedTuple):
    """A kernel and its parts, of which each is a loop or all of it.

    ``parts`` are (loads of 16 bytes, stores of 16 bytes, elements) of one turn; "shared" stands for loads from shared
    memory. With ``whole`` all of the kernel is one turn; ``more`` kinds of accesses are among those of a turn, and
    ``width`` are the bytes of a load, where not 16. ``moved`` and ``least`` are bytes for each element: those that it
    moves, and the inputs and outputs. ``most`` instructions are about a tenth above those of today; ``loads`` are under
    way in a thread, and ``blocks`` fit a multiprocessor for other reasons than registers. ``bound``: what takes longer
    than memory, if anything does.
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
    loads: float = 0
    blocks: int = 32
    more: tuple[str, ...] = ()
    width: int = 16
    bound: str = "memory"


BF16 = {"ELEMENT_BF16": 1}
NORM = BF16 | {"ROW_WARPS": 3}  # of 768 columns
LONG = BF16 | {"ROW_WARPS": 16, "ROW_PIECES": 0}
CASES = [
    Case("softmax_cross_entropy", "softmax_cross_entropy", BF16 | {"ROW_WARPS": 16}, ((2, 0, 16), ("shared", 2, 16)), 4,
         4, 20, 512, "rows of 50257, kept in shared memory", blocks=2),
    Case("softmax_cross_entropy", "softmax_cross_entropy", {"ROW_WARPS": 16}, ((4, 0, 16), ("shared", 4, 16)), 8, 8,
         16.5, 512, "the same in fp32", blocks=1),
    Case("layernorm", "layernorm_forward", NORM, ((6, 2, 8),), 8, 8, 46, 96, "s = x + residual, y", True, loads=2),
    Case("layernorm", "layernorm_backward", NORM, ((5, 1, 8),), 8, 8, 41, 96, "dx + residual, dw, db", loads=3),
    Case("rmsnorm", "rmsnorm_forward", NORM, ((4, 2, 8),), 8, 8, 38, 96, "s = x + residual, y", True, loads=2),
    Case("rmsnorm", "rmsnorm_backward", NORM, ((5, 1, 8),), 8, 8, 33, 96, "dx + residual, dw", loads=3),
    Case("layernorm", "layernorm_forward", LONG, ((4, 2, 16), (2, 0, 16), (10, 2, 16)), 8, 8, 34, 512,
         "rows above 8192, read three times, from cache", loads=4),
    Case("layernorm", "layernorm_backward", LONG, ((8, 0, 16), (10, 2, 16)), 8, 8, 38.5, 512,
         "rows above 8192, read twice", loads=4, blocks=1),
    Case("rmsnorm", "rmsnorm_forward", LONG, ((4, 2, 16), (6, 2, 16)), 8, 8, 25.7, 512, "rows above 8192", loads=4),
    Case("rmsnorm", "rmsnorm_backward", LONG, ((8, 0, 16), (10, 2, 16)), 8, 8, 33.5, 512, "rows above 8192", loads=4,
         blocks=1),
    Case("batchnorm_moments", "batchnorm_moments", BF16, ((4, 0, 32),), 2, 2, 7.6),
    Case("batchnorm", "batchnorm_apply", BF16, ((2, 2, 16),), 4, 4, 10.2, note="with ReLU"),
    Case("batchnorm", "batchnorm_sums", BF16, ((4, 0, 16),), 4, 4, 6.8),
    Case("batchnorm", "batchnorm_dx", BF16, ((4, 2, 16),), 6, 6, 18.7, note="ReLU from x"),
    Case("batchnorm", "batchnorm_apply_residual", BF16, ((4, 2, 16),), 6, 6, 14, note="with ReLU"),
    Case("batchnorm", "batchnorm_sums_residual", BF16, ((6, 2, 16),), 8, 8, 18.8, note="dy masked for the shortcut"),
    Case("reduce", "mask_and_sum", BF16, ((4, 2, 16),), 6, 6, 13.9),
    Case("reduce", "column_sum", BF16, ((4, 0, 32),), 2, 2, 3.8),
    Case("reduce", "column_sum", {}, ((4, 0, 16),), 4, 4, 2.4, note="fp32"),
    Case("elementwise", "add", BF16, ((2, 1, 8),), 6, 6, 11.5),
    Case("elementwise", "add_relu", BF16, ((2, 1, 8),), 6, 6, 11.5),
    Case("gelu", "gelu_tanh_dx", BF16, ((2, 1, 8),), 6, 6, 22),
    Case("dropout", "dropout", BF16, ((2, 2, 16),), 4, 4, 29.8),
    Case("dropout", "dropout", {}, ((4, 4, 16),), 8, 8, 32.4, note="fp32"),
    Case("dropout", "dropout_mask", BF16, ((0, 2, 16),), 2, 2, 20.7),
    Case("dropout", "dropout_mask", {}, ((0, 4, 16),), 4, 4, 21.5, note="fp32"),
    *(
        Case("pool", name, BF16 | {"KERNEL": size, "STRIDE": stride}, ((loads, stores, 8 * stores),), moved, moved,
             most, note=f"{size} x {size}, stride {stride}", loads=fresh, more=("STG.E.64", "LDG.E.64"))
        for name, size, stride, loads, stores, moved, most, fresh in (
            ("max_pool", 2, 2, 8, 2, 11, 27.5, 8), ("max_pool", 3, 2, 15, 2, 11, 52, 8),
            ("max_pool", 3, 1, 18, 4, 5, 36.5, 4), ("max_pool_dx", 2, 2, 1, 4, 2.75, 8, 1.5),
            ("max_pool_dx", 3, 2, 4, 4, 2.75, 14, 1.5), ("max_pool_dx", 3, 1, 18, 4, 5, 47, 6),
            ("mean_pool", 2, 2, 8, 2, 10, 19.5, 8), ("mean_pool", 3, 2, 15, 2, 10, 35, 8),
            ("mean_pool", 3, 1, 18, 4, 4, 24, 4), ("mean_pool_dx", 2, 2, 1, 4, 2.5, 7, 1),
            ("mean_pool_dx", 3, 2, 4, 4, 2.5, 9.7, 1), ("mean_pool_dx", 3, 1, 18, 4, 4, 28.5, 4),
        )
    ),
    Case("pool", "global_mean", BF16, ((4, 0, 32),), 2, 2, 3.8),
    Case("pool", "global_mean_dx", BF16, ((1, 1, 8),), 2, 2, 9.4),
    Case("conv2d_depthwise_gradients", "conv2d_depthwise_dw", BF16 | {"KERNEL": 3}, ((12, 0, 12),), 4, 4, 28.5,
         note="3 x 3", loads=6, width=8),
    Case("conv2d_depthwise_gradients", "conv2d_depthwise_dw", {"KERNEL": 3}, ((12, 0, 12),), 8, 8, 25.5,
         note="3 x 3, fp32", loads=6),
    Case("conv2d_depthwise_gradients", "conv2d_depthwise_dw", BF16 | {"KERNEL": 5}, ((30, 0, 20),), 4, 4, 52,
         note="5 x 5, of which 25 are products", loads=10, width=8, bound="arithmetic"),
    Case("conv2d_depthwise_gradients", "conv2d_depthwise_dw", {"KERNEL": 5}, ((30, 0, 10),), 8, 8, 63,
         note="5 x 5, fp32", loads=10, width=8),
    Case("rotary", "rotary", BF16, ((6, 2, 16),), 4, 4, 13.6),
    Case("rotary", "rotary", {}, ((4, 2, 8),), 8, 8, 13.5, note="fp32"),
    Case("swiglu", "swiglu_forward", BF16, ((2, 1, 8),), 6, 6, 33),
    Case("swiglu", "swiglu_dx", BF16, ((3, 2, 8),), 10, 10, 45.7),
    Case("gelu", "gelu_forward", BF16, ((1, 2, 8),), 6, 6, 28),
    Case("gelu", "gelu_tanh_forward", BF16, ((1, 2, 8),), 6, 6, 27.4),
    Case("gelu", "gelu_dx", BF16, ((2, 1, 8),), 6, 6, 28.2),
    Case("elementwise", "silu_forward", BF16, ((1, 2, 8),), 6, 6, 32),
    Case("elementwise", "silu_dx", BF16, ((3, 1, 8),), 8, 8, 17),
    Case("elementwise", "tanh_forward", BF16, ((1, 1, 8),), 4, 4, 24.5),
    Case("elementwise", "sigmoid_forward", BF16, ((1, 1, 8),), 4, 4, 27.8),
    Case("elementwise", "multiply_fp32", BF16, ((3, 1, 8),), 8, 8, 9.5),
    Case("softmax", "softmax_forward", BF16, ((1, 0, 8), (1, 1, 8)), 4, 4, 19.5),
    Case("softmax", "softmax_dx", BF16, ((2, 0, 8), (2, 1, 8)), 6, 6, 20),
    Case("mse", "squared_error", BF16, ((3, 1, 8),), 8, 8, 11),
    Case("conv2d_im2col", "im2col", BF16, ((1, 1, 8),), 2, 2, 5.4, note="each entry of a column"),
    Case("conv2d_im2col", "col2im", BF16, ((1, 0, 8),), 2, 2, 5, note="each entry of a column"),
    Case("embedding", "embedding_forward", BF16 | {"TABLE_BF16": 1}, ((1, 1, 8),), 4, 4, 7.9),
    Case("embedding", "embedding_dw", BF16, ((4, 0, 32),), 2, 2, 5.3, 128, "each element of dy"),
    Case("reduce", "sum_of_squares", {}, ((1, 0, 4),), 4, 4, 5.8, note="fp32"),
    Case("lars", "lars_norms", {}, ((2, 0, 4),), 8, 8, 8.6, note="fp32"),
    Case("lars", "lars", {}, ((3, 2, 4),), 20, 20, 19.3, note="fp32"),
    Case("update", "sgd", {}, ((3, 2, 4),), 20, 20, 28, note="fp32, with momentum"),
    Case("update", "adam", {}, ((4, 3, 4),), 28, 28, 63.6, note="fp32"),
    Case("update", "adagrad", {}, ((3, 2, 4),), 20, 20, 51.5, note="fp32"),
]  # fmt: skip
