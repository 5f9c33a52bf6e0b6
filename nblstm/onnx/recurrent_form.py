"""Attributes of LSTM, GRU and RNN nodes as cells, and their weights as networks of `nblstm.nn`."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from nblstm.cells.cell import Cell
from nblstm.cells.gru import gru
from nblstm.cells.lstm import lstm
from nblstm.cells.onnx_forms import ACTIVATIONS, Activation, gru_form, lstm_form, rnn_form
from nblstm.cells.rnn import rnn_relu, rnn_tanh
from nblstm.nn import GRU, LSTM, RNN
from nblstm.nn.recurrent import Recurrent

#: Inputs that the three operators have in common, and those of an LSTM behind them.
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")

#: The place of each gate's block in W, R and B.
GATES = {"LSTM": {"i": 0, "o": 1, "f": 2, "g": 3}, "GRU": {"z": 0, "r": 1, "n": 2}, "RNN": {"a": 0}}

#: The place of each vector's block in P.
PEEPHOLES = {"p_i": 0, "p_o": 1, "p_f": 2}

#: Activations where nothing is given.
USUAL = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}

#: alpha and beta where a node gives none: the operators' own, and for the last three onnxruntime's.
DEFAULTS = {
    "LeakyRelu": (0.01,), "Elu": (1.0,), "HardSigmoid": (0.2, 0.5),
    "Affine": (0.0, 0.0), "ScaledTanh": (0.0, 0.0), "ThresholdedRelu": (0.0,),
}  # fmt: skip

#: alpha and beta that the operators of these names have, and onnxruntime does not take in a recurrent node.
_ONNX_DEFAULTS = {"Affine": "1 and 0", "ScaledTanh": "1 and 1", "ThresholdedRelu": "1"}

_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


@dataclass(frozen=True)
class Form:
    """A recurrent node without its weights.

    Attributes
    ----------
    kind : str
        ``"LSTM"``, ``"GRU"`` or ``"RNN"``.
    cells : tuple of Cell
        One for each direction.
    reverse : tuple of bool
        For each direction whether it reads from the last step to the first.
    batch_first : bool
        ONNX's layout 1.
    hidden_size : int or None
        None where the node does not say.
    """

    kind: str
    cells: tuple[Cell, ...]
    reverse: tuple[bool, ...]
    batch_first: bool
    hidden_size: int | None

    @classmethod
    def of(cls, kind: str, attributes: dict[str, Any], peepholes: bool, doubts: list[str]) -> Form:
        """The form of a node with these attributes; ``doubts`` gets what its user should be warned of."""
        direction, layout = attributes["direction"], attributes.get("layout", 0)
        if direction not in _DIRECTIONS:
            raise ValueError(f"direction is {direction!r}; it needs to be one of {', '.join(_DIRECTIONS)}")
        if layout not in (0, 1):
            raise ValueError(f"layout is {layout}; it needs to be 0 or 1")
        clip = attributes.get("clip")
        if clip is not None and not 0 < clip < np.inf:
            raise ValueError(f"clip is {clip}; it needs to be above 0")
        reverse = _DIRECTIONS[direction]
        cells = []
        for activations in _activations(kind, attributes, len(reverse), doubts):
            if kind == "LSTM":
                cells.append(lstm_form(activations, clip, bool(attributes.get("input_forget", 0)), peepholes))
            elif kind == "GRU":
                cells.append(gru_form(activations, clip, bool(attributes.get("linear_before_reset", 0))))
            else:
                cells.append(rnn_form(activations[0], clip))
        return cls(kind, tuple(cells), reverse, bool(layout), attributes.get("hidden_size"))

    @property
    def D(self) -> int:
        """Number of directions."""
        return len(self.reverse)

    def networks(self, W, R, B=None, P=None) -> tuple[Recurrent, ...]:
        """The networks with these weights: one, or where the directions' cells differ one each."""
        D, G, H = self.D, len(GATES[self.kind]), R.shape[-1]
        if self.hidden_size not in (None, H):
            raise ValueError(f"hidden_size is {self.hidden_size} and R has shape {R.shape}, so that it would be {H}")
        needed = {"W": (W, (D, G * H, W.shape[-1])), "R": (R, (D, G * H, H)), "B": (B, (D, 2 * G * H))}
        needed["P"] = (P, (D, 3 * H))
        for name, (value, shape) in needed.items():
            if value is None:
                continue
            if value.shape != shape or value.dtype != W.dtype or value.dtype.kind != "f" or 0 in shape:
                raise ValueError(
                    f"{name} is {value.dtype} of shape {value.shape}, W of {W.shape}; for {D} directions of {H} units "
                    f"it needs shape {shape} and W's dtype"
                )
        groups = [range(D)] if len(set(self.cells)) == 1 else [[k] for k in range(D)]
        return tuple([self._network(list(group), W, R, B, P) for group in groups])

    def _network(self, directions: list[int], W, R, B, P) -> Recurrent:
        cell, H = self.cells[directions[0]], R.shape[-1]
        options: dict[str, Any] = {
            "bias": B is not None, "batch_first": self.batch_first, "bidirectional": len(directions) == 2,
            "reverse": len(directions) == 1 and self.reverse[directions[0]],
            "dtype": "float64" if W.dtype == np.float64 else "float32", "seed": 0,
        }  # fmt: skip
        network = network_of(cell, W.shape[-1], H, **options)
        state = {}
        for k, d in enumerate(directions):
            own = {"weight_ih": W[d], "weight_hh": R[d]}
            if B is not None:
                own["bias_ih"], own["bias_hh"] = np.split(B[d], 2)
            end = "_l0_reverse" if k else "_l0"
            order = [GATES[self.kind][gate] for gate in cell.gates]
            for name, value in own.items():
                blocks = value.reshape(len(GATES[self.kind]), H, *value.shape[1:])
                state[name + end] = blocks[order].reshape(-1, *value.shape[1:])
            for name in cell.vectors:
                state[name + end] = P[d].reshape(3, H)[PEEPHOLES[name]]
        network.load_state_dict(state)
        return network


