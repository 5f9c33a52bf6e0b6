"""Cells on their way to other processes: those of a module by name, all others by what they compute."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from networks import CELLS, waves
from processes import environment, run_python

from nblstm import (
    CellError,
    Sequential,
    abs,
    cell,
    cells,
    exp,
    layers,
    maximum,
    minimum,
    nn,
    sigmoid,
    sqrt,
    tanh,
    where,
)
from nblstm.activations import ActivationFunction
from nblstm.cells import pickling
from nblstm.cells.cell import Cell
from nblstm.cells.pickling import _by_value, _value, equations_text
from nblstm.symbolic import as_text

X = np.random.default_rng(0).normal(size=(4, 2, 3)).astype("f4")


def damped(factor):
    @cell(gates="a", states="h")
    def damped_cell(a, h):
        return factor * tanh(a)

    return damped_cell


def everything(offset):
    @cell(gates="a b n", states="h c", vectors="p", called="n", output="c", initial={"c": 0.5})
    def made(a, b, n, h, c, p):
        """A cell with all that a cell can have."""
        gate = where(a > b, sigmoid(a) * p, minimum(b, maximum(h, -0.75)) / (1 + abs(h)))
        new = tanh(n(gate * h - offset)) + (a <= 0.25) * exp(-(c**2)) - sqrt(b * b + 1)
        return new, -((new - h) ** 3) * gate

    return made


#: Cells that no module holds.
HOMELESS = {
    "factory": damped(0.5),
    "lambda": cell(gates="a", states="h")(lambda a, h: a - 0.0 * h + 0.1),
    "everything": everything(1e-30),
    "activation": cells.lstm_with(lambda x: tanh(x) * 0.5),
    "dropout": cells.recurrent_dropout(everything(0.0)),
    "waves": cell(gates="a b", states="h", vectors="p")(waves.equations),
    "constant": cell(gates="a", states="h c")(lambda a, h, c: (c, 0.25)),
    "gate_unused": cell(gates="a b", states="h", called="b")(lambda a, b, h: a + 0 * b(h)),
}


@pytest.mark.parametrize("name", HOMELESS)
def test_a_copy_in_this_process_is_the_cell(name):
    made = HOMELESS[name]
    assert copy.deepcopy(made) is made
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(made, protocol)) is made


@pytest.mark.parametrize("name", [*HOMELESS, *CELLS])
def test_equations_as_text(name):
    """What another process makes of a cell is the same source, and the same numbers."""
    made = HOMELESS.get(name) or CELLS[name][0]
    elsewhere = "nowhere", "made"
    as_text.known.clear()
    again = _by_value(Cell, *_value(made), elsewhere, made.__doc__)
    assert again is not made
    assert again.source(dtype="float64") == made.source(dtype="float64")
    assert equations_text(again) == equations_text(made)
    rng = np.random.default_rng(0)
    numbers = dict(zip(made.arguments, rng.normal(size=len(made.arguments)).tolist(), strict=True))
    numbers |= {gate: (lambda operand, at=numbers[gate]: at + 0.5 * operand) for gate in made.functions}
    ours, theirs = again(*numbers.values()), made(*numbers.values())
    np.testing.assert_allclose(ours, np.ravel(theirs), rtol=1e-13)


def test_a_service_that_gets_new_cells_keeps_the_last_ones(monkeypatch):
    monkeypatch.setattr(as_text, "KNOWN", 3)
    made = [damped(1 + k / 8) for k in range(9)]
    pickles = list(map(pickle.dumps, made))
    assert len(as_text.known) == 3
    assert all(pickle.loads(pickles[k]) is made[k] for k in (6, 7, 8, 6))
    first = pickle.loads(pickles[0])  # made again
    assert first is not made[0]
    assert first(0.7, 0.1) == made[0](0.7, 0.1)
    assert pickle.loads(pickles[6]) is made[6]  # met after 7
    assert pickle.loads(pickles[7]) is not made[7]
    assert len(as_text.known) == 3


CUBE = ActivationFunction("cube", scalar=lambda x: where(x > 0, x**3, sigmoid(0.25 * x) - 0.5))


@pytest.mark.parametrize("make", [
    lambda: layers.Dense(3, CUBE), lambda: layers.LSTM(3, CUBE), lambda: layers.GRU(3, recurrent_activation=CUBE),
    lambda: layers.SimpleRNN(3, CUBE),
])  # fmt: skip
def test_an_activation_of_a_lambda(make):
    """In this process a copy is the activation itself, in another one the numbers are the same."""
    assert pickle.loads(pickle.dumps(CUBE)) is copy.deepcopy(CUBE) is CUBE
    model = Sequential([layers.Input((2, 3)), make()], seed=0)
    expected = model.predict(X, verbose=0)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.layers[0].get_config() == model.layers[0].get_config()
        assert other.predict(X, verbose=0).tobytes() == expected.tobytes()
    sent = pickle.dumps(model).hex()
    assert bytes.fromhex(run_python(PREDICT, sent, X.tobytes().hex())) == expected.tobytes()


def test_an_activation_of_formulas_has_its_equation_too():
    made = ActivationFunction("own", np.sin, np.cos, "input", scalar=lambda x: x / (1 + abs(x)))
    again = pickle.loads(pickle.dumps(made))
    assert (again.name, again._given) == (made.name, made._given)
    assert cells.rnn_with(again)(3.0, 0.0) == cells.rnn_with(made)(3.0, 0.0) == 0.75


def test_signs_of_zeros_are_kept():
    def floor(zero):
        @cell(gates="a", states="h")
        def floored(a, h):
            return maximum(a, zero)

        return floored

    plus, minus = floor(0.0), floor(-0.0)
    sent = pickle.dumps(plus), pickle.dumps(minus)
    assert pickle.loads(sent[0]) is plus
    assert pickle.loads(sent[1]) is minus


RECEIVE = """
import pickle, sys
import numpy as np
net = pickle.loads(bytes.fromhex(sys.argv[1]))
x = np.frombuffer(bytes.fromhex(sys.argv[2]), "f4").reshape(4, 2, 3)
y, _, tape = net.forward(x)
again = pickle.loads(pickle.dumps(net))
assert again.cell is net.cell
print(net.cell.__doc__, y.tobytes().hex(), net.backward(tape, np.ones_like(y)).flat.tobytes().hex(), sep="|")
"""


@pytest.mark.parametrize("name", ["everything", "dropout"])
def test_a_network_in_another_process(name):
    net = nn.Recurrent(HOMELESS[name], 3, 5, seed=0)
    y, _, tape = net.forward(X)
    doc, *received = run_python(RECEIVE, pickle.dumps(net).hex(), X.tobytes().hex()).strip().split("|")
    assert doc == "A cell with all that a cell can have."
    expected = y, net.backward(tape, np.ones_like(y)).flat
    assert [bytes.fromhex(text) for text in received] == [array.tobytes() for array in expected]


PREDICT = """
import pickle, sys
import numpy as np
model = pickle.loads(bytes.fromhex(sys.argv[1]))
print(model.predict(np.frombuffer(bytes.fromhex(sys.argv[2]), "f4").reshape(4, 2, 3), verbose=0).tobytes().hex())
"""
MODULE = """
from nblstm import cell, tanh

