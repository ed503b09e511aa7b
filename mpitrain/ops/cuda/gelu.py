"""GELU on a GPU: one launch each."""

from .. import gelu as ops
from .elementwise import launcher

ops.gelu.cuda(launcher("gelu.cu", "gelu_forward"))
ops.gelu_tanh.cuda(launcher("gelu.cu", "gelu_tanh_forward"))
ops.gelu_dx.cuda(launcher("elementwise.cu", "multiply"))  # by the slope that forward kept
