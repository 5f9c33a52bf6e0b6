"""LSTM, GRU and RNN: `Recurrent` with the cells and the arguments of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from nblstm.arguments import signatures, validate
from nblstm.arguments.validate import DTypeLike
from nblstm.cells.gru import gru
from nblstm.cells.lstm import lstm
from nblstm.cells.rnn import rnn_relu, rnn_tanh
from nblstm.nn.recurrent import Recurrent


class LSTM(Recurrent):
    """Long short-term memory, as `torch.nn.LSTM`: ``y, (h_n, c_n) = lstm(x, (h_0, c_0))``.

    ::

        i, f, o = sigmoid(W x_t + R h_{t-1} + b)
        g       = tanh(W x_t + R h_{t-1} + b)
        c_t     = f * c_{t-1} + i * g
        h_t     = o * tanh(c_t)

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, reverse, \
    recurrent_dropout, learn_initial_state, stateful
        See `Recurrent`. Gates are in torch's order i, f, g, o.
    forget_bias : float, default 0.0
        What is added to the forget gate's ``bias_ih`` at first: ``initial_bias={"f": forget_bias}``. With 1.0 the cell
        remembers from the beginning.
    initial_bias, dtype, precision, device, seed
        See `Recurrent`.

    References
    ----------
    S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997.
    F. Gers, J. Schmidhuber and F. Cummins, "Learning to forget", Neural Computation 12(10), 2000.
    R. Jozefowicz, W. Zaremba and I. Sutskever, "An empirical exploration of recurrent network architectures", ICML
    2015, for ``forget_bias``.

    Examples
    --------
    >>> import numpy as np
    >>> from nblstm import nn
    >>> lstm = nn.LSTM(3, 8, seed=0)
    >>> y, (h_n, c_n) = lstm(np.zeros((5, 2, 3)))
    >>> y.shape, h_n.shape
    ((5, 2, 8), (1, 2, 8))
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, *, reverse: bool = False,
        recurrent_dropout: float = 0.0, learn_initial_state: bool = False, stateful: bool = False,
        forget_bias: float = 0.0,
        initial_bias: Mapping[str, float] | None = None,
        dtype: DTypeLike = "float32", precision: str | None = None, device: str | None = None, seed: int | None = None,
    ):  # fmt: skip
        forget_bias = validate.number("forget_bias", forget_bias)
        if forget_bias and (initial_bias or not bias):
            other = "initial_bias is given too" if initial_bias else "bias is False, so no bias begins with it"
            raise ValueError(f"forget_bias is {forget_bias} and {other}; leave one out")
        initial_bias = {"f": forget_bias} if forget_bias else initial_bias
        super().__init__(lstm, **signatures.passed_on(Recurrent, locals()))


class GRU(Recurrent):
    """Gated recurrent unit, as `torch.nn.GRU`: ``y, h_n = gru(x, h_0)``.

    ::

        r, z = sigmoid(W x_t + b_ih + R h_{t-1} + b_hh)
        n    = tanh(W x_t + b_ih + r * (R h_{t-1} + b_hh))
        h_t  = (1 - z) * n + z * h_{t-1}

    With the reset gate before the recurrent product, ``R (r * h_{t-1})``: `Recurrent` of `cells.gru_reset_before`.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, reverse, \
    recurrent_dropout, learn_initial_state, stateful, initial_bias, dtype, precision, device, seed
        See `Recurrent`. Gates are in torch's order r, z, n.

    References
    ----------
    K. Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014.
    """

    _bare_state = True

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, *, reverse: bool = False,
        recurrent_dropout: float = 0.0, learn_initial_state: bool = False, stateful: bool = False,
        initial_bias: Mapping[str, float] | None = None,
        dtype: DTypeLike = "float32", precision: str | None = None, device: str | None = None, seed: int | None = None,
    ):  # fmt: skip
        super().__init__(gru, **signatures.passed_on(Recurrent, locals()))


class RNN(Recurrent):
    """Simple recurrent network, as `torch.nn.RNN`: ``y, h_n = rnn(x, h_0)``.

    ::

        h_t = tanh(W x_t + R h_{t-1} + b)

    Parameters
    ----------
    nonlinearity : {"tanh", "relu"}
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, reverse, \
    recurrent_dropout, learn_initial_state, stateful, initial_bias, dtype, precision, device, seed
        See `Recurrent`.

    References
    ----------
    J. Elman, "Finding structure in time", Cognitive Science 14(2), 1990.
    """

    _bare_state = True
    _defaults: ClassVar[dict[str, Any]] = {"nonlinearity": "tanh"}

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
        *, reverse: bool = False, recurrent_dropout: float = 0.0, learn_initial_state: bool = False,
        stateful: bool = False,
        initial_bias: Mapping[str, float] | None = None, dtype: DTypeLike = "float32",
        precision: str | None = None, device: str | None = None, seed: int | None = None,
    ):  # fmt: skip
        cells = {"tanh": rnn_tanh, "relu": rnn_relu}
        if nonlinearity not in cells:
            raise ValueError(f"nonlinearity is {nonlinearity!r}; give 'tanh' or 'relu', or use Recurrent with a cell")
        self.nonlinearity = nonlinearity
        super().__init__(cells[nonlinearity], **signatures.passed_on(Recurrent, locals()))
