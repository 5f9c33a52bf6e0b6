"""Networks from files: kind and sizes by what was saved with the parameters, else by their names and shapes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.buffers.layout import recurrent_layout
from nblstm.cells import gru, lstm, pickling, rnn_relu, rnn_tanh
from nblstm.cells.cell import Cell
from nblstm.cells.projection import projected
from nblstm.engine.device import device_for
from nblstm.files import content, tensors
from nblstm.nn import parameter_files
from nblstm.nn.linear import Linear
from nblstm.nn.named import GRU, LSTM, RNN
from nblstm.nn.recurrent import Recurrent
from nblstm.nn.recurrent_arguments import layers_of
from nblstm.nn.stack import Stack

#: The cell of each number of gates, where nothing else tells it: torch's files.
_BY_GATES = {4: lstm, 3: gru, 1: rnn_tanh}

#: The names of cells that have a class of their own.
_CLASSES: dict[Cell, tuple[type[Recurrent], dict[str, Any]]] = {
    lstm: (LSTM, {}), gru: (GRU, {}), rnn_tanh: (RNN, {}), rnn_relu: (RNN, {"nonlinearity": "relu"}),
}  # fmt: skip

#: Arguments that names and shapes of parameters tell.
_SIZES = "input_size", "hidden_size", "num_layers", "bias", "bidirectional", "proj_size", "learn_initial_state", "dtype"

#: Names of the parameters in a Stack.
_OF_LAYER = re.compile(r"(\d{1,5})\.([^.]+)$")

#: Longest description of a network that is read.
_LONGEST = 100_000


def load(
    path, prefix: str = "", *, cell: Cell | None = None, batch_first: bool | None = None, device: str | None = None
) -> Any:  # fmt: skip
    """Make a network from a file: one that ``network.save`` wrote, or torch's, by names and shapes of its parameters.

    Parameters
    ----------
    path : str or PathLike
        ``.safetensors``, ``.npz``, or torch's ``.pt``, ``.pth``, ``.bin``, ``.ckpt``, of which nothing is executed.
    prefix : str, default ""
        Precedes the names of the network's parameters, such as ``"encoder.lstm."``.
    cell : Cell, optional
        For parameters of another software. If not given, 4 gates are an `LSTM`, 3 a `GRU`, 1 an `RNN` of tanh; a matrix
        ``weight`` is that of a `Linear`.
    batch_first : bool, optional
        As saved if not given; False for another software's.
    device : str, optional

    Returns
    -------
    LSTM, GRU, RNN, Recurrent, Stack or Linear
        A cell of your own needs not be defined: its equations are in the file.

    Raises
    ------
    TypeError, ValueError
        If the file is damaged or has no such network under the prefix; the message has the prefixes that fit.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> from nblstm import nn
    >>> path = os.path.join(tempfile.mkdtemp(), "gru.safetensors")
    >>> nn.GRU(3, 8, num_layers=2, seed=0).save(path)
    >>> nn.load(path)
    GRU(3, 8, num_layers=2)
    """
    text, prefix = validate.path("path", path), parameter_files.checked_prefix(prefix)
    if not (cell is None or isinstance(cell, Cell)):
        raise TypeError(f"cell is {cell!r}; give a cell made by the decorator nblstm.cell, or one of nblstm.cells")
    if batch_first is not None:
        batch_first = validate.flag("batch_first", batch_first)
    given = {"device": device_for(device)}

    def choose(names: list[str]) -> list[str]:
        if not prefix and {"0.weight_hh_l0"} == {"0.weight_hh_l0", "weight_hh_l0", "weight"} & set(names):
            return [name for name in names if _OF_LAYER.match(name)]  # a Stack, if its description says so
        found = [name for name in names if name.startswith(prefix) and "." not in name.removeprefix(prefix)]
        if prefix + "weight" not in found and not any(name.endswith("_l0") for name in found):
            fitting = parameter_files.prefixes(names, "weight_hh_l0") or parameter_files.prefixes(names, "weight")
            raise parameter_files.need_prefix(text, prefix, fitting, "recurrent or linear network")
        return found

    arrays, metadata = tensors.read(path, choose)
    state = {name.removeprefix(prefix): array for name, array in arrays.items()}
    if "0.weight_hh_l0" in state and parameter_files.KEY not in metadata:  # whether there are sums, nothing says
        fitting = parameter_files.prefixes(state, "weight_hh_l0")
        raise parameter_files.need_prefix(text, prefix, fitting, "recurrent or linear network")
    try:
        saved = {} if prefix else _description(metadata.get(parameter_files.KEY))
        if saved.get("class_name") == "Stack":
            return _stack(text, state, saved["config"], cell, batch_first, given)
        if "weight" in state:
            return _linear(state, cell, batch_first)
        return _recurrent(text, state, saved, cell, batch_first, given)
    except content.FAULTS as error:
        raise ValueError(f"{text!r} cannot be loaded: {content.reason(error, 'save()')}") from None


def _description(text: str | None) -> dict[str, Any]:
    """The description that `parameter_files.description` made; empty for files of other software."""
    if text is None:
        return {}
    if len(text) > _LONGEST:
        raise ValueError(f"the description of its network has {len(text)} characters, more than {_LONGEST}")
    found = json.loads(text)
    content.expect("the description of its network", found, class_name=str, config=dict)
    return found


def _recurrent(
    path: str, state: dict[str, np.ndarray], saved: dict[str, Any], cell: Cell | None, batch_first: bool | None,
    options: dict[str, Any],
) -> Recurrent:  # fmt: skip
    """The network of parameters by name."""
    kind, options = _kind(saved, state, cell), dict(options)
    cls, more = _CLASSES.get(kind, (Recurrent, {"cell": kind}))
    options |= more
    config = saved["config"] if saved else {}
    sizes = _sizes(path, kind, state, config)
    if saved:
        wrong = [name for name in _SIZES if config.get(name) != sizes[name]]
        if wrong:
            raise ValueError(f"its {wrong[0]} is {config.get(wrong[0])!r}, and that of its arrays {sizes[wrong[0]]!r}")
        options |= {name: value for name, value in config.items() if name not in ("cell", "nonlinearity")}
    if batch_first is not None:
        options["batch_first"] = batch_first
    network = cls(**sizes | options)
    network.load_state_dict(state)
    return network


def _kind(saved: dict[str, Any], state: Mapping[str, np.ndarray], given: Cell | None) -> Cell:
    """The cell: as saved, as given, or by its number of gates."""
    if saved:
        name, config = saved["class_name"], saved["config"]
        by_name = {cls.__name__: cell for cell, (cls, more) in _CLASSES.items() if not more}
        if name == "Recurrent":
            found = parameter_files.cell_from_data(config.get("cell"))
        elif name == "RNN" and config.get("nonlinearity") == "relu":
            found = rnn_relu
        elif name in by_name:
            found = by_name[name]
        else:
            raise ValueError(f"there is no network named {name!r} in nblstm.nn")
        if given is not None and not pickling.alike(given, found):
            raise ValueError(f"it has a network of the cell {found.name!r} and not of {given.name!r}; leave out cell")
        return found if given is None else given
    rows = _matrix(state, "weight_hh_l0")[0]
    H = _matrix(state, "weight_hr_l0" if "weight_hr_l0" in state else "weight_hh_l0")[1]
    gates = rows / H if H else 0
    if given is None and gates not in _BY_GATES:
        raise ValueError(f"weight_hh_l0 has shape {(rows, H)}, of {gates:g} gates; give cell, its equations")
    return given or _BY_GATES[int(gates)]


def _sizes(path: str, cell: Cell, state: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Recurrent` that parameters by name tell, whose names and shapes are those of this cell.

    Sizes that no matrix tells, as of a cell without a recurrence, are those of the description.
    """
    P = _matrix(state, "weight_hr_l0")[0] if "weight_hr_l0" in state else 0
    made = projected(cell) if P else cell
    H = config.get("hidden_size", 0)
    if P or (made.matrix is None and made.recurrent_gates):
        H = _matrix(state, "weight_hr_l0" if P else "weight_hh_l0")[1]
    I = _matrix(state, "weight_ih_l0")[1] if made.input_gates else config.get("input_size", H)
    for name, size in (("hidden_size", H), ("input_size", I)):
        validate.positive_integer(name, size)
    layers = {int(found[1]) for name in state if (found := re.fullmatch(r"\w+?_l(\d{1,9})", name))}
    both = any(name.endswith("_l0_reverse") for name in state)
    L, bias = layers_of(len(layers)), bool({"bias_ih_l0", "bias_hh_l0"} & {*state})
    if not (made.input_gates or made.recurrent_gates):  # there is no bias either way
        bias = config.get("bias", True)
    learns = f"initial_{made.states[0]}_l0" in state
    layout = recurrent_layout(made, I, H, L, 2 if both else 1, bias, learns, P)
    parameter_files.check_names(path, state, "", layout.shapes)
    for name, shape in layout.shapes.items():
        validate.shaped(f"parameter {name!r}", state[name], shape, f"that of a network of the cell {cell.name!r}")
    return dict(zip(_SIZES, (I, H, L, bias, both, P, learns, _dtype(state)), strict=True))


