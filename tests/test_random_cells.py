"""Random cells over the whole language: outputs, states and every gradient against torch's autograd.

``NBLSTM_RANDOM_CELLS=1000`` runs so many; ``NBLSTM_RANDOM_CELLS=17:18`` those of the seeds from 17 on, before 18.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pytest
from random_cells import random_cell
from tolerances import GRADIENT

import nblstm
from nblstm import nn
from nblstm.cpu import thresholds

torch = pytest.importorskip("torch")

import torch_cells  # noqa: E402  it imports torch

first, _, last = os.environ.get("NBLSTM_RANDOM_CELLS", "10").rpartition(":")
SEEDS = range(int(first or 0), int(last))

#: So small that work of any size is cut: by units from B < 8 on, and time into many segments.
CUT = {
    "SERIAL_WORK": 0, "SERIAL_WORK_FEW_ROWS": 0, "SERIAL_WORK_GRADIENTS": 0, "SERIAL_COPY": 0, "SERIAL_PACKING": 0,
    "SHARED_STEP_WORK": 0, "ROWS_AHEAD": 8, "PREACTIVATIONS_AHEAD": 64, "BPTT_SEGMENT_ROWS": 8,
    "INPUT_GRADIENT_ROWS": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One network of a cell and one batch."""

    T: int
    B: int
    I: int
    H: int
    num_layers: int
    bidirectional: bool
    bias: bool
    lengths: tuple[int, ...] | None
    states: bool
    of_units: tuple[bool, ...]  # for each signal whether it has a number for each unit
    seed: int


#: Cells that have once been wrong, the smallest of each kind.
FOUND = {
    "a stage that only saves": """
@cell(gates="a d", states="h", called="d")
def random_18(a, d, h):
    unused = d(a)
    return h
""",
    "a sum of what the input gives to other threads' units": """
@cell(gates="a", states="h", split="a")
def random_85(a_x, a_h, h):
    return 0.5 * h + tanh(sum(a_x) + a_h)
""",
    "a sum without a gradient": """
@cell(gates="a", states="h")
def random_91(a, h):
    return tanh(a) * stop_gradient(tanh(sum(exp(tanh(a)))))
""",
}


