"""Keras's name for what its programs ask of a backend."""

from nblstm.arguments.missing import explain_missing_names
from nblstm.layers.base.names import clear_session
from nblstm.training.losses.base_loss import EPSILON

__all__ = ["clear_session", "epsilon", "floatx"]


def __dir__() -> list[str]:
    return __all__


explain_missing_names(__name__)


def epsilon() -> float:
    """The number that keeps logarithms and divisions from 0, 1e-7."""
    return EPSILON


def floatx() -> str:
    """The dtype of layers that are given none, ``"float32"``."""
    return "float32"
