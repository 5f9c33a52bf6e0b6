"""Configs of Keras's, of any version, as records of nblstm's: names of classes, from a closed table, and arguments.

Nothing is imported or executed for a name in a file. What Keras has and nblstm has not is left out where it has its
default, and refused in a sentence otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nblstm.activations import FUNCTIONS
from nblstm.arguments import custom
from nblstm.arguments.configured import Registry, constructor_arguments
from nblstm.constraints import CONSTRAINTS
from nblstm.initializers import INITIALIZERS
from nblstm.layers import TimeDistributed
from nblstm.layers.base.layer import LAYERS
from nblstm.models.keras_files import chains, old_configs
from nblstm.regularizers import REGULARIZERS
from nblstm.training.losses.base_loss import LOSSES
from nblstm.training.optimizers.schedules import SCHEDULES

#: Classes that Keras has not: a name of theirs in a file of Keras's is one of the user's own.
ONLY_HERE = ("RNN", "Quantile")

#: Any value.
ANY = object()

#: What Keras's configs have beside the arguments of nblstm's classes, and the values with which it changes nothing. It
#: says how Keras computes, or is an option that nblstm has not, at its default; None is one for any.
LEFT_OUT: dict[str, tuple] = {
    "activity_regularizer": (), "quantization_config": (), "autocast": (True,), "sparse": (False,),
    "ragged": (False,), "optional": (False,), "implementation": (ANY,), "time_major": (False,), "unroll": (ANY,),
    "input_length": (ANY,), "input_axes": (), "output_axes": (), "fused": (ANY,), "renorm": (False,),
    "synchronized": (False,), "rms_scaling": (False,), "lora_rank": (), "lora_alpha": (), "mode": (0,), "trainable":
    (True,), "dropout": (0,), "use_ema": (False,), "ema_momentum": (ANY,), "ema_overwrite_frequency": (ANY,),
    "loss_scale_factor": (), "gradient_accumulation_steps": (), "jit_compile": (ANY,), "is_legacy_optimizer": (ANY,),
    "schedule_decay": (0.004,), "axis": (-1,), "ignore_class": (), "name": (ANY,), "dtype": (ANY,), "groups": (1,),
    "data_format": ("channels_last",), "cache_state": (ANY,), "reverse_state_order": (ANY,), "use_cudnn": (ANY,),
    "invert": (False,), "count_include_pad": (ANY,), "fn": (ANY,),
}  # fmt: skip

#: Registries by the ends of the names of arguments whose values they make.
KINDS: dict[str, Registry] = {
    "_initializer": INITIALIZERS, "_regularizer": REGULARIZERS, "_constraint": CONSTRAINTS, "layer": LAYERS,
    "learning_rate": SCHEDULES,
}  # fmt: skip

#: Cells of Keras's, and the layers of nblstm's that run them.
CELLS = {"LSTMCell": "LSTM", "GRUCell": "GRU", "SimpleRNNCell": "SimpleRNN"}


@dataclass(frozen=True)
class ReadLayer:
    """A layer of a Keras file: the records of nblstm's layers that compute it, and their places in HDF5 files.

    It is one layer, but for an RNN of several cells, which is one for each; ``cells`` are the places of their variables
    in the layer's group.
    """

    class_name: str
    records: list[dict[str, Any]]
    cells: list[str]


def read_model(described: dict[str, Any], version: int) -> tuple[str | None, list[ReadLayer], Any]:
    """Name, layers and the input's shape (or None) of a model's class and config."""
    kind, config = described.get("class_name"), described.get("config")
    config = {"layers": config} if isinstance(config, list) else config  # of Keras before 2.2.3
    if not isinstance(kind, str) or not isinstance(config, dict) or not isinstance(config.get("layers"), list):
        raise ValueError("it does not describe a model")
    if kind not in ("Sequential", "Functional", "Model"):
        raise ValueError(f"it is a {kind}, a class of your own, which nblstm does not load; it loads Sequential")
    records = config["layers"] if kind == "Sequential" else chains.chain(config)
    layers = [read_layer(record, version) for record in records]
    shape = config.get("build_input_shape") or (described.get("build_config") or {}).get("input_shape")
    return config.get("name"), layers, shape


def read_layer(record, version: int) -> ReadLayer:
    """A layer's record, as a part of a model."""
    record = old_configs.updated(checked(record), version)
    kind, config = record["class_name"], record["config"]
    name = str(config.get("name") or kind)
    if kind == "Lambda":
        raise ValueError(f"layer {name!r} is a Lambda, whose code nblstm does not run; put a layer in its place")
    if kind in ("Sequential", "Functional", "Model"):
        raise ValueError(f"layer {name!r} is a model, and models of nblstm's are not nested; give Keras one of layers")
    if kind == "RNN":
        records, cells = _of_cells(name, config, version)
        return ReadLayer(kind, records, cells)
    return ReadLayer(kind, [read_record(record, LAYERS, version)], [])


