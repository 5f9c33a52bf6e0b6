"""Operators that are matrix products: MatMul, Gemm and convolution."""

from __future__ import annotations

from itertools import product as places_of
from math import prod

import numpy as np

from nblstm.onnx.operators.registry import operator
from nblstm.onnx.operators.windows import Windows, padded_elements
from nblstm.process import blas


def _product_elements(a, b) -> int:
    stacks = prod(np.broadcast_shapes(a.shape[:-2], b.shape[:-2]))
    return stacks * (a.shape[-2] if a.ndim > 1 else 1) * (b.shape[-1] if b.ndim > 1 else 1)


@operator("MatMul", elements=_product_elements)
def matmul(a, b):
    """Matrix product, of stacks of matrices too."""
    if b.ndim == 2 and a.ndim >= 2 and a.dtype == b.dtype and b.dtype.kind == "f":
        return blas.product(a, b)
    return blas.alone(a.size * (b.shape[-1] if b.ndim > 1 else 1), np.matmul, a, b)


def _gemm_elements(a, b, c=None, *, transA, transB, **_) -> int:
    return a.shape[-1 if transA else 0] * b.shape[0 if transB else -1]


@operator("Gemm", 7, elements=_gemm_elements)
def gemm(a, b, c=None, *, alpha, beta, transA, transB):
    """``alpha a b + beta c``, with either factor transposed."""
    a, b = (a.T if transA else a), (b.T if transB else b)
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(f"the factors have shapes {a.shape} and {b.shape}; they need to be matrices")
    result = blas.product(a, b)
    if alpha != 1:
        result = result * result.dtype.type(alpha)
    if c is None:
        return result
    return result + (c if beta == 1 else c * c.dtype.type(beta))


@operator("Conv", by_value=True, elements=padded_elements)
def convolution(x, weights, bias=None, *, auto_pad, group, dilations=None, kernel_shape=None, pads=None, strides=None):
    """Convolution over any number of dimensions, as a sum of matrix products over the places of the kernel."""
    if x.dtype == np.float16:
        wide = [None if value is None else value.astype(np.float32) for value in (x, weights, bias)]
        options = {"auto_pad": auto_pad, "group": group, "dilations": dilations, "pads": pads, "strides": strides}
        return convolution(*wide, kernel_shape=kernel_shape, **options).astype(x.dtype)
    n = x.ndim - 2
    if n < 1 or weights.ndim != x.ndim or group < 1 or weights.shape[0] % group:
        raise ValueError(f"x has shape {x.shape}, the weights {weights.shape}, in {group} groups; these do not fit")
    if x.shape[1] != weights.shape[1] * group or kernel_shape not in (None, weights.shape[2:]):
        raise ValueError(
            f"x has {x.shape[1]} channels, the weights {weights.shape[1]} in {group} groups, with a kernel of "
            f"{weights.shape[2:]}; these do not fit"
        )
    windows = Windows(x.shape[2:], weights.shape[2:], strides, pads, dilations, auto_pad)
    padded, B, M = windows.padded(x, 0), len(x), weights.shape[0]
    kernels = weights.reshape(group, M // group, weights.shape[1], prod(windows.kernel))
    result = np.zeros((B, group, M // group, prod(windows.outputs)), x.dtype)
    for k, place in enumerate(places_of(*map(range, windows.kernel))):
        rows = windows.at(padded, place).reshape(B, group, weights.shape[1], prod(windows.outputs))
        result += blas.alone(rows.size * M // group, np.matmul, kernels[..., k], rows)
    result = result.reshape(B, M, *windows.outputs)
    return result if bias is None else result + bias.reshape(-1, *[1] * n)
