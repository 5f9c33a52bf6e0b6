"""Weights of a model as tensors of safetensors, named ``"<layer>.<parameter>"``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from nblstm.arguments import validate
from nblstm.files import content, tensors
from nblstm.models import snapshot

if TYPE_CHECKING:
    from nblstm.models.sequential import Sequential


def save_weights(path: str, model: Sequential) -> None:
    """Write the parameters; see `Sequential.save_weights`."""
    values = model._parameters_lock.read(snapshot.parameters, model)
    arrays = {
        f"{layer.name}.{name}": value
        for layer, state in zip(model.layers, values, strict=True) for name, value in state.items()
    }  # fmt: skip
    tensors.write(path, arrays, {})


def load_weights(model: Sequential, path, skip_mismatch: bool) -> None:
    """Set the parameters; see `Sequential.load_weights`."""
    text = os.fspath(path)
    names = [[f"{layer.name}.{name}" for name in layer.described] for layer in model.layers]

    def choose(found: list[str]) -> list[str]:
        needed = [name for own in names for name in own]
        if skip_mismatch:
            return found
        there = set(found)
        missing = [name for name in needed if name not in there]
        unknown = sorted(there.difference(needed))
        parts = [f"lacks {content.listed(missing)}"] if missing else []
        parts += [f"has {content.listed(unknown)}, which the model lacks"] if unknown else []
        if parts:
            raise ValueError(
                f"{text!r} {' and '.join(parts)}; give a model whose layers have the names of those that were saved"
            )
        return needed

    arrays = tensors.read(path, choose, "filepath").arrays
    try:
        if skip_mismatch:
            of_layers: dict[str, dict[str, Any]] = {layer.name: {} for layer in model.layers}
            for full, array in arrays.items():
                owner, _, name = full.rpartition(".")
                of_layers.setdefault(owner, {})[name] = array
            snapshot.set_checked(model, [of_layers[layer.name] for layer in model.layers], skip_mismatch)
            return
        for layer, own in zip(model.layers, names, strict=True):
            for full, described in zip(own, layer.described.values(), strict=True):
                validate.shaped(full, arrays[full], described.shape, "that of the model's")
        values = [
            {name: arrays[full] for name, full in zip(layer.described, own, strict=True)}
            for layer, own in zip(model.layers, names, strict=True)
        ]  # fmt: skip
        snapshot.set_parameters(model, values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{text!r} cannot be loaded: {content.in_short(error)}") from None
