"""Models of ONNX read, with their recurrent nodes on nblstm's engine; networks and models written as ONNX."""

try:
    import onnx  # noqa: F401
except ImportError as error:
    raise ImportError(
        "nblstm.onnx needs the package onnx, which cannot be imported; pip install -e '.[onnx]' in nblstm's folder"
    ) from error

from nblstm.onnx.exporting.export import export
from nblstm.onnx.model import ArrayInfo, OnnxModel, load

__all__ = ["ArrayInfo", "OnnxModel", "export", "load"]


def __dir__() -> list[str]:
    return __all__
