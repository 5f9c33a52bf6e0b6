"""Models of layers, with Keras's names, arguments and defaults."""

from nblstm.models.loading import clone_model, load_model, model_from_json, save_model
from nblstm.models.sequential import Sequential

__all__ = ["Sequential", "clone_model", "load_model", "model_from_json", "save_model"]


def __dir__() -> list[str]:
    return __all__
