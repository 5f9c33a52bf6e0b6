"""The oracle: recurrent networks as float64 NumPy, straight from the papers.

Meant to be checked by eye, not to be fast: a cell is its equations, a network is a loop over time,
a gradient is a central difference. Nothing of nblstm is imported, so that no mistake there can
repeat itself here.

T time, B batch, I input, H hidden, G gates, L layers, D directions. Sequences are (T, B, I).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Parameters = dict[str, Array]
States = tuple[Array, ...]

# --- scalar functions, written so that they neither overflow nor cancel --------------------------

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def sigmoid(x):
    """1 / (1 + exp(-x)); the exponent is never positive."""
    e = np.exp(-np.abs(x))
    return np.where(np.less(x, 0), e, 1.0) / (1.0 + e)


def relu(x):
    """max(x, 0)."""
    return np.maximum(x, 0.0)


def leaky_relu(x):
    """x if x >= 0, else 0.01 x: torch's default slope (Maas, Hannun & Ng 2013)."""
    return np.where(np.less(x, 0), 0.01 * np.asarray(x), x)


def elu(x):
    """x if x >= 0, else exp(x) - 1 (Clevert, Unterthiner & Hochreiter 2016)."""
    return np.where(np.less(x, 0), np.expm1(np.minimum(x, 0.0)), x)


def selu(x):
    """scale * (x if x >= 0, else alpha (exp(x) - 1)) (Klambauer et al. 2017)."""
    return SELU_SCALE * np.where(np.less(x, 0), SELU_ALPHA * np.expm1(np.minimum(x, 0.0)), x)


def softplus(x):
    """log(1 + exp(x))."""
    return np.logaddexp(0.0, x)


def softsign(x):
    """x / (1 + |x|)."""
    return x / (1.0 + np.abs(x))


def hard_sigmoid(x):
    """clip(x / 6 + 1/2, 0, 1): Keras 3's and torch's, not the slope 0.2 of Keras 2 and ONNX."""
    return np.clip(np.asarray(x) / 6.0 + 0.5, 0.0, 1.0)


def hard_tanh(x):
    """clip(x, -1, 1)."""
    return np.clip(x, -1.0, 1.0)


def swish(x):
    """x sigmoid(x) (Ramachandran, Zoph & Le 2017)."""
    return x * sigmoid(x)


def gelu(x):
    """x Phi(x), with the exact normal distribution function (Hendrycks & Gimpel 2016)."""
    return 0.5 * x * _erfc(-np.asarray(x) / math.sqrt(2.0))


FUNCTIONS: dict[str, Callable[..., Array]] = {
    "sigmoid": sigmoid, "tanh": np.tanh, "relu": relu, "leaky_relu": leaky_relu, "elu": elu,
    "selu": selu, "softplus": softplus, "softsign": softsign, "hard_sigmoid": hard_sigmoid,
    "hard_tanh": hard_tanh, "swish": swish, "gelu": gelu, "exp": np.exp, "log": np.log,
    "sqrt": np.sqrt, "abs": np.abs, "minimum": np.minimum, "maximum": np.maximum,
    "clip": np.clip, "where": np.where, "sin": np.sin, "cos": np.cos,
    "erf": np.vectorize(math.erf, otypes=[np.float64]), "exp2": np.exp2,
    "log2": np.log2, "sign": np.sign, "round": np.rint, "stop_gradient": np.positive,
}  # fmt: skip

