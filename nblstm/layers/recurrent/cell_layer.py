"""A cell with parameters: the arguments, parameters and weights of a recurrent layer."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.cells import Cell, recurrent_dropout
from nblstm.engine import stack
from nblstm.engine.device import backend_of, device_for
from nblstm.engine.stack import Network
from nblstm.layers import constraints, initializers, regularizers
from nblstm.layers.base.layer import Layer
from nblstm.layers.base.options import (
    ConstraintLike,
    InitializerLike,
    LayerOptions,
    RegularizerLike,
    Unpack,
)
from nblstm.layers.base.parameters import Parameter
from nblstm.layers.base.shapes import Shape
from nblstm.layers.dropout import seeded
from nblstm.nn import Gradients


class CellLayer(Layer):
    """A cell for sequences (B, T, I), its parameters, and the weights that the kernels read.

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

    Notes
    -----
    Parameters, with G gates: ``kernel`` (I, G H), ``recurrent_kernel`` (H, G H), ``bias`` (G H,), or (2, G H) for a
    cell with split gates (for the input's and the recurrent product), the cell's vectors (H,), and with
    ``learn_initial_state`` one of (H,) for each state, ``initial_h`` and so on.
    """

    ndim = 3
    fixed_axes = (-1,)
    supports_masking = True
    _last_targets: tuple[Gradients, dict[str, np.ndarray]] | None = None

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

    def _make_cell(self) -> Cell:
        """The cell, from the arguments."""
        raise NotImplementedError(f"{type(self).__name__} has no _make_cell; write it")

    def _bias_initializer(self):
        """The bias's initial values; a hook for LSTM."""
        return self.bias_initializer

    def _vector_initializer(self):
        """The initial values of the cell's vectors; a hook for RNN."""
        return initializers.Zeros()

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
        """What the kernels are told; the layer is built."""
        return Network(
            cell=self.cell, input_size=self._layout.shapes["kernel"][0], hidden_size=self.units, num_layers=1,
            directions=1, bias=self.use_bias, batch_first=False, dropout=0.0, dtype=self.dtype,
            device=device_for(None),
        )  # fmt: skip

    @cached_property
    def _dropout_network(self) -> Network:
        """The same with recurrent dropout, which changes the states, but no weights."""
        return replace(self._network, cell=recurrent_dropout(self.cell))

    def _views(self, own: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Parameters, or their gradients, by torch's names and in torch's shapes, which the kernels read."""
        views = {"weight_ih_l0": own["kernel"].T, "weight_hh_l0": own["recurrent_kernel"].T}
        if self.use_bias:
            bias = own["bias"]
            if bias.ndim == 1:
                views["bias_ih_l0"] = bias
            else:
                views["bias_ih_l0"], views["bias_hh_l0"] = bias
        for name in self.cell.vectors:
            views[f"{name}_l0"] = own[name]
        return views

    def _targets(self, gradients: Gradients) -> dict[str, np.ndarray]:
        """The `_views` of gradients, which often are those of the call before."""
        last = self._last_targets
        if last is None or last[0] is not gradients:
            last = self._last_targets = gradients, self._views(gradients.params)
        return last[1]

    def _set_buffer(self, layout, flat: np.ndarray, buffer=None) -> None:
        super()._set_buffer(layout, flat, buffer)
        for name in ("_network", "_dropout_network"):  # their passes have the parameters from before
            vars(self).pop(name, None)
        self._own_views: dict[str, np.ndarray] | None = None
        self._last_targets = None

    def _parameter_views(self) -> dict[str, np.ndarray]:
        """The `_views` of the parameters."""
        if self._own_views is None:
            self._own_views = self._views(self._own)
        return self._own_views

    def _packed(self, training: bool) -> stack.Weights:
        return stack.pack(self._network, self._parameter_views(), training)

    def _weights(self, training: bool) -> stack.Weights:
        """The weights as the kernels read them, packed anew when the parameters may have changed."""
        weights = None if self._lent else self._cache.get(training)
        if weights is None:
            weights = self._derived(training, lambda own: self._packed(training))
        return weights

    def warmup(self) -> None:
        """Compile every kernel that the layer can need, and keep them in the cache."""
        backend = backend_of(device_for(None))
        backend.compile_kernels(self.cell, self.dtype)
        if self.recurrent_dropout:
            backend.compile_kernels(recurrent_dropout(self.cell), self.dtype)
