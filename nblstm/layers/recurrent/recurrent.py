"""Recurrent layers with Keras's arguments: a cell over the steps of a batch of sequences."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nblstm import constraints, initializers, regularizers
from nblstm.arguments import seeds, validate
from nblstm.buffers.layout import Layout, suffix
from nblstm.cells import Cell, recurrent_dropout
from nblstm.engine import engine
from nblstm.engine.device import backend_of, device_for
from nblstm.engine.network import Network
from nblstm.layers.base.layer import Layer
from nblstm.layers.base.options import ConstraintLike, InitializerLike, LayerOptions, RegularizerLike, Unpack
from nblstm.layers.base.parameters import Parameter
from nblstm.layers.base.passes import Tape, check_tape, checked_input, checked_mask, gradients_into
from nblstm.layers.base.shapes import Shape
from nblstm.layers.dropout import seeded
from nblstm.layers.recurrent.stepper import Stepper
from nblstm.nn import Gradients


@dataclass(slots=True, eq=False)
class _Pass:
    """A forward pass, for BPTT.

    Attributes
    ----------
    tape : engine.Tape
    empty : ndarray of bool, shape (B,), or None
        Sequences without a valid step, whose output is 0.
    """

    tape: engine.Tape
    empty: np.ndarray | None


class Recurrent(Layer):
    """A cell over the steps of a batch of sequences: (B, T, I) to (B, H), or (B, T, H) with ``return_sequences``.

    Calling the layer is inference, and keeps nothing; `forward` keeps what `backward` needs. Masked steps leave the
    states as they are and repeat the output before them, which is 0 before the first valid step; with
    ``zero_output_for_mask`` it is 0 at all of them.

    A subclass gives ``_make_cell``.

    Parameters
    ----------
    units : int
        Features of each state (H).
    use_bias : bool
    kernel_initializer, recurrent_initializer, bias_initializer : str, Initializer, callable or ndarray
    kernel_regularizer, recurrent_regularizer, bias_regularizer : str or Regularizer, optional
    activity_regularizer : None
        Keras's; not supported.
    kernel_constraint, recurrent_constraint, bias_constraint : str or callable, optional
    dropout : float
        Probability with which training sets a feature of the input to 0, in all steps of a sequence; others are
        scaled up.
    recurrent_dropout : float
        The same for the states on their way into the recurrent product. All gates share what is drawn; Keras draws for
        each of them.
    seed : int, optional
        Of both; gives the layer a source of randomness of its own, `generator`. Otherwise `forward`'s is used.
    return_sequences : bool
        Whether the output is that of each step, not of the last one alone.
    return_state : bool
        Whether the output is a list: the output itself, then the final states (B, H). `backward` then takes a list of
        gradients like it, with None for zeros. Such a layer stands alone, not within a model.
    go_backwards : bool
        Whether each sequence is read from its last step to its first; outputs come in the order of reading. A mask
        is passed on as it came, as in Keras.
    stateful : bool
        Whether a batch starts with the states that the one before it ended with, sequence by sequence, until
        `reset_states`. The batch size is fixed. Gradients end where a batch begins.
    unroll : False
        Keras's; there is nothing to unroll.
    zero_output_for_mask : bool, default False
        Whether the outputs of masked steps are 0 in sequences, rather than those of the steps before them.
    learn_initial_state : bool, default False
        Whether the states before the first step are parameters, the same for each sequence, rather than 0.
    **kwargs
        Of `Layer`.

    Attributes
    ----------
    cell : Cell
    states : list of ndarray or None
        With ``stateful``, the states (B, H) that the next batch starts with; None are the initial ones.

    Notes
    -----
    Parameters, with G gates: ``kernel`` (I, G H), ``recurrent_kernel`` (H, G H), ``bias`` (G H,), or (2, G H) for a
    cell with split gates (for the input's and the recurrent product), the cell's vectors (H,), and with
    ``learn_initial_state`` one of (H,) for each state, ``initial_h`` and so on.
    """

    ndim = 3
    fixed_axes = (-1,)
    supports_masking = True

    def __init__(
        self, *, units: int, use_bias: bool, kernel_initializer: InitializerLike,
        recurrent_initializer: InitializerLike, bias_initializer: InitializerLike, kernel_regularizer: RegularizerLike,
        recurrent_regularizer: RegularizerLike, bias_regularizer: RegularizerLike, activity_regularizer: None,
        kernel_constraint: ConstraintLike, recurrent_constraint: ConstraintLike, bias_constraint: ConstraintLike,
        dropout: float, recurrent_dropout: float, seed: int | None, return_sequences: bool, return_state: bool,
        go_backwards: bool, stateful: bool, unroll: bool, zero_output_for_mask: bool = False,
        learn_initial_state: bool = False, **kwargs: Unpack[LayerOptions],
    ):  # fmt: skip
        super().__init__(**kwargs)
        validate.only("activity_regularizer", activity_regularizer, None)
        validate.only("unroll", unroll, False)
        self.activity_regularizer, self.unroll = None, False
        self.units = validate.positive_integer("units", units)
        self.use_bias = validate.flag("use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.dropout = validate.probability("dropout", dropout)
        self.recurrent_dropout = validate.probability("recurrent_dropout", recurrent_dropout)
        self.seed, self.generator = seed, seeded(seed)
        self.return_sequences = validate.flag("return_sequences", return_sequences)
        self.return_state = validate.flag("return_state", return_state)
        self.go_backwards = validate.flag("go_backwards", go_backwards)
        self.stateful = validate.flag("stateful", stateful)
        self.keeps_steps_apart = self.return_sequences and not self.go_backwards
        self.zero_output_for_mask = validate.flag("zero_output_for_mask", zero_output_for_mask)
        self.learn_initial_state = validate.flag("learn_initial_state", learn_initial_state)
        self.cell = self._make_cell()
        validate.initial_values(self.cell, self.dtype)
        self.cell.check()
        self._output = self.cell.states.index(self.cell.output)
        self._carried: tuple[np.ndarray, ...] | None = None  # (1, B, H) each, never written to

    def _make_cell(self) -> Cell:
        """The cell, from the arguments."""
        raise NotImplementedError(f"{type(self).__name__} has no _make_cell; write it")

    def _bias_initializer(self):
        """The bias's initial values; a hook for LSTM."""
        return self.bias_initializer

    def _vector_initializer(self):
        """The initial values of the cell's vectors; a hook for RNN."""
        return initializers.Zeros()

    def _gates(self) -> tuple[str, ...]:
        """The order of the gates in the parameters; a hook for GRU."""
        return self.cell.gates

    def _parameters_for(self, shape: Shape) -> dict[str, Parameter]:
        assert shape[-1] is not None
        cell, H, columns = self.cell, self.units, len(self.cell.gates) * self.units
        described = {
            # Column by column in memory, which is row by row for the kernels: neither weights nor gradients are copied.
            "kernel": Parameter(
                (shape[-1], columns), self.kernel_initializer, self.kernel_regularizer, self.kernel_constraint, True
            ),
            "recurrent_kernel": Parameter(
                (H, columns), self.recurrent_initializer, self.recurrent_regularizer, self.recurrent_constraint, True
            ),
        }
        if self.use_bias:
            described["bias"] = Parameter(
                (2, columns) if cell.split else (columns,), self._bias_initializer(), self.bias_regularizer,
                self.bias_constraint,
            )  # fmt: skip
        described |= {name: Parameter((H,), self._vector_initializer()) for name in cell.vectors}
        if self.learn_initial_state:
            for name, value in zip(cell.states, cell.initial, strict=True):
                described[f"initial_{name}"] = Parameter((H,), initializers.Constant(value))
        return described

    def _output_shape(self, shape: Shape) -> Any:
        y = (*shape[:2], self.units) if self.return_sequences else (shape[0], self.units)
        return (y, *[(shape[0], self.units)] * len(self.cell.states)) if self.return_state else y

    @cached_property
    def _network(self) -> Network:
        """The network of the engine whose parameters are this layer's, which is built."""
        layout, H = self._layout, self.units
        return Network(
            cell=self.cell, input_size=layout.shapes["kernel"][0], hidden_size=H, num_layers=1,
            directions=(self.go_backwards,), batch_first=True, dtype=self.dtype, device=device_for(None),
            layout=torch_layout([self], layout.size), gates=self._gates(), input_dropout=self.dropout,
            recurrent_dropout=self.recurrent_dropout, learn_initial_state=self.learn_initial_state,
        )  # fmt: skip

    def _set_buffer(self, layout: Layout, flat: np.ndarray, buffer=None) -> None:
        super()._set_buffer(layout, flat, buffer)
        vars(self).pop("_network", None)  # its passes have the parameters from before

    def compute_mask(self, x, mask=None) -> np.ndarray | None:
        """The mask of the input, if the output has steps; else None."""
        return mask if self.return_sequences else None

    def __call__(self, x, mask=None, initial_state=None) -> np.ndarray:
        """Inference.

        Parameters
        ----------
        x : array_like, shape (B, T, I)
        mask : array_like of bool, shape (B, T), optional
            False where a step is to be skipped.
        initial_state : list of array_like, optional
            The states before the first step, (B, H) each, in the cell's order; bare, if it has only one.

        Returns
        -------
        ndarray, shape (B, H) or (B, T, H), or with ``return_state`` a list of it and the final states (B, H)

        Raises
        ------
        TypeError, ValueError
            If something does not fit.
        """
        x = checked_input(self, x)
        mask, empty = self._checked_mask(mask, x)
        y, states = engine.infer(
            self, x, self._initial_states(len(x), initial_state), mask=mask, hold=not self.zero_output_for_mask,
            outputs=self.return_sequences,
        )  # fmt: skip
        return self._finished(y, states, empty)

    def forward(
        self, x, *, training: bool = False, mask=None, generator: np.random.Generator | None = None, initial_state=None
    ) -> tuple[Any, Tape]:
        """Run the layer as calling it does, with dropout if ``training``, and with what `backward` needs.

        Parameters
        ----------
        x, mask, initial_state
            As for calling the layer.
        training : bool, default False
        generator : Generator, optional
            Source of dropout for a layer without a seed; a fresh one if not given.

        Returns
        -------
        y : ndarray or list of ndarray
            As from calling the layer.
        tape : Tape
        """
        x = checked_input(self, x)
        mask, empty = self._checked_mask(mask, x)
        source = None
        if training and (self.dropout or self.recurrent_dropout):
            source = self.generator or generator or seeds.generator()
        y, states, tape = engine.forward(
            self, x, self._initial_states(len(x), initial_state), mask=mask, generator=source,
            hold=not self.zero_output_for_mask, outputs=self.return_sequences,
        )  # fmt: skip
        y = self._finished(y, states, empty)
        return y, Tape(self, (y[0] if self.return_state else y).shape, _Pass(tape, empty))

    def backward(
        self, tape: Tape, dy, *, input_gradient: bool = True, into: Gradients | None = None
    ) -> tuple[np.ndarray | None, Gradients]:  # fmt: skip
        """Run BPTT.

        Parameters
        ----------
        tape : Tape
            From `forward`.
        dy : array_like, or list of array_like and None
            Gradient of the loss with respect to what `forward` returned; None for zeros.
        input_gradient : bool, default True
            False leaves the input's gradient out, where nothing needs it.
        into : Gradients, optional
            From an earlier call, to be overwritten.

        Returns
        -------
        dx : ndarray or None
        gradients : Gradients
            With those of the initial states (B, H) in ``state``.

        Raises
        ------
        TypeError, ValueError
            If a shape does not fit, or the tape is another layer's.
        """
        check_tape(self, tape)
        dy, d_states = self._checked_gradients(tape, dy)
        if not self.return_sequences:
            empty = tape.saved.empty
            d_last = dy[None] if empty is None else np.where(empty[:, None], 0, dy)[None]
            before = d_states[self._output]
            d_states[self._output] = d_last if before is None else before + d_last
            dy = None
        elif self.go_backwards:
            dy = dy[:, ::-1]
        gradients = gradients_into(self, into)
        dx, d_initial = engine.backward_into(tape.saved.tape, dy, tuple(d_states), gradients.flat, input_gradient)
        gradients.x, gradients.state = dx, tuple([d_state[0] for d_state in d_initial])
        return dx, gradients

    def _checked_mask(self, mask, x: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The mask of the steps, None if all are valid, and which sequences have none."""
        if mask is None:
            return None, None
        mask = checked_mask(mask, x.shape[:2])
        return (None, None) if mask.all() else (mask, ~mask.any(axis=1))

    def _finished(self, y: np.ndarray | None, states: tuple, empty: np.ndarray | None):
        """The result of a pass; states (1, B, H) are carried over if they are to be."""
        if self.stateful:
            self._carried = tuple([state.copy() for state in states])
        if y is None:
            y = states[self._output][0]
            if empty is not None:
                y = np.where(empty[:, None], 0, y)
            elif self.return_state:
                y = y.copy()  # else who writes to it would write to a state
        elif self.go_backwards:
            y = y[:, ::-1]  # in the order of reading
        return [y, *[state[0] for state in states]] if self.return_state else y

    def _checked_gradients(self, tape: Tape, dy) -> tuple[np.ndarray, list]:
        """The gradient of the output, and those of the final states (1, B, H), None for zeros."""
        d_states: list[Any] = [None] * len(self.cell.states)
        if self.return_state:
            S, B = len(d_states), tape.y_shape[0]
            if not isinstance(dy, list | tuple) or len(dy) != 1 + S:
                raise ValueError(
                    f"dy is {validate.came(dy)}; give a list of {1 + S} like the output, with None for zeros"
                )
            dy, *given = dy
            for k, (name, value) in enumerate(zip(self.cell.states, given, strict=True)):
                if value is not None:
                    d_states[k] = self._state_array(f"dy of the state {name!r}", value, B)[None]
            if dy is None:
                return np.zeros(tape.y_shape, self.dtype), d_states
        dy = validate.real_array("dy", dy, self._flat.dtype)
        return validate.shaped("dy", dy, tape.y_shape, "that of the output"), d_states

    # --- the states between batches ---

    @property
    def states(self) -> list[np.ndarray] | None:
        """With ``stateful``, copies of the states (B, H) that the next batch starts with; None for the initial ones.

        Can be assigned, as `reset_states` takes them; they belong into a checkpoint.
        """
        return None if self._carried is None else [state[0].copy() for state in self._carried]

    @states.setter
    def states(self, states) -> None:
        self.reset_states(states)

    def reset_states(self, states=None) -> None:
        """Set the states that the next batch starts with, to the initial ones if not given.

        Parameters
        ----------
        states : list of array_like, optional
            (B, H) each, in the cell's order; bare, if it has only one.

        Raises
        ------
        TypeError, ValueError
            If the layer is not stateful, or they do not fit.
        """
        if not self.stateful:
            raise ValueError(f"{self._label} keeps no states; make it with stateful=True")
        if states is None:
            self._carried = None
            return
        first = states[0] if isinstance(states, list | tuple) and states else states
        B = self._fixed_batch_size() or len(np.atleast_1d(validate.number_array("states", first)))
        self._carried = tuple([state.copy()[None] for state in self._checked_states("states", states, B)])

    reset_state = reset_states

    def _fixed_batch_size(self) -> int | None:
        """The batch size that a stateful layer was built or declared with."""
        for shape in (self.input_shape, self.batch_input_shape):
            if shape is not None and shape[0] is not None:
                return shape[0]
        return None

    def _initial_states(self, B: int, given=None) -> tuple[np.ndarray, ...] | None:
        """The states (1, B, H) that a batch starts with: given, or carried on; None for the initial ones."""
        if self.stateful:
            fixed = self._fixed_batch_size() if self._carried is None else self._carried[0].shape[1]
            if fixed not in (None, B):
                reset = "" if self._fixed_batch_size() else ", or call reset_states() first"
                raise ValueError(
                    f"{self._label} is stateful with a batch size of {fixed} and got {B} sequences; give batches of "
                    f"that size{reset}"
                )
        if given is not None:
            return tuple([state[None] for state in self._checked_states("initial_state", given, B)])
        return self._carried

    def _checked_states(self, label: str, states, B: int) -> list[np.ndarray]:
        """States (B, H) in the cell's order."""
        names = self.cell.states
        if len(names) == 1 and not (isinstance(states, list | tuple) and len(states) == 1):
            states = [states]
        if not isinstance(states, list | tuple) or len(states) != len(names):
            raise ValueError(
                f"{label} is {validate.came(states)}; give a list of {len(names)} ({', '.join(names)}), each (B, H)"
            )
        return [self._state_array(f"{label} {name!r}", state, B) for name, state in zip(names, states, strict=True)]

    def _state_array(self, label: str, value, B: int) -> np.ndarray:
        return validate.shaped(label, validate.real_array(label, value, self.dtype), (B, self.units), "(B, H)")

    def stepper(self, batch_size: int = 1) -> Stepper:
        """One step at a time, the states staying inside: for streaming and sampling.

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
            If the layer is not built, or goes backwards: it would need the future.
        """
        self._need_built()
        if self.go_backwards:
            raise ValueError(f"{self._label} goes backwards and needs whole sequences; call it on one")
        return Stepper(self, batch_size)

    def warmup(self) -> None:
        """Compile every kernel that the layer can need, and keep them in the cache."""
        backend = backend_of(device_for(None))
        backend.compile_kernels(self.cell, self.dtype)
        if self.recurrent_dropout:
            backend.compile_kernels(recurrent_dropout(self.cell), self.dtype)


def torch_layout(layers: list[Recurrent], size: int) -> Layout:
    """The parameters of layers, one for each direction, under torch's names, where they are in the layers' buffer.

    A kernel lies column by column in memory, so as torch's matrix (G H, I) it lies row by row.
    """
    shapes_of: dict[str, tuple[int, ...]] = {}
    starts, begin = {}, 0
    for d, layer in enumerate(layers):
        own, end, H = layer._layout, suffix(0, d), layer.units
        rows = len(layer.cell.gates) * H

        def put(name: str, shape: tuple[int, ...], start: int, end=end) -> None:
            shapes_of[name + end], starts[name + end] = shape, start

        put("weight_ih", own.shapes["kernel"][::-1], begin + own.starts["kernel"])
        put("weight_hh", own.shapes["recurrent_kernel"][::-1], begin + own.starts["recurrent_kernel"])
        if layer.use_bias:
            put("bias_ih", (rows,), begin + own.starts["bias"])
            if len(own.shapes["bias"]) == 2:
                put("bias_hh", (rows,), begin + own.starts["bias"] + rows)
        for name in (*layer.cell.vectors, *(f"initial_{state}" for state in layer.cell.states)):
            if name in own.shapes:
                put(name, (H,), begin + own.starts[name])
        begin += own.size
    return Layout(shapes_of, starts, size)
