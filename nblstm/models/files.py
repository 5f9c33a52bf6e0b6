"""Models as plain values and as files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nblstm.arguments import custom, validate
from nblstm.files import archive, content, formats
from nblstm.layers import Layer, deserialize, serialize
from nblstm.layers.base.parameters import UNDRAWN
from nblstm.models import snapshot, tensor_files
from nblstm.models.step import prepare
from nblstm.training import losses, optimizers

if TYPE_CHECKING:
    from nblstm.models.sequential import Sequential


#: Keys of the config of a model of nblstm's; Keras's has others beside them.
_OWN = {"name", "layers", "build_input_shape"}


def _keras() -> Any:
    """Return the module of Keras's files, which few programs need and whose import takes 10 ms."""
    from nblstm.models.keras_files import keras_formats

    return keras_formats


def layers_with_input(model: Sequential) -> list[Layer]:
    """The layers, the Input before them if there is one."""
    return [model._input, *model._layers] if model._input else list(model._layers)


def get_config(model: Sequential) -> dict[str, Any]:
    """Name, layers and the input's shape as plain values; no parameters.

    Raises
    ------
    TypeError
        If a layer has an argument that cannot be saved.
    ValueError
        If two objects of your own have one name.
    """
    with custom.one_file():
        described = [serialize(layer) for layer in layers_with_input(model)]
    return {
        "name": model.name,
        "layers": described,
        "build_input_shape": None if model.input_shape is None else list(model.input_shape),
    }


def from_config(
    cls: type[Sequential], config: dict[str, Any], custom_objects: dict[str, Any] | None = None
) -> Sequential:  # fmt: skip
    """The model that gave this config, with new parameters.

    Parameters
    ----------
    config : dict
    custom_objects : dict of str to object, optional
        What names of your own in it stand for; see `load_model`.
    """
    with custom.custom_object_scope(custom_objects):
        model, shape = _unbuilt(cls, config)
    if shape is not None:
        model.build(shape)
    return model


def to_json(model: Sequential, **kwargs) -> str:
    """`get_config` as JSON; ``kwargs`` are those of `json.dumps`."""
    return json.dumps({"class_name": "Sequential", "config": model.get_config()}, **kwargs)


def from_json(cls: type[Sequential], described: dict[str, Any], custom_objects: dict[str, Any] | None) -> Sequential:
    """The model that JSON describes: nblstm's own, or Keras's."""
    config = described["config"]
    if set(described) == {"class_name", "config"} and isinstance(config, dict) and set(config) == _OWN:
        return from_config(cls, config, custom_objects)
    with custom.custom_object_scope(custom_objects):
        try:
            return _keras().from_json(cls, described)
        except content.FAULTS as error:
            raise ValueError(f"json_string cannot be read: {content.reason(error, 'to_json()')}") from error


def _unbuilt(cls, config) -> tuple[Any, Any]:
    """The model of a config, and the shape to build it for or None."""
    if not isinstance(config, dict) or set(config) != _OWN:
        raise ValueError("the config of a model has name, layers and build_input_shape; give what get_config() gave")
    if not isinstance(config["layers"], list):
        raise ValueError("layers is no list; give what get_config() gave")
    model = cls(name=config["name"])
    for record in config["layers"]:
        model.add(deserialize(record), rebuild=False)
    return model, config["build_input_shape"]


def save(model: Sequential, filepath, overwrite: bool = True, include_optimizer: bool = True) -> None:
    """Write the model to a file, from which `load_model` makes it again.

    The file has what the model is, its parameters and, if it is compiled, loss, metrics and optimizer with its state.
    It holds no pickled object, and it takes the place of an old one in one instant: who is killed before that leaves
    the old one whole.

    Parameters
    ----------
    filepath : str or PathLike
        Its end says the format: ``.nblstm`` or none is nblstm's own, which also has the sources of randomness and the
        states of stateful layers; ``.keras`` is Keras 3's, and ``.h5`` or ``.hdf5`` its older one. Keras reads these
        and trains on.
    overwrite : bool, default True
        Whether a file that is there may be replaced.
    include_optimizer : bool, default True
        Whether loss, metrics and optimizer are saved.

    Raises
    ------
    TypeError
        If a function or an object of your own has no name, or no config, by which it could be found again.
    ValueError
        If the model is not built, two objects of your own have one name, the file's name stands for another format, or
        the model has something that Keras has not and the name is one of Keras's.
    ImportError
        If the name is one of Keras's and h5py is not installed.
    OSError
        If the file cannot be written.

    Notes
    -----
    Functions, classes and cells of your own are saved by name. Where the model is loaded, they have to be
    registered (`nblstm.utils.register_keras_serializable`, `nblstm.layers.register`, `register_cell`), or given as
    ``custom_objects``.
    """
    model._need_built()
    path = validate.path("filepath", filepath)
    suffix = formats.suffix_of_model("filepath", path, weights=False)
    target = refuse_old(path, overwrite)
    with custom.one_file():
        if suffix in formats.KERAS_SUFFIXES:
            _keras().write_model(target, suffix, model, include_optimizer)
        else:
            _write_own(target, model, include_optimizer)


def _write_own(path: str, model: Sequential, include_optimizer: bool) -> None:
    """Write nblstm's own format."""
    described, made = get_config(model), None  # layers that cannot be saved say so first
    if include_optimizer:
        try:
            made = _compiled_with(model)
        except TypeError as error:
            raise TypeError(f"{error}; or save without it, by include_optimizer=False") from None
    contents = model._parameters_lock.read(lambda: _contents(model, made))
    archive.write(path, "model", {"config": described, "compile": made} | contents)


