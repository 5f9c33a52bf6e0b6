"""Variables in Keras 3's files of weights: a group for each layer, named by its class, and the optimizer's in a row.

::

    layers/lstm/cell/vars/0, 1, 2               kernel, recurrent_kernel, bias
    layers/dense_1/vars/0, 1                    the second Dense
    layers/bidirectional/forward_layer/cell/vars/0, ...
    optimizer/vars/0, 1, 2, ...                 step, learning rate unless it follows a schedule, slots
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np

from nblstm.layers import Bidirectional, Layer, Recurrent, TimeDistributed
from nblstm.models.keras_files.hdf5 import Group


def snake_case(name: str) -> str:
    """A class's name as Keras names groups by it."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


#: The group of all layers; and that of tf.keras 2.12, where each layer with variables has two numbers.
LAYERS, OLD_LAYERS = "layers", "_layer_checkpoint_dependencies"


class Folders:
    """The layers' groups in a file, asked for one after the other: lstm, dense, dense_1, ..."""

    def __init__(self, root: Group | None = None):
        self._old = root is not None and LAYERS not in root.members and OLD_LAYERS in root.members
        self._counts: dict[str, int] = {}

    def next(self, class_name: str, with_variables: bool) -> str:
        """The group of the next layer."""
        kind = snake_case(class_name)
        k = self._counts.get(kind, 0)
        self._counts[kind] = k + (2 if self._old and with_variables else 1)
        return f"{OLD_LAYERS if self._old else LAYERS}/{kind}{f'_{k}' if k else ''}"


def places(layer: Layer, names: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Groups in a layer's group that have variables, and the names of the parameters, of all its ``names``, in each."""
    if isinstance(layer, Bidirectional):
        for side in ("forward", "backward"):
            yield f"{side}_layer/cell/vars", [name for name in names if name.startswith(f"{side}_")]
    elif isinstance(layer, TimeDistributed):
        for place, inner in places(layer.layer, names):
            yield f"layer/{place}", inner
    else:
        yield "cell/vars" if isinstance(layer, Recurrent) else "vars", names


def parameters(root: Group, folder: str, layer: Layer, names: list[str], cell: str | None) -> dict[str, np.ndarray]:
    """A layer's parameters, of these names, from its group; ``cell`` is their place in it, if an RNN has several."""
    arrays: dict[str, np.ndarray] = {}
    for place, inner in places(layer, names):
        group = root.group(f"{folder}/{cell}/vars" if cell else f"{folder}/{place}")
        if len(group.members) != len(inner):
            raise ValueError(
                f"layer {layer.name!r} has {len(group.members)} variables in it, in {folder!r}, and needs "
                f"{len(inner)}: {', '.join(inner) or 'none'}"
            )
        arrays |= {name: group.array(str(k)) for k, name in enumerate(inner)}
    return arrays


def written(layers: Iterable[Layer]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The parameters of layers, each by its path in a file, and the layers' names by the paths of groups."""
    arrays: dict[str, np.ndarray] = {}
    folders, names = Folders(), {}
    for layer in layers:
        values = layer.state_dict()
        folder = folders.next(type(layer).__name__, bool(values))
        names[f"{folder}/vars"] = layer.name
        for place, inner in places(layer, list(values)):
            arrays |= {f"{folder}/{place}/{k}": values[name] for k, name in enumerate(inner)}
    return arrays, names
