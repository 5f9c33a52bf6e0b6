"""LSTM, GRU and RNN: `Recurrent` with the cells and the arguments of torch."""

from __future__ import annotations

from typing import Any

import torch

from nblstm import nn
from nblstm.cells import gru, lstm, rnn_relu, rnn_tanh
from nblstm.torch.recurrent import Recurrent


class LSTM(Recurrent):
    """Long short-term memory, in the place of `torch.nn.LSTM`: ``y, (h_n, c_n) = lstm(x, (h_0, c_0))``.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype
        As of `torch.nn.LSTM`. See `Recurrent`.

    Examples
    --------
    >>> import torch
    >>> import nblstm.torch
    >>> lstm = nblstm.torch.LSTM(3, 8)
    >>> y, (h_n, c_n) = lstm(torch.zeros(5, 2, 3))
    >>> y.sum().backward()
    >>> y.shape, lstm.weight_ih_l0.grad.shape
    (torch.Size([5, 2, 8]), torch.Size([32, 3]))
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, device: Any = None,
        dtype: torch.dtype | None = None,
    ):  # fmt: skip
        options = num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype
        super().__init__(lstm, input_size, hidden_size, *options)

    def _new_nn(self, **options: Any) -> nn.Recurrent:
        return nn.LSTM(**options)


class GRU(Recurrent):
    """Gated recurrent unit, in the place of `torch.nn.GRU`: ``y, h_n = gru(x, h_0)``.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype
        As of `torch.nn.GRU`. See `Recurrent`.
    proj_size : int, default 0
        See `Recurrent`; torch's own has none.
    """

    _bare_state: bool = True

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, device: Any = None, dtype: torch.dtype | None = None,
        *, proj_size: int = 0,
    ):  # fmt: skip
        options = num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype
        super().__init__(gru, input_size, hidden_size, *options)

    def _new_nn(self, **options: Any) -> nn.Recurrent:
        return nn.GRU(**options)


class RNN(Recurrent):
    """Simple recurrent network, in the place of `torch.nn.RNN`: ``y, h_n = rnn(x, h_0)``.

    Parameters
    ----------
    nonlinearity : {"tanh", "relu"}
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype
        As of `torch.nn.RNN`. See `Recurrent`.
    proj_size : int, default 0
        See `Recurrent`; torch's own has none.
    """

    _bare_state: bool = True

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, device: Any = None,
        dtype: torch.dtype | None = None, *, proj_size: int = 0,
    ):  # fmt: skip
        cells = {"tanh": rnn_tanh, "relu": rnn_relu}
        if nonlinearity not in cells:
            raise ValueError(f"nonlinearity is {nonlinearity!r}; give 'tanh' or 'relu', or use Recurrent with a cell")
        self.nonlinearity = nonlinearity
        options = num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype
        super().__init__(cells[nonlinearity], input_size, hidden_size, *options)

    def _new_nn(self, **options: Any) -> nn.Recurrent:
        return nn.RNN(nonlinearity=self.nonlinearity, **options)

    def extra_repr(self) -> str:
        """The arguments that are not at their defaults."""
        return super().extra_repr() + (", nonlinearity=relu" if self.nonlinearity == "relu" else "")