def cases(declared, divisor: int, seed: int) -> dict[str, Case]:
    """Networks for a cell: a small one, and two whose steps are cut by units and by rows."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, B, units in (("small", (1, 6), (1, 12)), ("units", (1, 4), (33, 41)), ("rows", (9, 14), (3, 20))):
        T, B, layers, bidirectional = *(int(rng.integers(*r)) for r in ((1, 8), B, (1, 3))), bool(rng.random() < 0.4)
        H = divisor * -(-int(rng.integers(*units)) // divisor)
        if declared.x and bidirectional:
            layers = 1
        lengths = tuple(map(int, rng.integers(0, T + 1, B))) if rng.random() < 0.6 else None
        I, bias = H if declared.x else int(rng.integers(1, 10)), rng.random() < 0.85
        found[name] = Case(
            T, B, I, H, layers, bidirectional, bias, lengths,
            # Without biases and states a gate may be 0 exactly, where torch halves the gradient of a maximum of equals.
            rng.random() < 0.5 or not bias, tuple(rng.random(len(declared.signals)) < 0.5), seed,
        )  # fmt: skip
    return found


def arrays(network, declared, case: Case) -> dict:
    """Random numbers for a network: parameters, x, states, signals, and gradients of the results."""
    rng, bound = np.random.default_rng(case.seed), case.H**-0.5
    D, shape = 1 + case.bidirectional, (case.T, case.B)
    states = [(case.num_layers * D, case.B, case.H)] * len(declared.states)
    params = {name: rng.uniform(-bound, bound, v.shape) for name, v in network.state_dict().items()}
    params |= {n: rng.uniform(-1, 1, v.shape) for n, v in params.items() if not n.startswith(("weight", "bias"))}
    sizes = [shape + (case.H,) * int(of_units) for of_units in case.of_units]
    return {
        "params": params, "x": rng.normal(size=(*shape, case.I)),
        "states": [rng.normal(size=s) for s in states] if case.states else None,
        "signals": {n: rng.uniform(-1, 1, s) for n, s in zip(declared.signals, sizes, strict=True)},
        "dy": rng.normal(size=(*shape, D * case.H)), "d_states": [rng.normal(size=s) for s in states],
    }  # fmt: skip


def computed(network, declared, case: Case, given: dict) -> dict[str, np.ndarray]:
    """What nblstm computes, which has the same bits in any call, for any number of threads and with checkpoints."""
    options, runs = {"lengths": case.lengths} | ({"signals": given["signals"]} if declared.signals else {}), []
    for threads, checkpoint in ((2, None),) * 5 + ((1, None), (3, 2)):
        nblstm.set_num_threads(threads)
        y, states = network(given["x"], given["states"], **options)
        runs.append({"y": y} | {f"final {name}": v for name, v in zip(declared.states, states, strict=True)})
        trained, ends, tape = network.forward(given["x"], given["states"], checkpoint=checkpoint, **options)
        runs[-1] |= {"y in training": trained}
        runs[-1] |= {f"final {name} in training": v for name, v in zip(declared.states, ends, strict=True)}
        gradients = network.backward(tape, given["dy"], tuple(given["d_states"]))
        runs[-1] |= {f"d {name}": v for name, v in gradients.params.items()} | {"d x": gradients.x}
        runs[-1] |= {f"d initial {name}": v for name, v in zip(declared.states, gradients.state, strict=True)}
        runs[-1] |= {f"d signal {name}": gradients.signals[name] for name in declared.signals}
        for name, value in runs[-1].items():
            np.testing.assert_array_equal(value, runs[0][name], err_msg=f"{name}, call {len(runs)}")
    nblstm.set_num_threads(2)
    return runs[0]


def with_noise(make, declared, case: Case, given: dict, differentiable: bool) -> dict[str, np.ndarray]:
    """What nblstm computes in inference; in training, the derivative in a direction against a central difference.

    Networks of the same seed draw the same noise in their first call, for any number of threads. Where equations are
    not ``differentiable``, as their gradients are not those of what they compute, there is no comparison.
    """
    rng = np.random.default_rng(case.seed)
    arrays = {"x": given["x"], **given["params"], **given["signals"]}
    direction = {name: rng.normal(size=array.shape) for name, array in arrays.items()}

    def forward(delta: float):
        network = make()
        moved = {name: array + delta * direction[name] for name, array in arrays.items()}
        network.load_state_dict({name: moved[name] for name in given["params"]})
        options = {"signals": {name: moved[name] for name in declared.signals}} if declared.signals else {}
        return network, network.forward(moved["x"], given["states"], case.lengths, **options)

    tapes = []
    for threads in (1, 2, 3):
        nblstm.set_num_threads(threads)
        network, (y, ends, tape) = forward(0)
        gradients = network.backward(tape, given["dy"], tuple(given["d_states"]))
        tapes.append([y, *ends, gradients.flat, gradients.x, *gradients.state, *gradients.signals.values()])
        for ours, others in zip(tapes[-1], tapes[0], strict=True):
            np.testing.assert_array_equal(ours, others, err_msg=f"{threads} threads")
    nblstm.set_num_threads(2)
    derived = {"x": gradients.x, **gradients.params, **gradients.signals}
    slopes = [np.sum(derived[name] * direction[name]) for name in arrays]
    scale, errors = max(map(abs, slopes), default=0.0) + 1e-3, []
    for delta in (1e-6, 1e-7) if differentiable else ():  # a jump may lie within one of them
        (above, above_ends, _), (below, below_ends, _) = forward(delta)[1], forward(-delta)[1]
        rise = np.sum((above - below) * given["dy"])
        rise += sum(np.sum((a - b) * d) for a, b, d in zip(above_ends, below_ends, given["d_states"], strict=True))
        errors.append(abs(rise / (2 * delta) - sum(slopes)))
    assert min(errors, default=0.0) <= 1e-6 * scale, f"the slope is off by {errors} of {scale:.1e}"

    options = {"signals": given["signals"]} if declared.signals else {}
    y, states = network(given["x"], given["states"], case.lengths, **options)
    return {"y": y} | {f"final {name}": v for name, v in zip(declared.states, states, strict=True)}


def expected(declared, case: Case, given: dict) -> dict[str, np.ndarray]:
    """What torch computes, under the same names."""

    def leaf(array):
        return torch.tensor(array, dtype=torch.float64, requires_grad=True)

    params, signals = ({n: leaf(v) for n, v in given[group].items()} for group in ("params", "signals"))
    x, shape = leaf(given["x"]), (case.num_layers * (1 + case.bidirectional), case.B, case.H)
    states = [np.full(shape, declared.initial.get(name, 0.0)) for name in declared.states]
    states = [leaf(state) for state in given["states"] or states]
    lengths = [case.T] * case.B if case.lengths is None else case.lengths
    y, finals = torch_cells.forward(declared, params, x, states, signals, lengths, case.num_layers, case.bidirectional)
    results = {"y": y} | {f"final {name}": v for name, v in zip(declared.states, finals, strict=True)}
    leaves = {f"d {name}": v for name, v in params.items()} | {"d x": x}
    leaves |= {f"d initial {name}": v for name, v in zip(declared.states, states, strict=True)}
    leaves |= {f"d signal {name}": v for name, v in signals.items()}
    outputs, d_outputs = [y, *finals], [torch.tensor(given["dy"]), *map(torch.tensor, given["d_states"])]
    moving = [(v, d) for v, d in zip(outputs, d_outputs, strict=True) if v.requires_grad]
    outputs, d_outputs = zip(*moving, strict=True)
    found = torch.autograd.grad(outputs, [*leaves.values()], d_outputs, allow_unused=True)
    for (name, variable), d in zip(leaves.items(), found, strict=True):
        results[name] = torch.zeros_like(variable) if d is None else d
    return {name: value.detach().numpy() for name, value in results.items()}


def differing(ours: dict, theirs: dict) -> list[str]:
    """What is off by more than is allowed, relative to the largest of an array, or of all gradients over 1,000.

    Gradients that are all below 1e-6 may be 0, as those of the mean of a softmax, and are off by rounding alone.
    """
    gradients = [1e-3] + [np.abs(v).max(initial=0) for name, v in theirs.items() if name.startswith("d ")]
    wrong = []
    for name, ours_ in ours.items():
        true = theirs[name.removesuffix(" in training")]
        if ours_.shape != true.shape:
            wrong.append(f"{name}: shape {ours_.shape}, not {true.shape}")
            continue
        scale = max(np.abs(true).max(initial=0), 1e-3 * max(gradients) if name.startswith("d ") else 0.0)
        error = np.abs(ours_ - true).max(initial=0)
        if not error <= GRADIENT["float64"] * scale:
            wrong.append(f"{name}: off by {error:.1e} of {scale:.1e}")
    return wrong


def report(source: str, noise: bool, monkeypatch, seed: int) -> list[str]:
    """Everything in which networks of a cell differ from torch's."""
    names = {name: getattr(nblstm, name) for name in torch_cells.NAMESPACE if hasattr(nblstm, name)}
    made, declared = (run(source, namespace) for namespace in (names, torch_cells.NAMESPACE))
    divisor = next((n for n in (2, 3) if f"heads({n})" in source), 3 if "low_rank(2)" in source else 1)
    problems = []
    for name, case in cases(declared, divisor, seed).items():
        with monkeypatch.context() as patch:
            for threshold, value in CUT.items() if name != "small" else ():
                patch.setattr(thresholds, threshold, value)

            def make(case=case):
                options = {"bidirectional": case.bidirectional, "dtype": "float64", "seed": case.seed}
                return nn.Recurrent(made, case.I, case.H, case.num_layers, case.bias, **options)

            network = make()
            given = arrays(network, declared, case)
            network.load_state_dict(given["params"])
            smooth = "round(" not in source and "stop_gradient(" not in source
            ours = (
                with_noise(make, declared, case, given, smooth) if noise else computed(network, declared, case, given)
            )
        wrong = differing(ours, expected(declared, case, given))
        problems += [f"{case}:", *(f"    {line}" for line in wrong)] if wrong else []
    return problems


