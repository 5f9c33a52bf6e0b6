"""Models of layers, with Keras's names, arguments and defaults."""

from nblstm.models.saving import load_model
from nblstm.models.sequential import Sequential

__all__ = ["Sequential", "load_model"]