def _of_cells(name: str, config: dict[str, Any], version: int) -> tuple[list[dict[str, Any]], list[str]]:
    """The layers that an RNN of one of Keras's cells is, or of several behind each other; and the cells' places."""
    given = checked(config.get("cell"))
    stacked = given["class_name"] == "StackedRNNCells"
    cells = [checked(cell) for cell in (given["config"].get("cells", []) if stacked else [given])]
    outer = {key: value for key, value in config.items() if key not in ("cell", "name")}
    records, places, counts = [], [], dict.fromkeys(CELLS, 0)
    for k, cell in enumerate(cells):
        kind, last = cell["class_name"], k == len(cells) - 1
        if kind not in CELLS:
            raise ValueError(f"layer {name!r} is an RNN of {kind}; nblstm reads those of {', '.join(CELLS)}")
        own = {key: value for key, value in old_configs.updated(cell, version)["config"].items() if key != "name"}
        merged = outer | own | {"name": name if len(cells) == 1 else f"{name}_cell_{k}"}
        if not last:
            merged |= {"return_sequences": True, "return_state": False, "zero_output_for_mask": False}
        if k:
            merged |= {"go_backwards": False}
            merged.pop("batch_input_shape", None)
        records.append(read_record({"class_name": CELLS[kind], "config": merged}, LAYERS, version))
        folder = kind[:-4].lower().replace("simplernn", "simple_rnn") + "_cell"
        places.append(f"cell/cells/{folder}_{counts[kind]}" if counts[kind] else f"cell/cells/{folder}")
        counts[kind] += 1
    if not records:
        raise ValueError(f"layer {name!r} is an RNN of no cells")
    return records, places if stacked else []


def checked(record) -> dict[str, Any]:
    """A record that has a class's name and a config."""
    found = record if isinstance(record, dict) else {}
    if not isinstance(found.get("class_name"), str) or not isinstance(found.get("config"), dict):
        raise ValueError("a class in its config has no class_name and config")
    return found


def read_object(record, registry: Registry, version: int) -> Any:
    """The value that ``registry`` makes an object of: a name, a record, or None."""
    if isinstance(record, dict) and record.get("class_name") == "function":
        return function_name(record.get("config"), registry.classes)
    if isinstance(record, dict):
        return read_record(old_configs.updated(checked(record), version), registry, version)
    return record


def function_name(name, known) -> str:
    """The name of a function in a record of Keras's; one of the user's own is behind ``Custom>``."""
    if not isinstance(name, str):
        raise ValueError("it has a function without a name, such as a lambda, whose code nblstm does not run")
    short = name.rpartition(">")[2]
    theirs = short in known and getattr(known[short], "__name__", short) not in ONLY_HERE
    return short if theirs and custom.found(name) is None else name if ">" in name else custom.CUSTOM + name