def network_of(cell: Cell, input_size: int, hidden_size: int, **options: Any) -> Recurrent:
    """A network of a cell, of the class that has the cell's name where there is one."""
    if cell is lstm:
        return LSTM(input_size, hidden_size, **options)
    if cell is gru:
        return GRU(input_size, hidden_size, **options)
    if cell in (rnn_tanh, rnn_relu):
        return RNN(input_size, hidden_size, nonlinearity="tanh" if cell is rnn_tanh else "relu", **options)
    return Recurrent(cell, input_size, hidden_size, **options)


def _activations(kind: str, attributes: dict[str, Any], D: int, doubts: list[str]) -> list[Any]:
    """For each direction its activations; alpha and beta are used up, in order, by those that take them."""
    names = attributes.get("activations", USUAL[kind] * D)
    if kind == "RNN" and names == ("Tanh", "Tanh"):  # the schema's default, for two directions
        names = names[:D]
    known = {name.lower(): name for name in ACTIVATIONS}
    unknown = [name for name in names if name.lower() not in known]
    if unknown or len(names) != D * len(USUAL[kind]):
        raise ValueError(
            f"activations are {', '.join(map(repr, names[:12]))}; it needs {D * len(USUAL[kind])} of "
            f"{', '.join(ACTIVATIONS)}"
        )
    left = {name: list(attributes.get(f"activation_{name}", ())) for name in ("alpha", "beta")}
    for which, values in left.items():
        if not all(map(isfinite, values)):
            raise ValueError(f"activation_{which} are {values[:12]}; they need to be finite")
    found = []
    for name in [known[name.lower()] for name in names]:
        taken, missing = [], False
        for which, usual in zip(left, DEFAULTS.get(name, ()), strict=False):
            missing |= not left[which]
            taken.append(left[which].pop(0) if left[which] else usual)
        if missing and name in _ONNX_DEFAULTS:
            doubts.append(
                f"has the activation {name} and no alpha or beta for it; they are 0 here, as in onnxruntime, and not "
                f"{_ONNX_DEFAULTS[name]} as in ONNX's operator {name}, so write them into the node"
            )
        found.append(Activation(name, *taken))
    for which, values in left.items():
        if values:
            doubts.append(f"has {len(values)} more activation_{which} than its activations take; these are not used")
    per = len(USUAL[kind])
    return [tuple(found[k * per : (k + 1) * per]) for k in range(D)]
