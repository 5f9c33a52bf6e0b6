"""Layers without states in a compiled network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from nblstm.cpu.matrix.gemm import gemm
from nblstm.numba_extension import jacobian_rows, row_kernels
from nblstm.numba_extension.block import LayerStates, Stage
from nblstm.numba_extension.jacobian_arguments import StageJacobian
from nblstm.numba_extension.jacobian_rows import ROWS
from nblstm.numba_extension.row_kernels import RowArguments
from nblstm.symbolic.differentiate import gradients
from nblstm.symbolic.elementwise import traced
from nblstm.symbolic.emit import emit_function
from nblstm.symbolic.graph import ONE


@dataclass
class RowPart:
    """A layer that acts on each row alone: one stage.

    Attributes
    ----------
    kernel, derivative : callable
        Return the addresses of its kernel, and of that of its derivatives; can be pickled.
    architecture : str
        Text that is equal where all but the parameters is.
    dtype : str
    input_size, output_size : int
    weight, shift : ndarray
        Parameters, see `row_kernels`; empty where there are none.
    epsilon : float
    vocabulary, first_index : int
        Where inputs are indices, how many there are, and the first that is not padding; else 0.
    """

    kernel: Callable[[], int]
    derivative: Callable[[], int]
    architecture: str
    dtype: str
    input_size: int
    output_size: int
    weight: np.ndarray
    shift: np.ndarray
    epsilon: float = 0.0
    vocabulary: int = 0
    first_index: int = 0

    num_signals = 0

    def layer_states(self, B: int) -> list[LayerStates]:
        """None."""
        return []

    def initial(self, B: int) -> np.ndarray:
        """No states."""
        return np.empty(0, self.dtype)

    def workspace(self, B: int) -> int:
        """Numbers of the outputs."""
        return B * self.output_size

    def arrays(self, B: int) -> list[np.ndarray]:
        """Copies of the parameters."""
        given = self.weight, self.shift, [self.epsilon]
        return [np.ascontiguousarray(array, self.dtype) for array in given]

    def stages(self, B: int, states: int, workspace: int, addresses: list[int]) -> list[Stage]:
        """See `Part`."""
        weight, shift, epsilon = addresses
        y = workspace * np.dtype(self.dtype).itemsize
        arguments = RowArguments(
            B=B, K=self.input_size, N=self.output_size, y=y, weight=weight, shift=shift, epsilon=epsilon,
            gemm=gemm(self.dtype),
        )  # fmt: skip
        return [Stage(self.kernel(), bytes(arguments), y)]

    def jacobians(self, states: int, addresses: list[int]) -> list[StageJacobian]:
        """See `Part`."""
        return [StageJacobian(self.derivative(), self.output_size + ROWS, 0)]


def dense(kernel: np.ndarray, bias: np.ndarray | None) -> RowPart:
    """``y = x kernel + bias``."""
    (K, N), dtype = kernel.shape, kernel.dtype.name
    shift = np.zeros(N, dtype) if bias is None else bias
    architecture = f"dense {K} {N} {dtype} {bias is not None}"
    made, derivative = partial(row_kernels.dense_stage, dtype), partial(jacobian_rows.dense_jacobian, dtype)
    return RowPart(made, derivative, architecture, dtype, K, N, kernel, shift)


def activation(name: str, scalar: Callable, N: int, dtype: str) -> RowPart:
    """``y = f(x)``, an equation of one number."""
    x, y = traced(name, scalar)
    text = emit_function("equation", ["x"], {x: "x"}, [("y", y)])
    slope = emit_function("slope", ["x"], {x: "x"}, [("dy", gradients([y], [ONE], [x])[0])])
    kernel, none = partial(row_kernels.activation_stage, dtype, name, text), np.empty(0, dtype)
    derivative = partial(jacobian_rows.activation_jacobian, dtype, name, slope)
    return RowPart(kernel, derivative, f"{text} {N} {dtype}", dtype, N, N, none, none)


def softmax(logarithms: bool, N: int, dtype: str) -> RowPart:
    """``y = softmax(x)``, or its logarithm."""
    kernel, none = partial(row_kernels.softmax_stage, dtype, logarithms), np.empty(0, dtype)
    derivative = partial(jacobian_rows.softmax_jacobian, dtype, logarithms)
    return RowPart(kernel, derivative, f"softmax {logarithms} {N} {dtype}", dtype, N, N, none, none)


def embedding(table: np.ndarray, padding: bool) -> RowPart:
    """``y = table[x]``; with ``padding``, 0 stands for no step."""
    (rows, N), dtype = table.shape, table.dtype.name
    kernel, derivative = partial(row_kernels.embedding_stage, dtype), partial(jacobian_rows.embedding_jacobian, dtype)
    return RowPart(
        kernel, derivative, f"embedding {rows} {N} {dtype} {padding}", dtype, 1, N, table, np.empty(0, dtype),
        vocabulary=rows, first_index=int(padding),
    )  # fmt: skip


def normalization(gamma: np.ndarray, beta: np.ndarray, epsilon: float) -> RowPart:
    """``y = gamma (x - mean) / sqrt(variance + epsilon) + beta``."""
    N, dtype = gamma.size, gamma.dtype.name
    kernel = partial(row_kernels.normalization_stage, dtype)
    derivative = partial(jacobian_rows.normalization_jacobian, dtype)
    return RowPart(kernel, derivative, f"normalization {N} {epsilon} {dtype}", dtype, N, N, gamma, beta, epsilon)


def scaling(weight: np.ndarray, shift: np.ndarray) -> RowPart:
    """``y = weight x + shift``, number by number."""
    N, dtype = weight.size, weight.dtype.name
    kernel, derivative = partial(row_kernels.scaling_stage, dtype), partial(jacobian_rows.scaling_jacobian, dtype)
    return RowPart(kernel, derivative, f"scaling {N} {dtype}", dtype, N, N, weight, shift)


def rectifier(weight: np.ndarray) -> RowPart:
    """``y = x`` above 0, ``weight x`` below, number by number."""
    N, dtype = weight.size, weight.dtype.name
    kernel, derivative = partial(row_kernels.rectifier_stage, dtype), partial(jacobian_rows.rectifier_jacobian, dtype)
    return RowPart(kernel, derivative, f"rectifier {N} {dtype}", dtype, N, N, weight, np.empty(0, dtype))