# --- cells ---------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """One step of a recurrent network.

    ``step`` takes one pre-activation per gate, ``W x + b_ih + R h + b_hh`` (a gate in ``split``
    comes as two, ``W x + b_ih`` and ``R h + b_hh``; one in ``second`` as the function of v that is
    ``W x + b_ih + R v + b_hh``), then the previous states, then the vectors. It returns the new
    states; the first is what R multiplies, ``output`` names the output.
    """

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...]
    split: tuple[str, ...]
    second: tuple[str, ...]
    vectors: tuple[str, ...]
    step: Callable[..., States]
    output: str
    ones: tuple[str, ...] = ()  # states that are one where none are given; the others are zero


def make_cell(
    step, gates: str, states: str, split: str = "", vectors: str = "", output: str = "", second: str = "",
    ones: str = "",
) -> Cell:  # fmt: skip
    """A cell from space-separated names, called after its step function; the first state is the default output."""
    names = [tuple(part.split()) for part in (gates, states, split, second, vectors)]
    return Cell(
        step.__name__,
        names[0],
        names[1],
        names[2],
        names[3],
        names[4],
        step,
        output or names[1][0],
        tuple(ones.split()),
    )


def rnn_tanh(a, h):
    """h = tanh(a) (Elman 1990)."""
    return (np.tanh(a),)


def rnn_relu(a, h):
    """h = relu(a) (Le, Jaitly & Hinton 2015)."""
    return (relu(a),)


def gru(r, z, n_x, n_h, h):
    """h = (1 - z) n + z h, n = tanh(n_x + r n_h) (Cho et al. 2014; r after the product: cuDNN)."""
    n = np.tanh(n_x + sigmoid(r) * n_h)
    return ((1.0 - sigmoid(z)) * n + sigmoid(z) * h,)


def gru_reset_before(r, z, n, h):
    """h = (1 - z) n + z h, n = tanh(W x + R (r h) + b) (Cho et al. 2014, equations 5 to 8)."""
    n = np.tanh(n(sigmoid(r) * h))
    return ((1.0 - sigmoid(z)) * n + sigmoid(z) * h,)


def lstm(i, f, g, o, h, c):
    """c = f c + i g, h = o tanh(c) (Hochreiter & Schmidhuber 1997; Gers et al. 2000)."""
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm_peephole(i, f, g, o, h, c, p_i, p_f, p_o):
    """Gates that see the cell: i, f its old value, o the new (Gers, Schraudolph et al. 2002)."""
    c_new = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
    return sigmoid(o + p_o * c_new) * np.tanh(c_new), c_new


def lstm_coupled(f, g, o, h, c):
    """c = f c + (1 - f) g: input and forget gate coupled, CIFG (Greff et al. 2017)."""
    c = sigmoid(f) * c + (1.0 - sigmoid(f)) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm_complement(i, f, g, o, h, c):
    """c = (1 - f) c + i g: f says what to forget; an LSTM with the weights of f negated."""
    c = (1.0 - sigmoid(f)) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm_recurrent_dropout(i, f, g, o, masked_h, h, c, mask):
    """R multiplies m h instead of h, with one m for all steps (Gal & Ghahramani 2016, tied weights)."""
    h, c = lstm(i, f, g, o, h, c)
    return mask * h, h, c, mask


def lstm_activations(activation: str, recurrent_activation: str) -> Cell:
    """Keras's LSTM: ``recurrent_activation`` on i, f, o; ``activation`` on candidate and output."""
    act, gate = FUNCTIONS[activation], FUNCTIONS[recurrent_activation]

    def step(i, f, g, o, h, c):
        c = gate(f) * c + gate(i) * act(g)
        return gate(o) * act(c), c

    step.__name__ = f"lstm_{activation}_{recurrent_activation}"
    return make_cell(step, "i f g o", "h c")


CELLS: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        make_cell(rnn_tanh, "a", "h"),
        make_cell(rnn_relu, "a", "h"),
        make_cell(gru, "r z n", "h", split="n"),
        make_cell(gru_reset_before, "r z n", "h", second="n"),
        make_cell(lstm, "i f g o", "h c"),
        make_cell(lstm_peephole, "i f g o", "h c", vectors="p_i p_f p_o"),
        make_cell(lstm_coupled, "f g o", "h c"),
        make_cell(lstm_complement, "i f g o", "h c"),
        make_cell(lstm_recurrent_dropout, "i f g o", "masked_h h c mask", output="h", ones="mask"),
        lstm_activations("relu", "hard_sigmoid"),
    )
}

# --- parameters ----------------------------------------------------------------------------------


def parameter_shapes(
    cell: Cell,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    bidirectional: bool = False,
    bias: bool = True,
) -> dict[str, tuple[int, ...]]:
    """Each parameter's shape, under torch's name and in torch's order; vectors after the biases."""
    G, H, D = len(cell.gates), hidden_size, 1 + bidirectional
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(num_layers):
        for suffix in _suffixes(layer, bidirectional):
            shapes["weight_ih" + suffix] = (G * H, D * H if layer else input_size)
            shapes["weight_hh" + suffix] = (G * H, H)
            if bias:
                shapes["bias_ih" + suffix] = shapes["bias_hh" + suffix] = (G * H,)
            shapes |= {vector + suffix: (H,) for vector in cell.vectors}
    return shapes


def random_parameters(
    cell: Cell,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    bidirectional: bool,
    rng: np.random.Generator,
    bias: bool = True,
) -> Parameters:
    """Every parameter from U(-1/sqrt(H), 1/sqrt(H)), as torch starts them."""
    bound = 1.0 / math.sqrt(hidden_size)
    shapes = parameter_shapes(cell, input_size, hidden_size, num_layers, bidirectional, bias)
    return {name: rng.uniform(-bound, bound, shape) for name, shape in shapes.items()}


def _suffixes(layer: int, bidirectional: bool) -> list[str]:
    return [f"_l{layer}", f"_l{layer}_reverse"][: 1 + bidirectional]


# --- networks ------------------------------------------------------------------------------------


