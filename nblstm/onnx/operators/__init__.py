"""Operators of ONNX on NumPy's arrays."""

from nblstm.onnx.operators import arranging, elementwise, indexing, normalizing, pooling, products, reducing
from nblstm.onnx.operators.registry import OPERATORS, Operator

__all__ = ["OPERATORS", "Operator", "arranging", "elementwise", "indexing", "normalizing", "pooling", "products"]
__all__ += ["reducing"]