def _stack(
    path: str, state: dict[str, np.ndarray], config: Any, cell: Cell | None, batch_first: bool | None,
    options: dict[str, Any],
) -> Stack:  # fmt: skip
    """The stack of parameters by name and layer."""
    if cell is not None:
        raise ValueError("it has a Stack, whose layers have cells of their own; leave out cell")
    content.expect("the description of its network", config, layers=list, residual=bool, dropout=float)
    own: list[dict[str, np.ndarray]] = [{} for _ in config["layers"]]
    for name, array in state.items():
        found = _OF_LAYER.match(name)
        if found is None or int(found[1]) >= len(own):
            raise ValueError(f"it has {name!r}, and its description {len(own)} layers")
        own[int(found[1])][found[2]] = array
    layers = []
    for k, (arrays, saved) in enumerate(zip(own, config["layers"], strict=True)):
        content.expect(f"layer {k}", saved, class_name=str, config=dict)
        layers.append(_recurrent(path, arrays, saved, None, batch_first, options))
    return Stack(layers, residual=config["residual"], dropout=config["dropout"])


def _linear(state: dict[str, np.ndarray], cell: Cell | None, batch_first: bool | None) -> Linear:
    for name, value in (("cell", cell), ("batch_first", batch_first)):
        if value is not None:
            raise ValueError(f"it has a Linear, and {name} is of recurrent networks; leave it out")
    rows, columns = _matrix(state, "weight")
    validate.shaped("parameter 'bias'", state.get("bias", np.empty(rows)), (rows,), "that of a Linear")
    made = Linear(columns, rows, bias="bias" in state, dtype=_dtype(state))
    made.load_state_dict(state)
    return made


def _matrix(state: Mapping[str, np.ndarray], name: str) -> tuple[int, int]:
    """The shape of a parameter."""
    if name not in state or state[name].ndim != 2:
        raise ValueError(f"it has no matrix {name!r}")
    return state[name].shape


def _dtype(state: Mapping[str, np.ndarray]) -> str:
    return "float64" if any(value.dtype == np.float64 for value in state.values()) else "float32"
