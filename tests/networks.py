"""A network of nblstm and the oracle's, on the same numbers: what the tests of cells and shapes have in common."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import reference
from tolerances import DIFFERENCES, OUTPUT, assert_close

from nblstm import cell, cells, nn
from nblstm.symbolic import functions

#: Each cell of nblstm beside the oracle's.
CELLS = {name: (getattr(cells, name, None), oracle) for name, oracle in reference.CELLS.items()}
CELLS["lstm_relu_hard_sigmoid"] = cells.lstm_with("relu", "hard_sigmoid"), CELLS["lstm_relu_hard_sigmoid"][1]

CELLS["lstm_recurrent_dropout"] = cells.recurrent_dropout(cells.lstm), CELLS["lstm_recurrent_dropout"][1]


@cell(gates="a b", states="h", vectors="p")
def waves(a, b, h, p):
    """Functions of which no cell of nblstm's is made."""
    level, base = functions.round(4 * a) / 4, 0.5 + functions.exp2(-b * b)
    kept = functions.stop_gradient(h * functions.sigmoid(b)) * functions.sign(b)
    return functions.sin(a) * functions.cos(b + h) + 0.25 * functions.erf(level) + kept + base**p * functions.log2(base)


@dataclass(frozen=True)
class Case:
    """One network and one batch; ``states`` false: they start at zero. ``scale`` multiplies the parameters."""

    T: int
    B: int
    I: int
    H: int
    num_layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    states: bool = True
    lengths: tuple[int, ...] | None = None
    scale: float = 1.0

    @property
    def options(self) -> dict:
        """What the oracle takes beside the arrays."""
        return dict(lengths=self.lengths, num_layers=self.num_layers, bidirectional=self.bidirectional, bias=self.bias)


@dataclass(frozen=True, eq=False)
class Problem:
    """The arrays of a case: float64, but of values that float32 has too, so both dtypes get the same numbers."""

    params: dict[str, np.ndarray]
    x: np.ndarray
    states: tuple[np.ndarray, ...] | None
    dy: np.ndarray
    dstates: tuple[np.ndarray, ...]


def rounded(array: np.ndarray) -> np.ndarray:
    """The nearest numbers that float32 has."""
    return array.astype(np.float32).astype(np.float64)


@lru_cache(maxsize=256)
def problem(oracle: reference.Cell, case: Case) -> Problem:
    """Random arrays for a cell and a case, always the same."""
    rng = np.random.default_rng(zlib.crc32(f"{oracle.name} {case}".encode()))
    D = 1 + case.bidirectional
    params = reference.random_parameters(oracle, case.I, case.H, case.num_layers, case.bidirectional, rng, case.bias)
    shape = (len(oracle.states), case.num_layers * D, case.B, case.H)
    states = tuple(rounded(rng.normal(0, 0.5, shape))) if case.states else None
    return Problem(
        {name: rounded(case.scale * value) for name, value in params.items()},
        rounded(rng.normal(size=(case.T, case.B, case.I))),
        states,
        rounded(rng.normal(size=(case.T, case.B, D * case.H))),
        tuple(rounded(rng.normal(size=shape))),
    )


def network(cell, oracle: reference.Cell, case: Case, dtype: str) -> nn.Recurrent:
    """The network of a case with the parameters of its problem."""
    made = nn.Recurrent(cell, case.I, case.H, case.num_layers, case.bias, bidirectional=case.bidirectional, dtype=dtype)
    made.load_state_dict(problem(oracle, case).params)
    return made


@lru_cache(maxsize=256)
def expected_outputs(oracle: reference.Cell, case: Case):
    """Outputs and final states by the oracle."""
    p = problem(oracle, case)
    return reference.forward(oracle, p.params, p.x, p.states, **case.options)


@lru_cache(maxsize=256)
def expected_gradients(oracle: reference.Cell, case: Case, samples: int):
    """Gradients by central differences through the oracle, NaN where not sampled."""
    p = problem(oracle, case)
    return reference.loss_gradients(oracle, p.params, p.x, p.dy, p.dstates, p.states, samples=samples, **case.options)


def check_outputs(cell, oracle: reference.Cell, case: Case, dtype: str) -> None:
    """Compare inference and the training pass with the oracle."""
    p, net = problem(oracle, case), network(cell, oracle, case, dtype)
    y, finals = net(p.x, p.states, case.lengths)
    trained_y, trained_finals, _ = net.forward(p.x, p.states, case.lengths)
    expected_y, expected_finals = expected_outputs(oracle, case)
    for outputs, states in ((y, finals), (trained_y, trained_finals)):
        assert outputs.dtype == dtype
        assert_close(outputs, expected_y, OUTPUT[dtype])
        assert len(states) == len(expected_finals)
        for state, expected in zip(states, expected_finals, strict=True):
            assert state.dtype == dtype
            assert_close(state, expected, OUTPUT[dtype])


def check_gradients(cell, oracle: reference.Cell, case: Case, dtype: str, samples: int = 8) -> None:
    """Compare all gradients with central differences through the oracle."""
    p, net = problem(oracle, case), network(cell, oracle, case, dtype)
    y, _, tape = net.forward(p.x, p.states, case.lengths)
    assert_close(y, expected_outputs(oracle, case)[0], OUTPUT[dtype])
    gradients = net.backward(tape, p.dy, p.dstates)
    expected = expected_gradients(oracle, case, samples)
    assert gradients.params.keys() == p.params.keys()
    for name, gradient in gradients.params.items():
        assert gradient.dtype == dtype
        assert_close(gradient, expected[name], DIFFERENCES[dtype])
    assert_close(gradients.x, expected["x"], DIFFERENCES[dtype])
    for state, state_expected in zip(gradients.state, expected["state"], strict=True):
        assert_close(state, state_expected, DIFFERENCES[dtype])
