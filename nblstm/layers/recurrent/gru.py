"""The gated recurrent unit, with Keras's arguments."""

from __future__ import annotations

from nblstm import activations
from nblstm.arguments import signatures, validate
from nblstm.cells import gru_with
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
class GRU(Recurrent):
    """Gated recurrent unit, as `keras.layers.GRU`.

    ::

        z, r = recurrent_activation(x_t kernel + bias[0] + h_{t-1} recurrent_kernel + bias[1])
        n    = activation(x_t kernel + bias[0] + r * (h_{t-1} recurrent_kernel + bias[1]))
        h_t  = (1 - z) * n + z * h_{t-1}

    and with ``reset_after=False``, where there is one bias,
    ``n = activation(x_t kernel + (r * h_{t-1}) recurrent_kernel + bias)``.

    Parameters
    ----------
    units : int
    activation, recurrent_activation : str or ActivationFunction
        Any of `nblstm.activations` that acts on each number alone; compiled into the kernels.
    use_bias : bool, default True
    kernel_initializer, recurrent_initializer, bias_initializer : str, Initializer, callable or ndarray
    kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer, kernel_constraint, \
    recurrent_constraint, bias_constraint, dropout, recurrent_dropout, seed, return_sequences, return_state, \
    go_backwards, stateful, unroll
        See `Recurrent`.
    reset_after : bool, default True
        Whether the reset gate acts after the recurrent product, as in cuDNN and torch, or before it.
    use_cudnn : "auto" or False
        Keras's; there is no cuDNN here.
    **kwargs
        Of `Recurrent` and `Layer`.

    Notes
    -----
    Parameters are ``kernel`` (I, 3 H), ``recurrent_kernel`` (H, 3 H) and ``bias`` (2, 3 H), or (3 H,) with
    ``reset_after=False``; gates are in Keras's order z, r, n. The state is h.

    References
    ----------
    K. Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014.
    """

    def __init__(
        self, units: int, activation: ActivationLike = "tanh", recurrent_activation: ActivationLike = "sigmoid",
        use_bias: bool = True, kernel_initializer: InitializerLike = "glorot_uniform",
        recurrent_initializer: InitializerLike = "orthogonal", bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None, recurrent_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None, activity_regularizer: None = None,
        kernel_constraint: ConstraintLike = None, recurrent_constraint: ConstraintLike = None,
        bias_constraint: ConstraintLike = None, dropout: float = 0.0, recurrent_dropout: float = 0.0,
        seed: int | None = None, return_sequences: bool = False, return_state: bool = False, go_backwards: bool = False,
        stateful: bool = False, unroll: bool = False, reset_after: bool = True, use_cudnn: bool | str = "auto",
        **kwargs: Unpack[RecurrentOptions],
    ):  # fmt: skip
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.reset_after = validate.flag("reset_after", reset_after)
        self.use_cudnn = validate.without_cudnn(use_cudnn)
        super().__init__(**signatures.passed_on(Recurrent, locals()))

    def _make_cell(self):
        return gru_with(self.activation, self.recurrent_activation, self.reset_after)

    def _gates(self):
        return ("z", "r", "n")