def forward(
    cell: Cell,
    params: Parameters,
    x: Array,
    states: Sequence[Array] | None = None,
    lengths: Sequence[int] | None = None,
    num_layers: int = 1,
    bidirectional: bool = False,
    bias: bool = True,
) -> tuple[Array, States]:
    """Outputs (T, B, D H) and, for each state of the cell, its final values (L D, B, H).

    Row b has ``lengths[b]`` steps: 0 to T, in any order. Behind them y is zero and the state stands
    still, and the reverse direction starts at the last of them, as in torch's PackedSequence.
    """
    y = np.asarray(x, dtype=np.float64)
    T, B, _ = y.shape
    if states is None:
        states = _initial_states(cell, params, B, num_layers, bidirectional)
    steps = np.full(B, T) if lengths is None else np.asarray(lengths)
    finals: list[list[Array]] = []  # layer by layer, in each the forward direction first
    for layer in range(num_layers):
        outputs = []
        for suffix in _suffixes(layer, bidirectional):
            initial = [np.asarray(state[len(finals)], dtype=np.float64) for state in states]
            output, final = _one_direction(cell, params, suffix, y, initial, steps, bias)
            outputs.append(output)
            finals.append(final)
        y = np.concatenate(outputs, axis=-1)
    return y, tuple(np.stack(state) for state in zip(*finals, strict=True))


def _initial_states(cell, params, batch_size, num_layers, bidirectional) -> States:
    shape = (num_layers * (1 + bidirectional), batch_size, params["weight_hh_l0"].shape[1])
    return tuple(np.full(shape, float(state in cell.ones)) for state in cell.states)


def _one_direction(cell, params, suffix, x, states, steps, bias):
    """One layer in one direction: the loop over time."""
    W, R = params["weight_ih" + suffix], params["weight_hh" + suffix]
    b_ih, b_hh = (params["bias_ih" + suffix], params["bias_hh" + suffix]) if bias else (0.0, 0.0)
    vectors = [params[vector + suffix] for vector in cell.vectors]
    G, T = len(cell.gates), len(x)
    y = np.zeros((*x.shape[:2], R.shape[1]))
    for t in reversed(range(T)) if suffix.endswith("_reverse") else range(T):
        from_input = np.split(x[t] @ W.T + b_ih, G, axis=-1)
        from_state = np.split(states[0] @ R.T + b_hh, G, axis=-1)
        gates: list = []
        for k, (gate, a, b) in enumerate(zip(cell.gates, from_input, from_state, strict=True)):
            if gate in cell.second:
                gates.append(lambda v, k=k, a=a: a + np.split(v @ R.T + b_hh, G, axis=-1)[k])
            else:
                gates += [a, b] if gate in cell.split else [a + b]
        stepped = cell.step(*gates, *states, *vectors)
        inside = (t < steps)[:, None]
        states = [np.where(inside, new, old) for new, old in zip(stepped, states, strict=True)]
        y[t] = np.where(inside, states[cell.states.index(cell.output)], 0.0)
    return y, states


def loss_gradients(
    cell: Cell,
    params: Parameters,
    x: Array,
    dy: Array,
    dstates: Sequence[Array] | None = None,
    states: Sequence[Array] | None = None,
    lengths: Sequence[int] | None = None,
    num_layers: int = 1,
    bidirectional: bool = False,
    bias: bool = True,
    *,
    samples: int | None = None,
    delta: float = 1e-5,
) -> dict[str, Array | States]:
    """Gradients of sum(y dy) + sum(final states dstates) by central differences.

    Keys are the parameters' names, "x" and "state" (a tuple, for the initial states). An entry
    costs two forward passes, so ``samples`` limits how many of each array are computed, drawn
    with a fixed seed; the others are NaN. Errors are around 1e-10: delta**2 / 6 times the third
    derivative, and rounding, 1e-16 / delta. On a kink, such as relu at a c that starts as zero, the
    result is the mean of both slopes: give such a cell initial states.
    """
    if states is None:
        states = _initial_states(cell, params, x.shape[1], num_layers, bidirectional)
    params = {name: np.array(value, dtype=np.float64) for name, value in params.items()}
    x, states = np.array(x, dtype=np.float64), [np.array(s, dtype=np.float64) for s in states]
    cotangents = [dy, *(np.zeros_like(states) if dstates is None else dstates)]
    rng = np.random.default_rng(0)

    def results_at(variable, k, value) -> list[Array]:
        variable.flat[k] = value
        y, finals = forward(cell, params, x, states, lengths, num_layers, bidirectional, bias)
        return [y, *finals]

    def gradient(variable: Array) -> Array:
        out = np.full(variable.shape, np.nan)
        count = variable.size if samples is None else min(samples, variable.size)
        for k in rng.choice(variable.size, count, replace=False):
            value = variable.flat[k]
            above = results_at(variable, k, value + delta)
            below = results_at(variable, k, value - delta)
            variable.flat[k] = value
            # Subtracted before they are summed: the loss is large beside its change.
            rise = sum(np.sum((a - b) * d) for a, b, d in zip(above, below, cotangents, strict=True))
            out.flat[k] = rise / (2.0 * delta)
        return out

    gradients: dict[str, Array | States] = {name: gradient(p) for name, p in params.items()}
    return gradients | {"x": gradient(x), "state": tuple(gradient(state) for state in states)}