def need_savable(model: Sequential, filepath: str | None = None, weights_only: bool = False) -> None:
    """Raise what `save`, or `save_weights`, would of the model: before a long fit, not behind it."""
    suffix = "" if filepath is None else formats.suffix_of_model("filepath", filepath, weights_only)
    with custom.one_file():
        if suffix.endswith(formats.KERAS_SUFFIXES):
            _keras().need_writable(model, weights_only)
        if weights_only:
            return
        get_config(model)
        _compiled_with(model)


def _compiled_with(model: Sequential) -> dict[str, Any] | None:
    """The arguments of `compile` as plain values; None for a model that is not compiled."""
    if not model.compiled:
        return None
    objective: Any = model.objective
    optimizer: Any = model.optimizer
    return {
        "optimizer": optimizer.record(),
        "loss": objective.loss.record(),
        "metrics": [metric.record() for metric in objective.metrics],
        "weighted_metrics": [metric.record() for metric in objective.weighted_metrics],
        "bptt_steps": model._bptt_steps,
    }


def _contents(model: Sequential, made) -> dict[str, Any]:
    """Parameters, states, sources of randomness and the optimizer's state."""
    optimizer: Any = model.optimizer
    state = optimizer.state() if made is not None and optimizer.modules else None
    return snapshot.arrays(model) | {"optimizer_state": state}


def save_weights(model: Sequential, filepath, overwrite: bool = True) -> None:
    """Write the parameters alone to a file; see `save`.

    Under a name that ends in ``.weights.h5`` the file is one of Keras 3's, in ``.h5`` or ``.hdf5`` one of Keras 2's,
    and in ``.safetensors`` it has tensors named ``"<layer>.<parameter>"``.
    """
    model._need_built()
    path = validate.path("filepath", filepath)
    suffix = formats.suffix_of_model("filepath", path, weights=True)
    target = refuse_old(path, overwrite)
    if suffix.endswith(formats.KERAS_SUFFIXES):
        _keras().write_weights(target, suffix, model)
    elif suffix == ".safetensors":
        tensor_files.save_weights(target, model)
    else:
        archive.write(target, "weights", {"weights": model._parameters_lock.read(snapshot.parameters, model)})


def load_weights(model: Sequential, filepath, skip_mismatch: bool = False, by_name: bool = False) -> None:
    """Set the parameters from a file that `save_weights` or `save` wrote, here or in Keras.

    Raises as `load_model` does. If they are not those of these layers, nothing has been changed.

    Parameters
    ----------
    filepath : str or PathLike
    skip_mismatch : bool, default False
        Whether a layer for which the file has none, or others in number or shape, keeps its parameters; a warning names
        these layers.
    by_name : bool, default False
        Whether layers take what the file has under their names, in any order, and others keep their parameters. It is
        for files of the older kind, ``.h5`` and ``.hdf5``.
    """
    model._need_built()
    skip_mismatch = validate.flag("skip_mismatch", skip_mismatch)
    path = validate.source_path("filepath", filepath)
    if validate.flag("by_name", by_name) and not path.lower().endswith((".h5", ".hdf5")):
        raise ValueError(f"by_name is for files of Keras's older kind, .h5, and not for {path!r}; leave it out")
    if path.lower().endswith(".safetensors"):
        tensor_files.load_weights(model, path, skip_mismatch)
    elif path.lower().endswith(formats.KERAS_SUFFIXES):
        _keras().load_weights(model, path, skip_mismatch, by_name)
    else:
        values = archive.read(path, "weights", "model").get("weights")
        _understood(path, lambda: snapshot.set_checked(model, values, skip_mismatch))


def refuse_old(path, overwrite: bool) -> str:
    """The path of a file that may be written, of any format."""
    path = validate.target_path("filepath", path)
    if not validate.flag("overwrite", overwrite) and os.path.exists(path):
        raise FileExistsError(f"there is a file {path!r} already; give overwrite=True to replace it")
    return path


def read_model(cls: type[Sequential], path, custom_objects: dict[str, Any] | None, compile: bool) -> Sequential:
    """The model in a file; see `load_model`."""
    compile = validate.flag("compile", compile)
    with custom.custom_object_scope(custom_objects):
        path = validate.source_path("filepath", path)
        if path.lower().endswith(formats.KERAS_SUFFIXES):
            return _keras().read_model(cls, path, compile)
        values = archive.read(path, "model")
        return _understood(path, lambda: _restored(cls, values, compile))


def _restored(cls, values: dict[str, Any], compile: bool):
    """The model of a file's content."""
    content.expect(
        "the content", values, config=dict, compile=dict | None, weights=list, states=list, generators=dict,
        optimizer_state=dict | None,
    )  # fmt: skip
    model, shape = _unbuilt(cls, values["config"])
    snapshot.check_parameters(model, shape, values["weights"])
    model.build(shape, UNDRAWN)
    snapshot.set_parameters(model, values["weights"])
    made, state = values["compile"], values["optimizer_state"]
    if compile and made is not None:
        content.expect(
            "what the model is compiled with", made, optimizer=dict, loss=dict, metrics=list, weighted_metrics=list,
            bptt_steps=int | None,
        )  # fmt: skip
        model.compile(
            optimizers.get(made["optimizer"]), losses.get(made["loss"]), metrics=made["metrics"],
            weighted_metrics=made["weighted_metrics"], bptt_steps=made["bptt_steps"],
        )  # fmt: skip
        if state is not None:
            prepare(model)
            model.optimizer.load_state(state)
    snapshot.set_states(model, values["states"])
    snapshot.set_generators(model, values["generators"])
    return model


def _understood(path, make: Callable[[], Any]):
    """Return ``make()``; a file's content may make anything fail, and each failure is blamed on the file."""
    try:
        return make()
    except content.FAULTS as error:
        raise ValueError(f"{os.fspath(path)!r} cannot be loaded: {content.reason(error, 'save()')}") from error