def read_record(record: dict[str, Any], registry: Registry, version: int) -> dict[str, Any]:
    """The record of one object, with the arguments that nblstm's class has."""
    kind, config = _class_name(record, registry), record["config"]
    cls = custom.found(kind, registry.classes)
    users = not (isinstance(cls, type) and custom.is_nblstms(cls))
    known = set(config) if users else set(constructor_arguments(cls)) - {*getattr(cls, "unsaved", ())}
    if cls is TimeDistributed and config.get("trainable") is False:  # which it has from the layer in it
        inner = checked(config.get("layer"))
        config = config | {"layer": inner | {"config": inner["config"] | {"trainable": False}}, "trainable": None}
    kept: dict[str, Any] = {}
    label = f"{kind} {config['name']!r}" if isinstance(config.get("name"), str) else kind
    for key, value in config.items():
        if key not in known or (key == "activity_regularizer" and value is not None):
            _leave_out(label, key, value)
        elif key == "unroll":
            kept[key] = False  # the numbers are the same
        else:
            kept[key] = _value(label, key, value, version)
    return {"class_name": kind, "config": kept}


def _class_name(record: dict[str, Any], registry: Registry) -> str:
    """The name by which nblstm looks a class up: Keras's own, or that of the user's own class."""
    name, registered, module = record["class_name"], record.get("registered_name"), record.get("module")
    if name == "__lambda__" or name.rpartition(">")[2] == "Lambda":
        raise ValueError("it has a lambda, whose code nblstm does not run; give Keras a named function")
    if not isinstance(registered, str):
        registered = name if ">" in name else None
    if registered is not None:
        package, _, short = registered.rpartition(">")
        keras_s = module is None or str(module).split(".")[0] in ("keras", "tf_keras", "tensorflow")
        keras_s = keras_s and package.lower() in ("", "keras")
        if not (keras_s and short in registry.classes and custom.found(registered) is None):
            return registered if ">" in registered else custom.CUSTOM + registered
        return short
    if module is not None and str(module).split(".")[0] not in ("keras", "tf_keras", "builtins"):
        return custom.CUSTOM + name
    return name


def _leave_out(label: str, key: str, value) -> None:
    """Refuse an argument of Keras's that nblstm has not, unless it has its default."""
    values = LEFT_OUT.get(key, ())
    plain = isinstance(value, bool | int | float | str)
    if value is None or any(allowed is ANY or (plain and value == allowed) for allowed in values):
        return
    shown = value if plain else value.get("class_name", "a dict") if isinstance(value, dict) else "a list"
    raise ValueError(f"{label} has {key}={shown!r}, which nblstm has not; make the model without it")


def _value(label: str, key: str, value, version: int) -> Any:
    """An argument's value as nblstm's records have it."""
    if isinstance(value, list):
        return (
            value[0] if key == "axis" and len(value) == 1 else [_value(label, key, entry, version) for entry in value]
        )
    if not isinstance(value, dict):
        return value
    kind, config = value.get("class_name"), value.get("config")
    if key == "dtype":
        name = config.get("name") if isinstance(config, dict) else None
        if kind not in ("DTypePolicy", "Policy") or name not in ("float32", "float64"):
            raise ValueError(f"{label} computes in {name!r}; nblstm computes in float32 and float64")
        return name
    if kind == "function":
        return function_name(config, FUNCTIONS if key.endswith("activation") else LOSSES.classes)
    if kind in ("__numpy__", "__tensor__") and isinstance(config, dict):
        return config.get("value")
    if kind == "__tuple__":
        return [_value(label, key, entry, version) for entry in value.get("items", [])]
    if key == "layer" or key.endswith("_layer"):
        made = read_layer(value, version).records
        if len(made) != 1:
            raise ValueError(f"{label} has an RNN of several cells in it, which nblstm has not")
        return made[0]
    for end, registry in KINDS.items():
        if key.endswith(end):
            return read_object(value, registry, version)
    if isinstance(kind, str) and key.endswith("activation"):
        raise ValueError(f"{label} has the activation {kind!r}; put a layer of it behind, with a linear activation")
    return value
