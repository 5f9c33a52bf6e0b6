"""Models of layers, with Keras's names, arguments and defaults; functions that make one of a file or a description."""

from __future__ import annotations

import copy
import json
from typing import Any

from nblstm.arguments.missing import explain_missing_names
from nblstm.models import files
from nblstm.models.sequential import Sequential

__all__ = ["Sequential", "clone_model", "load_model", "model_from_json", "save_model"]


def __dir__() -> list[str]:
    return __all__


explain_missing_names(__name__)


def load_model(filepath, custom_objects: dict[str, Any] | None = None, compile: bool = True) -> Sequential:
    """The model in a file that `Sequential.save` wrote, or Keras.

    Parameters
    ----------
    filepath : str or PathLike
        A name that ends in ``.keras``, ``.h5`` or ``.hdf5`` is that of a file of Keras 1 to 3, others of nblstm's own.
    custom_objects : dict of str to object, optional
        What names of your own in the file stand for: functions, classes, cells. They go before what is registered.
    compile : bool, default True
        Whether it is compiled as it was, if it was, with the optimizer's state.

    Returns
    -------
    Sequential
        It predicts the same bits as the one that was saved in nblstm's own format, and goes on training with the same
        bits; with a file of Keras's, the same numbers but for rounding.

    Raises
    ------
    ValueError
        If the file is damaged, truncated or not a model, it has a name that stands for nothing here, or the model has
        something that nblstm has not.
    OSError
        If it cannot be read.
    """
    return files.read_model(Sequential, filepath, custom_objects, compile)


def clone_model(model: Sequential) -> Sequential:
    """A model of the same layers, with new parameters and not compiled.

    Parameters
    ----------
    model : Sequential
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"model is {model!r}; give a Sequential")
    clone = type(model)(name=model.name)
    for layer in files.layers_with_input(model):
        clone.add(copy.deepcopy(layer.unbuilt()), rebuild=False)
    if model.input_shape is not None:
        clone.build(model.input_shape)
    return clone


def model_from_json(json_string: str, custom_objects: dict | None = None) -> Sequential:
    """The model that `Sequential.to_json` described, here or in Keras 1 to 3, with new parameters.

    Parameters
    ----------
    json_string : str
    custom_objects : dict of str to object, optional
        What names of your own in it stand for; see `load_model`.
    """
    try:
        described = json.loads(json_string)
    except (TypeError, ValueError) as error:
        raise ValueError(f"json_string is no JSON ({error}); give what to_json() gave") from None
    if not isinstance(described, dict) or not {"class_name", "config"} <= described.keys():
        raise ValueError("json_string describes no Sequential; give what to_json() gave, here or in Keras")
    return files.from_json(Sequential, described, custom_objects)


def save_model(model: Sequential, filepath, overwrite: bool = True) -> None:
    """`Sequential.save` as a function."""
    model.save(filepath, overwrite)