def run(source: str, names: dict):
    """The one thing that a source defines."""
    namespace = dict(names)
    exec(compile(source, "<random cell>", "exec"), namespace)
    return next(value for name, value in namespace.items() if name.startswith("random_"))


@pytest.fixture(autouse=True)
def two_threads():
    before = nblstm.num_threads()
    nblstm.set_num_threads(2)
    yield
    nblstm.set_num_threads(before)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_cell(seed, monkeypatch):
    noise = seed % 8 == 7
    source = random_cell(seed, noise)
    problems = report(source, noise, monkeypatch, seed)
    assert not problems, "\n".join([f"\n{source}", *problems])


@pytest.mark.parametrize("name", FOUND)
def test_a_cell_that_was_wrong(name, monkeypatch):
    assert not report(FOUND[name], False, monkeypatch, 3)


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 1)])
def test_a_signal_of_one_unit(shape):
    @nblstm.cell(gates="a", states="h", signals="dt")
    def timed(a, h, dt):
        return nblstm.tanh(a) * dt + 0.5 * h

    network = nn.Recurrent(timed, 2, 1, dtype="float64")
    signals = {"dt": np.ones(shape)}
    y, _, tape = network.forward(np.ones((3, 2, 2)), signals=signals)
    assert network.backward(tape, y).signals["dt"].shape == shape
