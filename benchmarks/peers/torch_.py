"""PyTorch as a contender; the own cell is the loop over time that a user writes in Python."""

from __future__ import annotations

import copy
from functools import cached_property

import numpy as np
import torch
from torch import nn
from torch.nn.functional import linear
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.peers.work import Data, Work, trained

NETWORKS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}


def start(threads: int) -> dict[str, str]:
    """Set the number of threads; versions of what will compute."""
    torch.set_num_threads(threads)
    return {"torch": torch.__version__}


class Peephole(nn.Module):
    """The user's own cell: an LSTM with peepholes."""

    def __init__(self, I: int, H: int):
        super().__init__()
        shapes = {"weight_ih": (4 * H, I), "weight_hh": (4 * H, H), "bias_ih": (4 * H,), "bias_hh": (4 * H,)}
        for name, shape in (shapes | {f"p_{gate}": (H,) for gate in "ifo"}).items():
            self.register_parameter(f"{name}_l0", nn.Parameter(torch.empty(shape)))

    def forward(self, x, state=None):
        zeros = x.new_zeros(1, x.shape[1], self.p_i_l0.shape[0])
        h, c = (s[0] for s in state or (zeros, zeros))
        from_input = linear(x, self.weight_ih_l0, self.bias_ih_l0)
        outputs = []
        for gates in from_input:
            i, f, g, o = (gates + linear(h, self.weight_hh_l0, self.bias_hh_l0)).chunk(4, 1)
            i = torch.sigmoid(i + self.p_i_l0 * c)
            f = torch.sigmoid(f + self.p_f_l0 * c)
            c = f * c + i * torch.tanh(g)
            o = torch.sigmoid(o + self.p_o_l0 * c)
            h = o * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs), (h[None], c[None])


class Contender:
    """Each method is one piece of work, timed as it stands."""

    def __init__(self, work: Work, data: Data, training: bool):
        def tensor(array):
            return torch.from_numpy(array.copy()).requires_grad_(training)

        self.work = work
        self.net = self.network()
        self.net.load_state_dict({name: torch.from_numpy(value) for name, value in data.weights.items()})
        self.net.requires_grad_(training)  # without, no graph is built: as inference_mode, less its entry and exit
        self.x, self.state = tensor(data.x), tuple(map(tensor, data.state))
        self.dy, self.dstate = torch.from_numpy(data.dy), tuple(map(torch.from_numpy, data.dstate))
        self.lengths = torch.from_numpy(data.lengths)
        self.leaves = [*self.net.parameters(), self.x, *self.state]

    def network(self) -> nn.Module:
        """The module that computes."""
        work = self.work
        return Peephole(work.I, work.H) if work.cell == "peephole" else NETWORKS[work.cell](work.I, work.H)

    def inference(self):
        return self.net(self.x)

    def training(self):
        return self._train(lambda state: self.net(self.x, state))

    @cached_property
    def _in_bfloat16(self):
        """The module and its input, in bfloat16."""
        return copy.deepcopy(self.net).bfloat16(), self.x.detach().bfloat16().requires_grad_(self.x.requires_grad)

    def bfloat16_inference(self):
        net, x = self._in_bfloat16
        return net(x)

    def bfloat16_training(self):
        net, x = self._in_bfloat16
        x.grad = None
        net.zero_grad(set_to_none=True)
        y, state = net(x)
        final = state if isinstance(state, tuple) else (state,)
        given = (self.dy, *self.dstate)
        torch.autograd.backward((y, *final), tuple(array.bfloat16() for array in given))
        return y, state

    def training_step(self):
        with torch.no_grad():
            for parameter in self.net.parameters():
                parameter.mul_(1)
        return self.training()

    @cached_property
    def _optimizer(self):
        return torch.optim.Adam(self.net.parameters(), lr=1e-6)

    def training_adam(self):
        """As training, then a step of Adam."""
        result = self.training()
        self._optimizer.step()
        return result

    def ragged(self):
        return self._packed(None)

    def ragged_training(self):
        return self._train(self._packed)

    def _packed(self, state):
        """A padded batch in, a padded batch out, as everywhere here."""
        in_order = self.work.order == "sorted"
        y, state = self.net(pack_padded_sequence(self.x, self.lengths, enforce_sorted=in_order), state)
        return pad_packed_sequence(y, total_length=self.work.T)[0], state

    def _train(self, forward):
        for leaf in self.leaves:
            leaf.grad = None
        y, state = forward(self.state if len(self.state) == 2 else self.state[0])
        final = state if isinstance(state, tuple) else (state,)
        torch.autograd.backward((y, *final), (self.dy, *self.dstate))
        return y, final

    @cached_property
    def _cell(self):
        cell = CELLS[self.work.cell](self.work.I, self.work.H).requires_grad_(False)
        cell.load_state_dict({name.removesuffix("_l0"): value for name, value in self.net.state_dict().items()})
        self._now = None
        return cell

    def step(self):
        cell = self._cell
        self._now = cell(self.x[0], self._now)
        return self._now

    def arrays(self, method: str, result) -> dict[str, np.ndarray]:
        """A result as named arrays, for comparison."""
        if method.startswith("bfloat16"):
            return {}
        if method == "step":
            return {"y": (result[0] if isinstance(result, tuple) else result).numpy()}
        y, state = result
        states = [s.detach().numpy() for s in (state if isinstance(state, tuple) else (state,))]
        if self.x.grad is None:
            return {"y": y.numpy()} | {f"final state {k}": value for k, value in enumerate(states)}
        d_params = {name: parameter.grad.numpy() for name, parameter in self.net.named_parameters()}
        d_state = [s.grad.numpy() for s in self.state]
        return trained(y.detach().numpy(), states, d_params, self.x.grad.numpy(), d_state)
