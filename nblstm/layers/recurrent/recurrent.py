"""Recurrent layers with Keras's arguments: a cell over the steps of a batch of sequences."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from nblstm import constraints, initializers, regularizers
from nblstm.arguments import validate
from nblstm.buffers.layout import Layout
from nblstm.cells import Cell, recurrent_dropout
from nblstm.engine.device import backend_of, device_for
from nblstm.engine.network import Network
from nblstm.engine.precision import precision_for
from nblstm.layers.base.layer import Layer
from nblstm.layers.base.options import ConstraintLike, InitializerLike, LayerOptions, RegularizerLike, Unpack
from nblstm.layers.base.parameters import Parameter
from nblstm.layers.base.passes import Tape
from nblstm.layers.base.shapes import Shape
from nblstm.layers.dropout import seeded
from nblstm.layers.recurrent import sequences
from nblstm.layers.recurrent.columns import Columns, checked_columns, columns_of
from nblstm.layers.recurrent.directions import Directions, has_two_biases, network_of, recurrent_weights
from nblstm.layers.recurrent.states import carried_states, set_carried_states
from nblstm.layers.recurrent.stepper import Stepper
from nblstm.nn import Gradients


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
        The same for the first state on its way into the recurrent product. All gates share what is drawn; Keras draws
        for each of them.
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
    signals : dict of str to int or list of int, optional
        For a cell with signals, the column of x that each is, or one for each unit. These columns are no features.
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
    cell with split gates (for the input's and the recurrent product), the cell's vectors (H,) and scalars (1,), and
    with ``learn_initial_state`` one of (H,) for each state, ``initial_h`` and so on. Gates without an input have no
    columns in ``kernel``, those without a recurrence none in ``recurrent_kernel``; the biases of both, where they need
    to be two, are ``bias`` and ``recurrent_bias``. What a cell's ``matrix`` is made of replaces ``recurrent_kernel``:
    (H / heads, G H), or (rank, G H) and ``recurrent_kernel_right`` (H, G rank).
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
        learn_initial_state: bool = False, signals: Mapping[str, Any] | None = None, **kwargs: Unpack[LayerOptions],
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
        self.signals = checked_columns(self.cell, self.units, signals)
        self._features, self._directions = [self.units], Directions.of_one(self)
        self._carried: list[np.ndarray] | None = None

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
        cell, H = self.cell, self.units
        fed, recurrent = len(cell.input_gates) * H, len(cell.recurrent_gates) * H
        _, I = columns_of(cell, H, self.signals, shape[-1])
        # Column by column in memory, which is row by row for the kernels: neither weights nor gradients are copied.
        own = self.kernel_initializer, self.kernel_regularizer, self.kernel_constraint, True
        described = {"kernel": Parameter((I, fed), *own)}
        for name, (rows, columns) in recurrent_weights(cell, H).items():
            described[name] = Parameter(
                (columns, rows), self.recurrent_initializer, self.recurrent_regularizer, self.recurrent_constraint, True
            )
        if self.use_bias:
            bias = self._bias_initializer(), self.bias_regularizer, self.bias_constraint
            if has_two_biases(cell):
                described |= {"bias": Parameter((fed,), *bias), "recurrent_bias": Parameter((recurrent,), *bias)}
            else:
                described["bias"] = Parameter((2, fed) if cell.split else (fed,), *bias)
        described |= {name: Parameter((H,), self._vector_initializer()) for name in cell.vectors}
        described |= {name: Parameter((1,), self._vector_initializer()) for name in cell.scalars}
        described = {name: own for name, own in described.items() if 0 not in own.shape}
        if self.learn_initial_state:
            for name, value in zip(cell.states, cell.initial, strict=True):
                described[f"initial_{name}"] = Parameter((H,), initializers.Constant(value))
        return described

    def _output_shape(self, shape: Shape) -> Any:
        return sequences.output_shape(self, shape)

    @cached_property
    def _network(self) -> Network:
        """The engine's network whose parameters are those of this layer, which is built."""
        return network_of(self, [self])

    @cached_property
    def _columns(self) -> Columns | None:
        """The features and signals of the input for which the layer is built; None where all are features."""
        shape: Any = self.input_shape
        return columns_of(self.cell, self.units, self.signals, shape[-1])[0]

    def _set_buffer(self, layout: Layout, flat: np.ndarray, buffer=None) -> None:
        super()._set_buffer(layout, flat, buffer)
        vars(self).pop("_network", None)  # its passes have the parameters from before
        vars(self).pop("_columns", None)

    def _merge(self, y: np.ndarray) -> np.ndarray:
        """The outputs in the order of reading."""
        return y[:, ::-1] if self.go_backwards and self.return_sequences else y

    def _d_merge(self, dy: list[np.ndarray], y: np.ndarray) -> np.ndarray:
        """The gradient of `_merge`."""
        return dy[0][:, ::-1] if self.go_backwards and self.return_sequences else dy[0]

    def compute_mask(self, x, mask=None) -> np.ndarray | None:
        """The mask of the input, if the output has steps; else None."""
        return mask if self.return_sequences else None

    def __call__(self, x, mask=None, initial_state=None, *, training: bool = False) -> np.ndarray:
        """Inference, or with dropout what training computes.

        Parameters
        ----------
        x : array_like, shape (B, T, I)
        mask : array_like of bool, shape (B, T), optional
            False where a step is to be skipped.
        initial_state : list of array_like, optional
            The states before the first step, (B, H) each, in the cell's order; bare, if it has only one.
        training : bool, default False
            Whether there is dropout; see `forward`.

        Returns
        -------
        ndarray, shape (B, H) or (B, T, H), or with ``return_state`` a list of it and the final states (B, H)

        Raises
        ------
        TypeError, ValueError
            If something does not fit.
        """
        if training:
            return sequences.forward(self, x, training, mask, None, initial_state)[0]
        return sequences.infer(self, x, mask, initial_state)

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
        return sequences.forward(self, x, training, mask, generator, initial_state)

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
        return sequences.backward(self, tape, dy, input_gradient, into)

    @property
    def states(self) -> list[np.ndarray] | None:
        """With ``stateful``, copies of the states (B, H) that the next batch starts with; None for the initial ones.

        Can be assigned, as `reset_states` takes them; they belong into a checkpoint.
        """
        return carried_states(self)

    @states.setter
    def states(self, given) -> None:
        self.reset_states(given)

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
        set_carried_states(self, states)

    reset_state = reset_states

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
        backend, precision = backend_of(device_for(None)), precision_for(None, self.dtype, device_for(None))
        backend.compile_kernels(self.cell, precision)
        if self.recurrent_dropout:
            backend.compile_kernels(recurrent_dropout(self.cell), precision)
