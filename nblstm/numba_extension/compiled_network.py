"""A network as a value for compiled functions."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Literal

import numpy as np

from nblstm.arguments import validate
from nblstm.cpu.arguments import address
from nblstm.numba_extension import jacobian_method, numba_methods  # noqa: F401  # what functions compiled by Numba call
from nblstm.numba_extension.block import Block, Part
from nblstm.numba_extension.jacobian_kernels import jacobian_kernel
from nblstm.numba_extension.kernels import step_kernel
from nblstm.numba_extension.network_type import has_type
from nblstm.numba_extension.step_errors import (
    NO_SUCH_STATE,
    InputError,
    JacobianError,
    SignalError,
    StateError,
    UnknownIndexError,
)

#: Form in which Python gets the states: nn's tuple, the one state bare, or a tuple for each layer.
Form = Literal["tuple", "bare", "layers"]


@cache
def _called(kernel: int, arguments: int):
    """The C function at an address."""
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * arguments)(kernel)


def _of_header(field: str, text: str) -> property:
    return property(lambda self: self._header[field], doc=text)


@has_type
class CompiledNetwork:
    """A network at one moment, for functions under `numba.njit`, which take it as an argument, and for Python.

    Made by ``network.compiled()`` and ``model.compiled()``. Compiled functions have the methods and attributes marked
    with *; one compiled function serves networks of all cells and sizes, of one dtype.

    Attributes
    ----------
    input_size*, output_size*, batch_size* : int
        Features of the input and of the output (I, O), and rows that step together (B).
    state_size* : int
        Numbers of a state `s`: the states of all layers, then workspace.
    recurrent_size* : int
        Numbers of these states: ``s[:net.recurrent_size]``.
    num_layers* : int
        Recurrent layers.
    num_signals* : int
        Signals that a step is given beside x. A Sequential has them among the columns of x.
    dtype* : str
        Of states, inputs and outputs.

    Notes
    -----
    A state is a one-dimensional array, and all that a step writes is in it: threads with a state each share a network.
    Its first numbers are the states (S, num_layers, B, H) of an ``nn`` network, in the cell's order, and of a
    Sequential the states (S, B, H) of each recurrent layer, one after another.
    """

    def __init__(self, parts: list[Part], batch_size: int, form: Form):
        if len(parts) > 1 and any(part.num_signals for part in parts):
            raise ValueError("a stack whose cells take signals cannot be compiled; compile its layers one by one")
        self._parts, self._form = parts, form
        B = validate.positive_integer("batch_size", batch_size)
        self._block = Block(parts, B, step_kernel(), jacobian_kernel(parts[0].dtype) if B == 1 else 0)
        self._at = self._block.at  # where compiled functions find it
        header = self._block.header
        self._header = {field: getattr(header, field) for field, *_ in header._fields_}
        self._dtype = np.dtype(parts[0].dtype)

    input_size = _of_header("input_size", "Features of the input (I).")
    output_size = _of_header("output_size", "Features of the output (O).")
    batch_size = _of_header("batch_size", "Rows that step together (B).")
    state_size = _of_header("state_size", "Numbers of a state.")
    recurrent_size = _of_header("recurrent_size", "Numbers of the layers' states, with which a state begins.")
    num_layers = _of_header("num_layers", "Recurrent layers.")
    num_signals = _of_header("num_signals", "Signals that a step is given beside x.")
    dtype = property(lambda self: self._dtype.name, doc="Of states, inputs and outputs.")

    def __repr__(self):
        sizes = f"{self.input_size} to {self.output_size} features, {self.num_layers} recurrent layers"
        return f"<CompiledNetwork of {sizes}, batch_size {self.batch_size}, {self.dtype}>"

    def __reduce__(self):
        """Copies, and other processes, make a block of their own."""
        return CompiledNetwork, (self._parts, self.batch_size, self._form)

    def update(self, module) -> None:
        """Take the present parameters of a module, or of a model, in place: whoever has this network sees them.

        Parameters
        ----------
        module : Recurrent or Sequential
            Of the architecture that this was made of. No other thread may step meanwhile.

        Raises
        ------
        TypeError, ValueError
            If it is something else.
        """
        if not hasattr(module, "compiled"):
            raise TypeError(f"update() got {type(module).__name__}; give a network or model that has compiled()")
        new: CompiledNetwork = module.compiled(self.batch_size)
        if [part.architecture for part in new._parts] != [part.architecture for part in self._parts]:
            raise ValueError(
                f"update() got {module!r}, whose cell, layers or sizes are not those of {self!r}; compile it by itself"
            )
        self._block.take(new._block)
        self._parts = new._parts

    def zero_state(self) -> np.ndarray:
        """A new state (state_size,) before the first step: zeros, or the cell's or the learned initial states."""
        s = np.zeros(self.state_size, self._dtype)
        s[: self.recurrent_size] = self._block.initial
        return s

    def reset(self, s: np.ndarray) -> None:
        """Set a state back to that before the first step."""
        self._check_state(s)
        s[: self.recurrent_size] = self._block.initial

    def step(self, x, s: np.ndarray, signals=None) -> np.ndarray:
        """Advance a state by one step.

        Parameters
        ----------
        x : ndarray, shape (I,) where B is 1, or (B, I)
            Of float32 or float64. For a network that begins with an Embedding: an index, or a 1-D array (B,) of them.
        s : ndarray, shape (state_size,)
            From `zero_state`; is changed.
        signals : ndarray, shape (K,) where B is 1, or (B, K); (K, H) or (B, K, H) with a number for each unit
            What a cell with K signals takes beside x, in its order; of float32 or float64.

        Returns
        -------
        ndarray, shape (O,) for an input (I,) or a single index, else (B, O)
            A view of ``s``, valid until its next step.

        Raises
        ------
        ValueError
            If x, s or signals has another shape, or an index is out of range.
        TypeError
            If one has another dtype; in compiled functions at compilation.
        """
        header, B, vocabulary = self._header, self.batch_size, self._header["vocabulary"]
        self._check_state(s)
        x = np.asarray(x)
        flat = x.ndim == (0 if vocabulary else 1)
        self._check_input(x)
        if signals is not None or header["num_signals"]:
            self._put_signals(signals, s)
        if vocabulary:
            target = s[header["x"] : header["x"] + B].view(f"i{self._dtype.itemsize}")
            target[...] = x
            x = target
        elif x.dtype != self._dtype or not (x.flags.c_contiguous and x.flags.aligned) or np.may_share_memory(x, s):
            x = np.array(x, self._dtype, order="C")
        _called(header["step"], 3)(self._at, address(x), address(s))
        y = s[header["y"] : header["y"] + B * header["output_size"]]
        return y if flat else y.reshape(B, -1)

    def jacobian(self, x, s: np.ndarray, signals=None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The state-space matrices of a step at (x, s): ``A = ds'/ds``, ``B = ds'/dx``, ``C = dy/ds``, ``D = dy/dx``.

        Parameters
        ----------
        x, s, signals
            As for `step` of one row: ``s`` is not changed. Signals are constants.

        Returns
        -------
        ndarray, shape (n, n), (n, I), (O, n) and (O, I)
            New arrays, with the ``n = recurrent_size`` numbers of the states in their order in ``s``. An index has no
            derivative: for a network that begins with an Embedding, B and D have no columns.

        Raises
        ------
        TypeError, ValueError
            As for `step`, and if the network has another batch_size than 1.
        """
        header = self._header
        if self.batch_size != 1:
            raise JacobianError(self.batch_size)
        self._check_state(s)
        t = s.copy()
        self.step(x, t, signals)
        x = t if header["vocabulary"] else np.array(x, self._dtype, order="C")
        n, I, O = self.recurrent_size, header["jacobian_columns"] - self.recurrent_size, self.output_size
        A, B, C, D = (np.empty(shape, self._dtype) for shape in ((n, n), (n, I), (O, n), (O, I)))
        work = np.empty(header["jacobian_size"], self._dtype)
        _called(header["jacobian"], 9)(self._at, *map(address, (x, s, t, work, A, B, C, D)))
        return A, B, C, D

    def _check_input(self, x: np.ndarray) -> None:
        B, I, vocabulary = self.batch_size, self.input_size, self._header["vocabulary"]
        integers = x.dtype.kind in "iu"
        if not integers and x.dtype not in (np.float32, np.float64):
            raise TypeError(f"x has dtype {x.dtype}; give float32 or float64, or integers where there is an Embedding")
        shape = (B,) if vocabulary else (B, I)
        if integers != (vocabulary > 0) or (x.shape != shape and not (B == 1 and x.shape == shape[1:])):
            raise InputError(x.shape, integers, B, I, vocabulary)
        if vocabulary:
            first = self._header["first_index"]
            wrong = x[(x < first) | (x >= vocabulary)].ravel()
            if wrong.size:
                raise UnknownIndexError(int(wrong[0]), first, vocabulary)

    def _put_signals(self, signals, s: np.ndarray) -> None:
        """Put a number for each row, signal and unit into a state."""
        header, B, K, H = self._header, self.batch_size, self.num_signals, self._header["signal_units"]
        if signals is None:
            raise SignalError((), K, B, H)
        array = np.asarray(signals)
        if array.ndim == 0 or array.dtype not in (np.float32, np.float64):
            came = f"{array.dtype} of {array.ndim} dimensions"
            raise TypeError(f"signals has {came}; give an array of float32 or float64")
        shapes = [(B, K), (B, K, H)] + [(K,), (K, H)] * (B == 1)
        if not K or array.shape not in shapes:
            raise SignalError(array.shape, K, B, H)
        array = array[..., None] if array.shape in ((K,), (B, K)) else array
        s[header["signals"] :][: B * K * H].reshape(B, K, H)[...] = array

    def _check_state(self, s) -> None:
        if not isinstance(s, np.ndarray) or s.dtype != self._dtype:
            came = f"dtype {s.dtype}" if isinstance(s, np.ndarray) else f"type {type(s).__name__}"
            raise TypeError(f"s has {came}; give a state of this network, {self.dtype}, from zero_state()")
        if s.size != self.state_size:
            raise StateError(s.size, self.state_size)
        if s.ndim != 1 or not s.flags.carray:
            raise ValueError("s is not one-dimensional, contiguous and writable; give one from zero_state(), or a copy")

    def layer_state(self, s: np.ndarray, layer: int, k: int) -> np.ndarray:
        """View (B, H) of a state in ``s``: the ``k``-th of the cell's states, of a recurrent layer."""
        self._check_state(s)
        if not 0 <= layer < self.num_layers or not 0 <= k < self._block.layers[layer].states:
            raise IndexError(NO_SUCH_STATE)
        return self._layer_states(s, layer)[k]

    def _layer_states(self, s: np.ndarray, layer: int) -> list[np.ndarray]:
        start, plane, count, H = self._block.layers[layer]
        return [s[at : at + self.batch_size * H].reshape(-1, H) for at in range(start, start + count * plane, plane)]

    def states(self, s: np.ndarray):
        """Views of all states in ``s``; writing to them changes it.

        Returns
        -------
        tuple of ndarray
            As calling an ``nn`` network returns them: each (num_layers, B, H), of a GRU or RNN the array by itself. Of
            a Sequential: for each recurrent layer a tuple of (B, H).
        """
        self._check_state(s)
        if self._form == "layers":
            return tuple(tuple(self._layer_states(s, layer)) for layer in range(self.num_layers))
        _, _, count, H = self._block.layers[0]
        views = s[: self.recurrent_size].reshape(count, self.num_layers, self.batch_size, H)
        return views[0] if self._form == "bare" else tuple(views)

    def set_states(self, s: np.ndarray, states) -> None:
        """Set all states in ``s``.

        Parameters
        ----------
        s : ndarray, shape (state_size,)
        states : tuple of array_like
            In the form of `states`: for an ``nn`` network as it returns them.
        """
        for (name, view), given in zip(_named(self.states(s)), _leaves(self.states(s), states), strict=True):
            array = validate.real_array(name, given, self.dtype)
            view[...] = validate.shaped(name, array, view.shape, "that of this network's state")


def _named(views, name: str = "states") -> list[tuple[str, np.ndarray]]:
    """Arrays in nested tuples, each with its place as a name."""
    if isinstance(views, np.ndarray):
        return [(name, views)]
    return [found for k, view in enumerate(views) for found in _named(view, f"{name}[{k}]")]


def _leaves(views, given, name: str = "states") -> list:
    """Return what is given for each array in nested tuples."""
    if isinstance(views, np.ndarray):
        return [given]
    if not isinstance(given, tuple | list) or len(given) != len(views):
        raise ValueError(f"{name} is {validate.came(given)}; give a tuple of {len(views)}, as states() returns it")
    return [leaf for k, view in enumerate(views) for leaf in _leaves(view, given[k], f"{name}[{k}]")]
