"""Networks and models as ONNX, for runtimes that know nothing of nblstm."""

from nblstm.onnx.exporting.export import export

__all__ = ["export"]


def __dir__() -> list[str]:
    return __all__
