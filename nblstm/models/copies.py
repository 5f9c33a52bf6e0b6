"""Keras's functions that make a model from another, or from its description."""

from __future__ import annotations

import copy
import json

from nblstm.models.sequential import Sequential


def clone_model(model: Sequential) -> Sequential:
    """A model of the same layers, with new parameters and not compiled.

    Parameters
    ----------
    model : Sequential

    Raises
    ------
    TypeError
        If it is no model.
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"model is {model!r}; give a Sequential")
    clone = type(model)(name=model.name)
    for layer in ([model._announced] if model._announced else []) + model.layers:
        clone.add(copy.deepcopy(layer.unbuilt()), rebuild=False)
    if model.input_shape is not None:
        clone.build(model.input_shape)
    return clone


def model_from_json(json_string: str, custom_objects: dict | None = None) -> Sequential:
    """The model that `Sequential.to_json` described, with new parameters.

    Parameters
    ----------
    json_string : str
    custom_objects : dict of str to object, optional
        What names of your own in it stand for; see `load_model`.

    Raises
    ------
    TypeError, ValueError
        If it describes none.
    """
    try:
        described = json.loads(json_string)
    except (TypeError, ValueError) as error:
        raise ValueError(f"json_string is no JSON ({error}); give what to_json() gave") from None
    if not isinstance(described, dict) or described.get("class_name") != "Sequential" or "config" not in described:
        raise ValueError("json_string describes no Sequential; give what to_json() gave")
    return Sequential.from_config(described["config"], custom_objects)


def save_model(model: Sequential, filepath, overwrite: bool = True) -> None:
    """`Sequential.save` as a function."""
    model.save(filepath, overwrite)
