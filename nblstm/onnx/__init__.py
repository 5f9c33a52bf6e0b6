"""ONNX models: read with their recurrent nodes on nblstm's engine."""

from nblstm.onnx.model import ArrayInfo, OnnxModel, load

__all__ = ["ArrayInfo", "OnnxModel", "load"]


def __dir__() -> list[str]:
    return __all__
