"""Long short-term memory, with Keras's arguments."""

from __future__ import annotations

import numpy as np

from nblstm import activations
from nblstm.arguments import signatures, validate
from nblstm.cells import lstm_with
from nblstm.initializers import Initializer
from nblstm.layers.base.layer import register
from nblstm.layers.base.options import (
    ActivationLike,
    ConstraintLike,
    InitializerLike,
    RecurrentOptions,
    RegularizerLike,
    Unpack,
)
from nblstm.layers.recurrent.recurrent import Recurrent


@register()
class LSTM(Recurrent):
    """Long short-term memory, as `keras.layers.LSTM`.

    ::

        i, f, o = recurrent_activation(x_t kernel + h_{t-1} recurrent_kernel + bias)
        g       = activation(x_t kernel + h_{t-1} recurrent_kernel + bias)
        c_t     = f * c_{t-1} + i * g
        h_t     = o * activation(c_t)

    Parameters
    ----------
    units : int
    activation, recurrent_activation : str or ActivationFunction
        Any of `nblstm.activations` that acts on each number alone; compiled into the kernels.
    use_bias : bool, default True
    kernel_initializer, recurrent_initializer, bias_initializer : str, Initializer, callable or ndarray
    unit_forget_bias : bool, default True
        Whether the forget gate's bias is 1 at first (Jozefowicz et al. 2015).
    kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer, kernel_constraint, \
    recurrent_constraint, bias_constraint, dropout, recurrent_dropout, seed, return_sequences, return_state, \
    go_backwards, stateful, unroll
        See `Recurrent`.
    use_cudnn : "auto" or False
        Keras's; there is no cuDNN here.
    **kwargs
        Of `Recurrent` and `Layer`.

    Notes
    -----
    Parameters are ``kernel`` (I, 4 H), ``recurrent_kernel`` (H, 4 H) and ``bias`` (4 H,); gates are in
    Keras's order i, f, g, o. States are h and c.

    References
    ----------
    S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997.
    F. Gers, J. Schmidhuber and F. Cummins, "Learning to forget", Neural Computation 12(10), 2000.
    """

    def __init__(
        self, units: int, activation: ActivationLike = "tanh", recurrent_activation: ActivationLike = "sigmoid",
        use_bias: bool = True, kernel_initializer: InitializerLike = "glorot_uniform",
        recurrent_initializer: InitializerLike = "orthogonal", bias_initializer: InitializerLike = "zeros",
        unit_forget_bias: bool = True, kernel_regularizer: RegularizerLike = None,
        recurrent_regularizer: RegularizerLike = None, bias_regularizer: RegularizerLike = None,
        activity_regularizer: None = None, kernel_constraint: ConstraintLike = None,
        recurrent_constraint: ConstraintLike = None, bias_constraint: ConstraintLike = None, dropout: float = 0.0,
        recurrent_dropout: float = 0.0, seed: int | None = None, return_sequences: bool = False,
        return_state: bool = False, go_backwards: bool = False, stateful: bool = False, unroll: bool = False,
        use_cudnn: bool | str = "auto", **kwargs: Unpack[RecurrentOptions],
    ):  # fmt: skip
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias = validate.flag("unit_forget_bias", unit_forget_bias)
        self.use_cudnn = validate.without_cudnn(use_cudnn)
        super().__init__(**signatures.passed_on(Recurrent, locals()))

    def _make_cell(self):
        return lstm_with(self.activation, self.recurrent_activation)

    def _bias_initializer(self):
        return _ForgetBias(self.bias_initializer) if self.unit_forget_bias else self.bias_initializer


class _ForgetBias:
    """1 for the forget gate, the second of four; another initializer's values for the others."""

    def __init__(self, others: Initializer):
        self._others = others

    def __call__(self, shape: tuple[int, ...], dtype, generator: np.random.Generator | None = None) -> np.ndarray:
        values = np.array(self._others(shape, dtype, generator))
        H = shape[0] // 4
        values[H : 2 * H] = 1
        return values
