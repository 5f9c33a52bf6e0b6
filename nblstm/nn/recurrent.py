"""Recurrent layers of any cell, with torch's conventions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, overload

import numpy as np

from nblstm.arguments import seeds, validate
from nblstm.arguments.validate import DTypeLike
from nblstm.buffers.layout import recurrent_layout
from nblstm.cells.cell import Cell
from nblstm.cells.projection import projected
from nblstm.engine import engine, lookup
from nblstm.engine.device import device_for
from nblstm.engine.network import Network
from nblstm.engine.precision import precision_for
from nblstm.engine.tape import Tape
from nblstm.nn import compiled, derivatives, device_function, recurrent_arguments
from nblstm.nn.carried_states import CarriedStates
from nblstm.nn.module import Module
from nblstm.nn.stepper import Stepper


def _of_network(name: str) -> property:
    return property(lambda self: getattr(self._network, name), doc="As given.")


class Recurrent(Module):
    """A stack of recurrent layers of one cell.

    Parameters
    ----------
    cell : Cell
        From the decorator `nblstm.cell`, or one of `nblstm.cells`.
    input_size, hidden_size : int
        Features of the input (I) and of each state (H).
    num_layers : int, default 1
        Layers; each reads the outputs of the one before.
    bias : bool, default True
        Whether there are ``bias_ih`` and ``bias_hh``; without, both are 0.
    batch_first : bool, default False
        Whether input and output are (B, T, features) rather than (T, B, features).
    dropout : float, default 0.0
        Probability with which training (`forward`) sets an output between layers to 0; others are scaled up. With
        one layer there is nothing between layers, and a warning.
    bidirectional : bool, default False
        Whether each layer also reads the sequence backwards (D = 2 directions); outputs lie side by side.
    proj_size : int, default 0
        If not 0, the features P < H to which ``weight_hr_l0`` (P, H) projects the first state, before it recurs and
        leaves: outputs and that state have P features; see `cells.projected`.
    reverse : bool, default False
        Whether each sequence is read from its last step to its first; outputs stay in the order of time. Parameters
        have the names of a network that reads forwards.
    recurrent_dropout : float, default 0.0
        Probability with which training sets a feature of the first state to 0 on its way into the recurrent product,
        in all steps of a sequence; others are scaled up. See `cells.recurrent_dropout`.
    learn_initial_state : bool, default False
        Whether the states before the first step are parameters, the same for each sequence, ``initial_h_l0`` (H,) and
        so on; they begin as what the cell has as ``initial``.
    stateful : bool, default False
        Whether a call starts with the states that the one before it ended with, sequence by sequence, unless it is
        given others, until `reset_state`. Gradients end where a call begins.
    initial_bias : dict of str to float, optional
        By gate what is added to its ``bias_ih`` at first: ``{"f": 1.0}`` has an LSTM remember (Jozefowicz et al. 2015).
    dtype : {"float32", "float64"}
        In which everything is computed.
    precision : {"float32", "bfloat16"}, optional
        Overrides `nblstm.set_precision`: of what matrix products multiply, where the dtype is float32. No file has it.
    device : str, optional
        Overrides `nblstm.set_device` and ``NBLSTM_DEVICE``.
    seed : int, optional
        Of initial values and dropout; without it they differ from run to run, unless `set_random_seed` was called.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    CellError
        If the cell's equations can't be traced.

    Attributes
    ----------
    cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, reverse, \
    recurrent_dropout, learn_initial_state, stateful, dtype, precision
        As given.

    Notes
    -----
    Parameters are uniform in ±1 / sqrt(H) at first, as in torch: per layer ``weight_ih_l0`` (G H, I),
    ``weight_hh_l0`` (G H, H), ``bias_ih_l0`` and ``bias_hh_l0`` (G H,), each of the cell's vectors ``p_l0`` (H,) and
    scalars ``alpha_l0`` (1,); ``_reverse`` is appended for the other direction. Gates that only the input or only the
    recurrence feeds have rows in the ones alone; a ``matrix`` of the cell has parameters of its own for ``weight_hh``.
    """

    def __init__(
        self, cell: Cell, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
        *, reverse: bool = False, recurrent_dropout: float = 0.0, learn_initial_state: bool = False,
        stateful: bool = False, initial_bias: Mapping[str, float] | None = None, dtype: DTypeLike = "float32",
        precision: str | None = None, device: str | None = None, seed: int | None = None,
    ):  # fmt: skip
        if not isinstance(cell, Cell):
            raise TypeError(f"cell is {cell!r}; give a cell made by the decorator nblstm.cell, or one of nblstm.cells")
        input_size = validate.positive_integer("input_size", input_size)
        hidden_size = validate.positive_integer("hidden_size", hidden_size)
        num_layers = recurrent_arguments.layers_of(num_layers)
        directions = recurrent_arguments.directions_of(bidirectional, reverse)
        self.bias, self.stateful = validate.flag("bias", bias), validate.flag("stateful", stateful)
        learns = validate.flag("learn_initial_state", learn_initial_state)
        if learns:
            recurrent_arguments.check_vectors(cell)
        cell.check()
        added = recurrent_arguments.initial_bias_of(cell, self.bias, initial_bias)
        self._cell, proj_size = cell, recurrent_arguments.projection_of(proj_size, hidden_size)
        if proj_size:
            cell = projected(cell)
        recurrent_arguments.check_x(self._cell, input_size, hidden_size, num_layers, len(directions), proj_size)
        dtype, device = validate.dtype_name(dtype), device_for(device)
        self._network = Network(
            cell=cell, input_size=input_size, hidden_size=hidden_size, proj_size=proj_size, num_layers=num_layers,
            directions=directions, batch_first=validate.flag("batch_first", batch_first),
            dropout=validate.probability("dropout", dropout),
            recurrent_dropout=validate.probability("recurrent_dropout", recurrent_dropout),
            learn_initial_state=learns, dtype=dtype, device=device,
            precision=precision_for(precision, dtype, device),
            layout=recurrent_layout(
                cell, input_size, hidden_size, num_layers, len(directions), self.bias, learns, proj_size
            ),
        )  # fmt: skip
        validate.initial_values(cell, self._network.dtype)
        recurrent_arguments.warn_of_dropout(self.dropout, num_layers, 2 if type(self) is Recurrent else 3)
        initial, self._generator = seeds.generator(seed).spawn(2)
        self._carried = CarriedStates(self.batch_first) if self.stateful else None
        self._bare_state = self._bare_state and len(cell.states) == 1
        flat = recurrent_arguments.initial_parameters(self._network, initial, added)
        super().__init__(self._network.layout, flat)

    cell = property(lambda self: self._cell, doc="As given.")
    input_size = _of_network("input_size")
    hidden_size = _of_network("hidden_size")
    proj_size = _of_network("proj_size")
    num_layers = _of_network("num_layers")
    batch_first = _of_network("batch_first")
    dropout = _of_network("dropout")
    recurrent_dropout = _of_network("recurrent_dropout")
    learn_initial_state = _of_network("learn_initial_state")
    precision = _of_network("precision")
    bidirectional = property(lambda self: self._network.D == 2, doc="As given.")
    reverse = property(lambda self: self._network.directions == (True,), doc="As given.")
    device_function = device_function.device_function
    backward, per_sample_gradients = derivatives.backward, derivatives.per_sample_gradients
    jvp, hvp = derivatives.jvp, derivatives.hvp
    compiled = compiled.compiled

    #: Whether the only state is given and returned bare, not in a tuple.
    _bare_state: bool = False

    #: Further arguments of a subclass, for `repr`.
    _defaults: ClassVar[dict[str, Any]] = {}

    def __repr__(self):
        given = [self.cell.name] * (type(self) is Recurrent) + [str(self.input_size), str(self.hidden_size)]
        defaults = {
            **self._defaults, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0,
            "bidirectional": False, "proj_size": 0, "reverse": False, "recurrent_dropout": 0.0,
            "learn_initial_state": False, "stateful": False,
        }  # fmt: skip
        options = {name: getattr(self, name) for name in defaults} | {"dtype": self.dtype}
        changed = [f"{name}={v!r}" for name, v in options.items() if v != defaults.get(name, "float32")]
        changed += [f"precision={self.precision!r}"] * (self.precision != self.dtype)
        return f"{type(self).__name__}({', '.join([*given, *changed])})"

    @overload
    def __call__(
        self, x, state=None, lengths=None, *, mask=None, resets=None, signals=None, all_states: Literal[False] = False
    ) -> tuple[np.ndarray, Any]: ...  # fmt: skip
    @overload
    def __call__(
        self, x, state=None, lengths=None, *, mask=None, resets=None, signals=None, all_states: bool
    ) -> tuple[Any, Any]: ...  # fmt: skip
    def __call__(
        self, x, state=None, lengths=None, *, mask=None, resets=None, signals=None, all_states: bool = False
    ) -> tuple[Any, Any]:  # fmt: skip
        """Inference.

        Parameters
        ----------
        x : array_like, shape (T, B, I), (B, T, I) if ``batch_first``, or (T, I) for one sequence
            Any real dtype and layout; converted to this network's dtype.
        state : tuple of array_like, optional
            Initial states in the cell's order, each (num_layers D, B, H), or (num_layers D, H) for one sequence; if not
            given, those of the call before where the network is ``stateful``, else the learned ones, else zeros or what
            the cell has as ``initial``.
        lengths : array_like of int, shape (B,), optional
            Length of each sequence, 0 to T, in any order. Steps beyond it are not computed.
        mask : array_like of bool, in the shape of x without its features, optional
            False where a step is to be skipped: it is not computed, and states stay as they are. Not with ``lengths``.
        resets : array_like of bool, in the shape of x without its features, optional
            True at [t, b] where another sequence begins: before step t of row b its states are set back to the initial
            ones, learned, the cell's ``initial`` or zeros, also at t = 0, where ``state`` is ignored then. Who reads in
            reverse sets them back between the steps t and t-1.
        signals : dict of str to array_like, optional
            The cell's signals by name: (T, B), one number for all units of a sequence, or (T, B, H), one for each;
            (B, T, ...) if ``batch_first``, (T, ...) for one sequence.
        all_states : bool, default False
            Whether ``y`` is a tuple: every state of the last layer at each step, in the cell's order.

        Returns
        -------
        y : ndarray, shape (T, B, D H), (B, T, D H) or (T, D H), or a tuple of such
            Outputs of the last layer; 0 beyond a sequence's length, and at masked steps. Of ``proj_size`` features
            instead of H, where that is not 0.
        states : tuple of ndarray, each (num_layers D, B, H) or (num_layers D, H)
            States after each sequence's last step; the initial ones where there is none. The first has ``proj_size``
            features, where that is not 0.

        Raises
        ------
        TypeError, ValueError
            If a shape, dtype or length does not fit, or a stateful network gets another number of sequences.
        """
        y, states = engine.infer(
            self, x, self._start(x, state), lengths, mask, resets, signals=signals, all_states=all_states
        )
        if self._carried is not None:
            self._carried.take(states)
        return y, self._from_tuple(states)

    @overload
    def forward(
        self, x, state=None, lengths=None, *, mask=None, resets=None, signals=None, checkpoint: int | None = None,
        reserve: np.ndarray | None = None, all_states: Literal[False] = False,
    ) -> tuple[np.ndarray, Any, Tape]: ...  # fmt: skip
    @overload
    def forward(
        self, x, state=None, lengths=None, *, mask=None, resets=None, signals=None, checkpoint: int | None = None,
        reserve: np.ndarray | None = None, all_states: bool,
    ) -> tuple[Any, Any, Tape]: ...  # fmt: skip
    def forward(
        self, x, state=None, lengths=None, *, mask=None, resets=None, signals=None, checkpoint: int | None = None,
        reserve: np.ndarray | None = None, all_states: bool = False,
    ) -> tuple[Any, Any, Tape]:  # fmt: skip
        """Training, ``y, states, tape = network.forward(x)``: with dropout, and with what `backward` needs.

        Parameters
        ----------
        x, state, lengths, mask, resets, signals, all_states
            As for calling the network.
        checkpoint : int, optional
            For sequences too long for memory: the tape keeps the states about every so many steps (cut where
            BPTT cuts, about every 1024 rows) and BPTT computes the rest again. Gradients have the same bits.
        reserve : ndarray, optional
            Memory of `reserve_size` bytes for all that BPTT reads, instead of memory of nblstm's own: `backward` can be
            given it, or a copy, in the place of the tape.

        Returns
        -------
        y, states
            As from calling the network; ``y`` cannot be written to, since the tape reads it.
        tape : Tape
            For `backward`, which uses the parameters as they are now.
        """
        y, states, tape = engine.forward(
            self, x, self._start(x, state), lengths, mask, resets, generator=self._generator, checkpoint=checkpoint,
            reserve=reserve, signals=signals, all_states=all_states,
        )  # fmt: skip
        if self._carried is not None:
            self._carried.take(states)
        return y, self._from_tuple(states), tape

    def reserve_size(
        self, T: int, B: int, lengths=None, *, mask=None, resets=None, checkpoint: int | None = None
    ) -> int:
        """Bytes that ``forward(..., reserve=)`` needs.

        Parameters
        ----------
        T, B : int
            Steps and sequences of the input.
        lengths, mask, resets, checkpoint
            As for `forward`.
        """
        return lookup.reserve_size(self._network, T, B, lengths, mask, resets, checkpoint)

    def reset_state(self) -> None:
        """Have the next call of a stateful network start with the initial states.

        Raises
        ------
        ValueError
            If the network is not stateful.
        """
        if self._carried is None:
            raise ValueError("the network keeps no states from call to call; make it with stateful=True")
        self._carried.reset()

    def _start(self, x, state):
        """The states that a call starts with, given or carried over; None for the initial ones."""
        if state is not None:
            return self._to_tuple(state)
        return None if self._carried is None else self._carried.start(x)

    def _to_tuple(self, state):
        """The user's states as a tuple."""
        return (state,) if self._bare_state and state is not None else state

    def _from_tuple(self, states: tuple):
        """States as the user gets them."""
        return states[0] if self._bare_state else states

    def warmup(self) -> None:
        """Compile every kernel that the network can need, and keep them in the cache."""
        self._network.backend.compile_kernels(self._network.cell, self.precision)
        if self.recurrent_dropout:
            self._network.backend.compile_kernels(self._network.with_recurrent_dropout.cell, self.precision)

    def stepper(self, batch_size: int = 1) -> Stepper:
        """One step at a time, the states staying inside: for streaming and sampling.

        It begins with the initial states, also of a stateful network; set its ``state`` to go on from others.

        Parameters
        ----------
        batch_size : int, default 1
            Rows (B) that step together.

        Returns
        -------
        Stepper
            Called with inputs (B, I), or (I,) for one row, it returns the outputs (B, H) or (H,).

        Raises
        ------
        ValueError
            If the network is bidirectional or reads in reverse: it would need the future.
        """
        return Stepper(self, batch_size)
