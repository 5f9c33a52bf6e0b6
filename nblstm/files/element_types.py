"""Element types of tensors in files, and those that NumPy lacks as float32, which has each of their values."""

from __future__ import annotations

from functools import cache

import numpy as np

#: By torch's names: little-endian NumPy types, and bits of the exponent and mantissa of floats that NumPy lacks.
NUMPY = {
    "float64": "<f8", "float32": "<f4", "float16": "<f2", "int64": "<i8", "int32": "<i4", "int16": "<i2", "int8": "i1",
    "uint64": "<u8", "uint32": "<u4", "uint16": "<u2", "uint8": "u1", "bool": "?", "complex64": "<c8",
    "complex128": "<c16",
}  # fmt: skip
NARROW = {"bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}


def itemsize(name: str) -> int:
    """Bytes of one number; ValueError for a type that is not read."""
    if name in NARROW:
        return NARROW[name]
    if name not in NUMPY:
        raise ValueError(f"it has a tensor of {name}, which nblstm does not read; save it as float32")
    return np.dtype(NUMPY[name]).itemsize


def numbers(raw: bytes | memoryview, name: str) -> np.ndarray:
    """The numbers in ``raw``, read-only; those of a type that NumPy lacks as float32."""
    if name == "bfloat16":  # the upper half of a float32
        return (np.frombuffer(raw, "<u2").astype("<u4") << np.uint32(16)).view("<f4")
    if name in NARROW:
        return _float8_values(name)[np.frombuffer(raw, "u1")]
    return np.frombuffer(raw, NUMPY[name])


@cache
def _float8_values(name: str) -> np.ndarray:
    """The value of each of the 256 bytes, (-1)^s 2^(e - bias) (1 + m / 2^M), without the 1 where e = 0.

    P. Micikevicius et al., "FP8 formats for deep learning", arXiv 2209.05433: e5m2 has infinities and NaN as float16,
    e4m3 has one NaN of each sign, S.1111.111.
    """
    M = 2 if name == "float8_e5m2" else 3
    byte = np.arange(256)
    sign, exponent, mantissa = np.where(byte < 128, 1.0, -1.0), (byte & 127) >> M, byte & (2**M - 1)
    bias = 2 ** (6 - M) - 1
    values = sign * np.ldexp(mantissa / 2**M + (exponent > 0), np.maximum(exponent, 1) - bias)
    if M == 2:
        values[exponent == 31] = np.where(mantissa == 0, sign * np.inf, np.nan)[exponent == 31]
    else:
        values[byte & 127 == 127] = np.nan
    return values.astype(np.float32)