@cell(gates="a", states="h")
def slow(a, h):
    return 0.9 * h + 0.1 * tanh(a)
"""
BY_NAME = "import pickle, sys, mine\nassert pickle.loads(bytes.fromhex(sys.argv[1])) is mine.slow"
WITHOUT = "import pickle, sys\ntry: pickle.loads(bytes.fromhex(sys.argv[1]))\nexcept Exception as e: print(repr(e))"


def test_of_a_module_by_its_name(tmp_path):
    (tmp_path / "mine.py").write_text(MODULE)
    sent = run_python("import pickle, mine; print(pickle.dumps(mine.slow).hex())", PYTHONPATH=paths(tmp_path)).strip()
    run_python(BY_NAME, sent, PYTHONPATH=paths(tmp_path))
    assert run_python(WITHOUT, sent).startswith("ModuleNotFoundError(\"No module named 'mine'\"")
    (tmp_path / "mine.py").write_text("slow = 3")
    said = run_python(WITHOUT, sent, PYTHONPATH=paths(tmp_path))
    assert said.startswith("TypeError('mine.slow is 3 here, but was a cell where it was pickled")
    (tmp_path / "mine.py").write_text("")
    assert run_python(WITHOUT, sent, PYTHONPATH=paths(tmp_path)).startswith("AttributeError")


def paths(folder):
    return f"{environment()['PYTHONPATH']}:{folder}"


def test_by_name_means_a_cell():
    with pytest.raises(TypeError, match=r"is <function tanh .* here, but was a cell"):
        pickling._by_name(type(cells.lstm), "nblstm", "tanh")


SCRIPT = """
import numpy as np
from nblstm import cell, nn, tanh
from nblstm.layers import RNN, register_cell

factor = 0.75

@register_cell
@cell(gates="a", states="h")
def mine(a, h):
    return factor * tanh(a) + 0.25 * h

def outputs(net):
    return net(np.ones((3, 2, 4), "f4"))[0]

def layer_name(layer):
    return layer.get_config()["cell"]

if __name__ == "__main__":
    net = nn.Recurrent(mine, 4, 3, seed=0)
    expected = outputs(net)
"""
WORKERS = {
    "loky": """
    from loky import get_reusable_executor
    with get_reusable_executor(max_workers=1) as pool:
        assert np.array_equal(pool.submit(outputs, net).result(), expected)
    print("done")
""",
    "multiprocessing": """
    import multiprocessing
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert np.array_equal(pool.map(outputs, [net])[0], expected)
        assert pool.map(layer_name, [RNN(mine, 3)]) == ["mine"]
    print("done")
""",
    "dask": """
    import dask
    import dask.multiprocessing
    task = dask.delayed(outputs)(net)
    assert np.array_equal(task.compute(scheduler="processes", num_workers=1), expected)
    print("done")
""",
}


@pytest.mark.parametrize("workers", WORKERS)
def test_a_cell_of_a_script_in_its_workers(workers, tmp_path):
    pytest.importorskip(workers, reason=f"{workers} is not installed")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + WORKERS[workers])
    done = subprocess.run([sys.executable, script], env=environment(), text=True, capture_output=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_what_cannot_be_traced_is_said_where_it_is_sent():
    with pytest.raises(CellError, match="decides with `if`"):
        pickle.dumps(cell(gates="a", states="h")(lambda a, h: a if a > 0 else h))
