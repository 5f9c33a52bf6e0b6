"""The kernels of a cell's stages: a unit's numbers have the same bits wherever threads cut a row."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from nblstm import cell, cells, erf, layer_norm, mean, sqrt, sum, tanh
from nblstm.cells.source import BACKWARD, FORWARD, computing
from nblstm.cells.stages import backward_program, forward_program
from nblstm.cpu.kernels.pointwise import backward_rows, forward_rows


@cell(gates="a", states="h", called="a", signals="dt", scalars="alpha")
def squares_of_scalars(a, h, dt, alpha):
    # LLVM computes alpha * alpha before some copies of the loop over units, and within others.
    t = mean(alpha * alpha + (alpha - a(dt)))
    return erf(sqrt(0.6 + t * t))


@cell(gates="a b", states="h", vectors="p q", scalars="alpha")
def products_of_vectors(a, b, h, p, q, alpha):
    t = sum(p * q + tanh(a))
    return 0.9 * h * (alpha * p + b) + (0.3 * q + b) * (alpha * t + b)


@cell(gates="a", states="h c", vectors="gain bias")
def normalized(a, h, c, gain, bias):
    new_c = 0.5 * c + tanh(layer_norm(a, gain, bias))
    return gain * bias + tanh(new_c), new_c


H, SIZE = 33, 6000
POINTERS = {"z", "state", "vectors", "y", "tape", "saved", "d_state", "dy", "y_all", "tape_all", "d_vectors", "dz"}


def run(address: int, names: tuple[str, ...], parts, dtype: str, seed: int) -> dict[str, np.ndarray]:
    """All arrays after a kernel has run once for each part (u0, u1) of a row."""
    rng = np.random.default_rng(seed)
    arrays = {name: rng.uniform(0.1, 1, SIZE).astype(dtype) for name in names if name in POINTERS}
    previous, itemsize = np.zeros(1, np.int64), np.dtype(dtype).itemsize
    for u0, u1 in parts:
        sizes = {"rows": 1, "first": u0, "units": u1 - u0, "H": H, "previous": previous.ctypes.data}
        places = {name: array.ctypes.data + u0 * itemsize for name, array in arrays.items()}
        numbers = [{**sizes, **places}.get(name, SIZE // 8) for name in names]
        ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(numbers))(address)(*numbers)
    return arrays


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "of", [squares_of_scalars, products_of_vectors, normalized, cells.lstm_peephole, cells.indrnn], ids=lambda c: c.name
)
def test_bits_of_a_unit_do_not_depend_on_the_cut(of, dtype):
    kernels = [(FORWARD, forward_rows(of, dtype, True, k)) for k in computing(forward_program(of))]
    kernels += [(BACKWARD, backward_rows(of, dtype, k)) for k in computing(backward_program(of))]
    for names, address in kernels:
        for seed in range(20):
            whole = run(address, names, [(0, H)], dtype, seed)
            for cut in (1, 8, 16, 17, 31, 32):
                found = run(address, names, [(0, cut), (cut, H)], dtype, seed)
                for name, array in whole.items():
                    np.testing.assert_array_equal(found[name], array, err_msg=f"{name}, cut at {cut}, seed {seed}")
