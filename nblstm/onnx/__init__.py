"""ONNX models: read with their recurrent nodes on nblstm's engine."""

try:
    import onnx  # noqa: F401
except ImportError as error:
    raise ImportError(
        'nblstm.onnx needs the package onnx, which cannot be imported; install it with pip install "nblstm[onnx]"'
    ) from error

from nblstm.onnx.model import ArrayInfo, OnnxModel, load

__all__ = ["ArrayInfo", "OnnxModel", "load"]


def __dir__() -> list[str]:
    return __all__
