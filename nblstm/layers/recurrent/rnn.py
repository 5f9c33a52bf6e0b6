"""The simple recurrent network, with Keras's arguments, and layers of any cell."""

from __future__ import annotations

from nblstm import activations, initializers
from nblstm.arguments import signatures
from nblstm.cells import Cell, rnn_with
from nblstm.layers.base.layer import register
from nblstm.layers.base.options import (
    ActivationLike,
    ConstraintLike,
    InitializerLike,
    RecurrentOptions,
    RegularizerLike,
    Unpack,
)
from nblstm.layers.recurrent.cell_registry import name_of, registered_cell
from nblstm.layers.recurrent.recurrent import Recurrent


@register()
class SimpleRNN(Recurrent):
    """Simple recurrent network, as `keras.layers.SimpleRNN`.

    ::

        h_t = activation(x_t kernel + h_{t-1} recurrent_kernel + bias)

    Parameters
    ----------
    units : int
    activation : str or ActivationFunction
        Any of `nblstm.activations` that acts on each number alone; compiled into the kernels.
    use_bias : bool, default True
    kernel_initializer, recurrent_initializer, bias_initializer : str, Initializer, callable or ndarray
    kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer, kernel_constraint, \
    recurrent_constraint, bias_constraint, dropout, recurrent_dropout, seed, return_sequences, return_state, \
    go_backwards, stateful, unroll
        See `Recurrent`.
    **kwargs
        Of `Recurrent` and `Layer`.

    Notes
    -----
    Parameters are ``kernel`` (I, H), ``recurrent_kernel`` (H, H) and ``bias`` (H,). The state is h.

    References
    ----------
    J. Elman, "Finding structure in time", Cognitive Science 14(2), 1990.
    """

    def __init__(
        self, units: int, activation: ActivationLike = "tanh", use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform", recurrent_initializer: InitializerLike = "orthogonal",
        bias_initializer: InitializerLike = "zeros", kernel_regularizer: RegularizerLike = None,
        recurrent_regularizer: RegularizerLike = None, bias_regularizer: RegularizerLike = None,
        activity_regularizer: None = None, kernel_constraint: ConstraintLike = None,
        recurrent_constraint: ConstraintLike = None, bias_constraint: ConstraintLike = None, dropout: float = 0.0,
        recurrent_dropout: float = 0.0, return_sequences: bool = False, return_state: bool = False,
        go_backwards: bool = False, stateful: bool = False, unroll: bool = False, seed: int | None = None,
        **kwargs: Unpack[RecurrentOptions],
    ):  # fmt: skip
        self.activation = activations.get(activation)
        super().__init__(**signatures.passed_on(Recurrent, locals()))

    def _make_cell(self):
        return rnn_with(self.activation)


@register()
class RNN(Recurrent):
    """A recurrent layer of any cell: one of `nblstm.cells`, or your own.

    Parameters
    ----------
    cell : Cell or str
        Made by `nblstm.cell`, or the name of a registered one; to be saved, it has to be registered (`register_cell`).
    units : int
        Unlike Keras's cells, one of nblstm's has no size of its own.
    use_bias : bool, default True
    kernel_initializer, recurrent_initializer, bias_initializer : str, Initializer, callable or ndarray
    vectors_initializer : str, Initializer, callable or ndarray
        Of the cell's vectors and scalars.
    kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer, kernel_constraint, \
    recurrent_constraint, bias_constraint, dropout, recurrent_dropout, seed, return_sequences, return_state, \
    go_backwards, stateful, unroll
        See `Recurrent`.
    signals : dict of str to int or list of int, optional
        For a cell with signals, the column of x that each is, or a list of columns, one for each unit. These columns
        are no features; one that is to be both stands in x twice.
    **kwargs
        Of `Recurrent` and `Layer`.

    Notes
    -----
    Parameters are ``kernel`` (I, G H), ``recurrent_kernel`` (H, G H), ``bias`` (G H,), or (2, G H) for a cell with
    split gates, and each of the cell's vectors (H,) and scalars (1,) under its name. Gates and states are in the cell's
    order. `Recurrent` says what there is for gates without an input, and for a cell with a matrix.

    Examples
    --------
    >>> from nblstm import cell, sigmoid, tanh
    >>> from nblstm.layers import RNN
    >>> @cell(gates="f g", states="h")
    ... def minimal(f, g, h):
    ...     f = sigmoid(f)
    ...     return f * h + (1 - f) * tanh(g)
    >>> RNN(minimal, 8, return_sequences=True).compute_output_shape((None, 10, 3))
    (None, 10, 8)
    """

    def __init__(
        self, cell: Cell | str, units: int, use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform", recurrent_initializer: InitializerLike = "orthogonal",
        bias_initializer: InitializerLike = "zeros", vectors_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None, recurrent_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None, activity_regularizer: None = None,
        kernel_constraint: ConstraintLike = None, recurrent_constraint: ConstraintLike = None,
        bias_constraint: ConstraintLike = None, dropout: float = 0.0, recurrent_dropout: float = 0.0,
        seed: int | None = None, return_sequences: bool = False, return_state: bool = False, go_backwards: bool = False,
        stateful: bool = False, unroll: bool = False, **kwargs: Unpack[RecurrentOptions],
    ):  # fmt: skip
        if isinstance(cell, str):
            cell = registered_cell(cell)
        if not isinstance(cell, Cell):
            raise TypeError(f"cell is {cell!r}; give a cell made by the decorator nblstm.cell, or one of nblstm.cells")
        own = {"kernel", "recurrent_kernel", "recurrent_kernel_right", "bias", "recurrent_bias"}
        taken = (own | {f"initial_{state}" for state in cell.states}) & {*cell.vectors, *cell.scalars}
        if taken:
            name = min(taken)
            kind = "vector" if name in cell.vectors else "scalar"
            raise ValueError(
                f"cell {cell.name!r} has a {kind} named {name!r}, as the layer names a parameter of its own; give it "
                "another name"
            )
        self.cell = cell
        self.vectors_initializer = initializers.get(vectors_initializer)
        super().__init__(**signatures.passed_on(Recurrent, locals()))

    def _make_cell(self):
        return self.cell

    def _vector_initializer(self):
        return self.vectors_initializer

    def _plain(self, name: str, value):
        return name_of(value) if name == "cell" else super()._plain(name, value)
