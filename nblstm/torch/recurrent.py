"""`torch.nn.Module`s whose forward pass and gradient the engine computes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from nblstm import nn
from nblstm.arguments import validate
from nblstm.cells.cell import Cell
from nblstm.cells.projection import projected
from nblstm.nn.recurrent_arguments import check_x, layers_of, projection_of
from nblstm.process.show import warn
from nblstm.torch import operators  # noqa: F401  # defines them
from nblstm.torch.checks import check_input, check_lengths, check_states, converted, resets_of, signals_of
from nblstm.torch.description import described, network_of
from nblstm.torch.eager import Recurrence, any_gradient, by_operators, inferred, packed_batch
from nblstm.torch.streaming import Stepper
from nblstm.torch.tensors import COMPUTED, DTYPES, Weights
from nblstm.torch.threads import follow

if TYPE_CHECKING:
    from nblstm.numba_extension.compiled_network import CompiledNetwork

JIT = "torch.jit can't trace or script a module of nblstm.torch; use torch.export or torch.compile"

#: Rows, steps times sequences, of an inference that takes `Weights.settled`; with more, to pack is little of it.
FEW_ROWS = 16


class Recurrent(Module):
    """A stack of recurrent layers of any cell, as a module of torch: ``y, states = module(x, hx)``.

    Parameters
    ----------
    cell : Cell
        From the decorator `nblstm.cell`, or one of `nblstm.cells`.
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        As of `torch.nn.LSTM`.
    proj_size : int, default 0
        If not 0, the features P < H to which ``weight_hr_l0`` (P, H) projects the first state, before it recurs and
        leaves, as in `torch.nn.LSTM`, but for any cell.
    device, dtype : optional
        Of the parameters, as torch has them. They are float32 or float64; in bfloat16 and float16, as under autocast,
        everything is computed in float32. Forward passes run on the CPU.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    CellError
        If the cell's equations can't be traced.

    Notes
    -----
    Parameters have the names, shapes and initial values of torch: ``weight_ih_l0`` (G H, I), ``weight_hh_l0`` (G H, H),
    ``bias_ih_l0`` and ``bias_hh_l0`` (G H,), then each of the cell's vectors, ``p_l0`` (H,), and its scalars (1,);
    ``_reverse`` is appended for the other direction. Under the same `torch.manual_seed` they are those of
    `torch.nn.LSTM`. In training, the cell's noise is drawn, as is dropout, from torch's generator.
    """

    _bare_state: bool = False  # whether the only state comes and goes by itself, not in a tuple

    def __init__(
        self, cell: Cell, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
        device: Any = None, dtype: torch.dtype | None = None,
    ):  # fmt: skip
        super().__init__()
        if not isinstance(cell, Cell):
            raise TypeError(f"cell is {cell!r}; give a cell made by the decorator nblstm.cell, or one of nblstm.cells")
        dtype = torch.get_default_dtype() if dtype is None else dtype
        if dtype not in COMPUTED:
            raise ValueError(f"dtype is {dtype}; give one of {', '.join(map(str, COMPUTED))}")
        self.cell = cell
        self.input_size = validate.positive_integer("input_size", input_size)
        self.hidden_size = validate.positive_integer("hidden_size", hidden_size)
        self.num_layers = layers_of(num_layers)
        self.bias, self.batch_first = validate.flag("bias", bias), validate.flag("batch_first", batch_first)
        self.bidirectional = validate.flag("bidirectional", bidirectional)
        self.proj_size = projection_of(proj_size, self.hidden_size)
        check_x(cell, self.input_size, self.hidden_size, self.num_layers, 1 + self.bidirectional, self.proj_size)
        self._weights: Weights | None = None  # of the last pass
        self._frozen: Weights | None = None
        self.dropout = dropout
        self._bare_state = self._bare_state and len(self._network.cell.states) == 1
        if not self._names:
            raise ValueError(f"the cell {cell.name!r} has no parameters, as a module needs; use nblstm.nn")
        for name, shape in self._network.layout.shapes.items():
            self.register_parameter(name, Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    @property
    def dropout(self) -> float:
        """Probability with which training sets an output between layers to 0."""
        return self._dropout

    @dropout.setter
    def dropout(self, value: float) -> None:
        self._dropout = validate.probability("dropout", value)
        if self._dropout and self.num_layers == 1:
            warn(f"dropout is {value} with one layer, and acts between layers; put one behind the layer")
        self._make_networks()

    def _make_networks(self) -> None:
        """Make the network of each dtype, and what torch's operators call it."""
        cell = projected(self.cell) if self.proj_size else self.cell
        options = self.num_layers, self.bias, self._dropout, self.bidirectional
        self._networks = {
            dtype: network_of(cell, self.input_size, self.hidden_size, *options, name, self.proj_size)
            for dtype, name in DTYPES.items()
        }
        self._network = network = self._networks[torch.float32]  # for what no dtype changes
        # Not cached properties, whose locks dynamo can't look into.
        self._noisy, self._state_sizes = (
            network.is_noisy or (cell.matrix is not None and cell.matrix.is_noisy),
            dict(zip(network.cell.states, network.state_sizes, strict=True)),
        )
        self._texts = {dtype: described(network) for dtype, network in self._networks.items()}
        self._names = list(self._network.layout.shapes)

    def reset_parameters(self) -> None:
        """Draw all parameters uniformly from ±1 / sqrt(H), as torch does."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            torch.nn.init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Do nothing: torch's models call it, for cuDNN, and here parameters may lie anywhere."""

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of each layer and direction."""
        tensors = self._tensors()
        each = len(tensors) // (self.num_layers * (1 + self.bidirectional))
        return [tensors[k : k + each] for k in range(0, len(tensors), each)]

    def _tensors(self) -> list[Tensor]:
        """The parameters in the engine's order, whatever torch put in their places."""
        own = self._parameters
        return [own[name] if own.get(name) is not None else self._other(name) for name in self._names]

    def _other(self, name: str) -> Tensor:
        """A parameter that is computed, as by weight_norm."""
        value = getattr(self, name)
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} is {type(value).__name__}; have a Parameter or a tensor there")
        return value

    def forward(
        self, input: Tensor | PackedSequence, hx: Any = None, lengths: Any = None, resets: Any = None, *,
        signals: dict[str, Any] | None = None,
    ):  # fmt: skip
        """Run all steps.

        Parameters
        ----------
        input : Tensor, shape (T, B, I), (B, T, I) if ``batch_first``, or (T, I); or PackedSequence
        hx : tuple of Tensor, or for a GRU and an RNN Tensor, optional
            Initial states, each (num_layers D, B, H), or (num_layers D, H) for an input with no batch dimension; of
            the first P features, if there are projections.
        lengths : sequence or Tensor of int, shape (B,), optional
            Of each sequence, in any order, 0 to T. Beyond it a sequence costs nothing, its output is 0, and its state
            stays.
        resets : Tensor or array_like of bool, in the shape of ``input`` without its features, optional
            True where another sequence begins: before this step states are set back to the cell's initial ones, mostly
            0. The other direction begins anew at the step before.
        signals : dict of str to Tensor, optional
            What the cell takes with each step beside x, by its names: in the shape of ``input`` without its features,
            or with H of them. Beside a PackedSequence: such, of the same lengths, or its rows.

        Returns
        -------
        output : Tensor in the layout of ``input`` with D H features, D P of projections, or PackedSequence
        states : tuple of Tensor, or for a GRU and an RNN Tensor
            Final states, in the shape of ``hx``.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            If a shape, dtype or device does not fit; by a transform of `torch.func`, whose way is `reference`.
        """
        if torch.jit.is_tracing():
            raise RuntimeError(JIT)
        packed = input if isinstance(input, PackedSequence) else None
        x = input if packed is None else packed.data
        if packed is not None and lengths is not None:
            raise ValueError("lengths are given beside a PackedSequence, which has its own; give a padded tensor")
        if packed is not None and resets is not None:
            raise ValueError("resets are given beside a PackedSequence; give a padded tensor with lengths")
        if lengths is not None:
            check_lengths(lengths)
        tensors = self._tensors()
        steps: list[Tensor] = []
        if signals is not None or self._network.cell.signals:
            steps = signals_of(self, signals, x, packed)
        if hx is None and not steps and x.__class__ is Tensor and x.dtype is tensors[0].dtype and x.dtype in DTYPES:
            states: list[Tensor] = []
            kept = x.dtype
        else:
            x, states, steps, tensors, kept = converted(self, x, hx, steps, tensors)
        check_input(self, x, tensors[0])
        if states and packed is None:
            check_states(self, x, states)
        if resets is not None:
            resets = resets_of(resets, x)
        batched = packed is not None or x.dim() != 2
        turned = packed is None and batched and self.batch_first
        if not batched:
            x, states = x.unsqueeze(1), [state.unsqueeze(1) for state in states]
            steps = [signal.unsqueeze(1) for signal in steps]
            resets = None if resets is None else resets.unsqueeze(1)
        elif turned:
            x, steps = x.transpose(0, 1), [signal.transpose(0, 1) for signal in steps]
            resets = None if resets is None else resets.transpose(0, 1)
        if by_operators(x):
            y, *final = self._operated(x, states, steps, tensors, lengths, packed, resets)
        else:
            y, *final = self._computed(x, states, steps, tensors, lengths, packed, resets)
        if kept is not y.dtype:
            y, final = y.to(kept), [state.to(kept) for state in final]
        if not batched:
            y, final = y.squeeze(1), [state.squeeze(1) for state in final]
        elif turned:
            y = y.transpose(0, 1)
        if packed is not None:
            y = PackedSequence(y, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
        return y, final[0] if self._bare_state else tuple(final)

    def _computed(
        self, x: Tensor, states: list[Tensor], signals: list[Tensor], tensors: list[Tensor], lengths: Any, packed: Any,
        resets: Tensor | None,
    ):  # fmt: skip
        """Run the engine."""
        follow()
        network = self._networks[x.dtype]
        if packed is not None:
            lengths = packed_batch(packed.batch_sizes, packed.sorted_indices)
        elif isinstance(lengths, Tensor):
            lengths = lengths.cpu().numpy()
        flags = None if resets is None else resets.numpy()
        seed = int(self._drawn_seed()) if self._drops() else None
        trains = seed is not None or any_gradient(x, states, signals, tensors)
        weights = self._weights if trains or self._frozen is None else self._frozen
        if weights is None or not weights.are(network, tensors):
            self._weights = weights = Weights(network, tensors)
        if trains:
            return Recurrence.apply(weights, (lengths, flags), seed, len(states), x, *states, *signals, *tensors)
        few = x.numel() <= FEW_ROWS * self.input_size
        return inferred(weights.settled() if few else weights, x, states, signals, lengths, flags)

    def _operated(
        self, x: Tensor, states: list[Tensor], signals: list[Tensor], tensors: list[Tensor], lengths: Any, packed: Any,
        resets: Tensor | None,
    ):  # fmt: skip
        """Run torch's operators."""
        if packed is not None:
            # Not packed._replace(data=x), which dynamo makes a tuple of.
            order = packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
            x, lengths = pad_packed_sequence(PackedSequence(x, *order))
            signals = [pad_packed_sequence(PackedSequence(signal, *order))[0] for signal in signals]
        elif lengths is not None:
            lengths = torch.as_tensor(lengths)
            check_lengths(lengths)
            lengths = lengths.to(torch.int64)
        text, seed = self._texts[x.dtype], self._drawn_seed() if self._drops() else None
        if seed is not None or any_gradient(x, states, signals, tensors):
            dropout = 0.0 if seed is None else self._dropout
            y, *final, _ = torch.ops.nblstm.forward(x, states, signals, tensors, lengths, seed, dropout, text, resets)
        else:
            y, *final = torch.ops.nblstm.infer(x, states, signals, tensors, lengths, text, resets)
        if packed is not None:
            if packed.sorted_indices is not None:
                y, lengths = y.index_select(1, packed.sorted_indices), lengths[packed.sorted_indices]
            y = pack_padded_sequence(y, lengths).data
        return y, *final

    def _drops(self) -> bool:
        """Say if this pass draws random numbers: dropout between layers, the cell's noise, or its matrix."""
        return self.training and ((self._dropout > 0 and self.num_layers > 1) or self._noisy)

    @staticmethod
    def _drawn_seed() -> Tensor:
        """A seed from torch's generator, so that `torch.manual_seed` and the replay of a checkpoint hold."""
        return torch.randint(2**62, (1,))

    def to_nn(self) -> nn.Recurrent:
        """The network as one of `nblstm.nn`, with a copy of the parameters.

        It steps (``stepper()``), is a value in compiled functions (``compiled()``), and needs no torch.
        """
        if (first := self._tensors()[0]).is_meta:
            raise RuntimeError(
                "the parameters are on meta, without numbers; have them on a device: to_empty(), or load"
            )
        dtype = DTYPES.get(first.dtype, "float32")
        made = self._new_nn(
            input_size=self.input_size, hidden_size=self.hidden_size, num_layers=self.num_layers, bias=self.bias,
            batch_first=self.batch_first, dropout=self._dropout, bidirectional=self.bidirectional,
            proj_size=self.proj_size, dtype=dtype,
        )  # fmt: skip
        arrays = [tensor.detach().double().cpu().numpy() for tensor in self._tensors()]
        made.load_state_dict(dict(zip(self._names, arrays, strict=True)))
        return made

    def _new_nn(self, **options: Any) -> nn.Recurrent:
        return nn.Recurrent(self.cell, **options)

    def compiled(self, batch_size: int = 1) -> CompiledNetwork:
        """A value for functions under `numba.njit`, with the parameters as they are now; see `nn.LSTM.compiled`."""
        return self.to_nn().compiled(batch_size)

    def stepper(self, batch_size: int = 1) -> Stepper:
        """One step at a time, with the parameters as they are now; see `Stepper`."""
        return Stepper(self, batch_size)

    def _get_name(self) -> str:
        """Class as it is shown, told from torch's."""
        return f"nblstm.torch.{type(self).__name__}"

    def extra_repr(self) -> str:
        """The arguments that are not at their defaults."""
        kind = type(self)
        parts = [f"cell={self.cell.name}"] if kind is Recurrent else []
        parts += [f"{self.input_size}", f"{self.hidden_size}"]
        defaults = {
            "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False, "proj_size": 0
        }  # fmt: skip
        parts += [f"{name}={getattr(self, name)}" for name, usual in defaults.items() if getattr(self, name) != usual]
        return ", ".join(parts)

    def __prepare_scriptable__(self) -> Recurrent:
        """Refuse `torch.jit.script`, which calls this."""
        raise RuntimeError(JIT)

    def __getstate__(self) -> dict:
        """Return all but the networks, which are made again, and hold memory."""
        made = "_networks", "_network", "_noisy", "_state_sizes", "_texts", "_names"
        return {k: v for k, v in vars(self).items() if k not in made} | {"_weights": None, "_frozen": None}

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self._make_networks()
