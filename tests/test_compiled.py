"""Networks as arguments of functions under `numba.njit`: the network's own bits, and nothing that dangles."""

import copy
import gc
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import networks
import numpy as np
import pytest
import reference
from numba import njit, prange
from numba.core.errors import LoweringError, TypingError
from numba.typed import List
from processes import run_python
from tolerances import OUTPUT, assert_close

import nblstm
from nblstm import nn
from nblstm.numba_extension import network_type

CELLS = [name for name, (cell, _) in networks.CELLS.items() if cell is not None]


def recurrent(cell="lstm", layers=2, dtype="float64", **options):
    return nn.Recurrent(networks.CELLS[cell][0], 3, 19, layers, dtype=dtype, seed=0, **options)


def sequence(B, dtype="float64", T=6):
    return np.random.default_rng(B).normal(size=(T, B, 3)).astype(dtype)


@njit
def rolled(net, x, s, y):
    """All steps of a batch: y[t] = step(x[t])."""
    for t in range(len(x)):
        y[t] = net.step(x[t], s)


@njit
def one_row(net, x, y):
    s = net.zero_state()
    for t in range(len(x)):
        y[t] = net.step(x[t], s)
    return s


def outputs(net, x, s):
    y = np.empty((*x.shape[:2], net.output_size), x.dtype)
    rolled(net, x, s, y)
    return y


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("B", [1, 5])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_steps_have_the_bits_of_the_network(cell, layers, B, dtype):
    network, x = recurrent(cell, layers, dtype), sequence(B, dtype)
    y, states = network(x)
    net = network.compiled(B)
    s = net.zero_state()
    np.testing.assert_array_equal(outputs(net, x, s), y)
    for ours, theirs in zip(net.states(s), states, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    again = net.zero_state()
    for t in range(len(x)):
        np.testing.assert_array_equal(net.step(x[t], again), y[t])
    np.testing.assert_array_equal(again[: net.recurrent_size], s[: net.recurrent_size])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", [name for name in CELLS if name != "lstm_recurrent_dropout"])
def test_steps_have_the_numbers_of_the_equations(cell, dtype):
    case = networks.Case(T=5, B=3, I=4, H=21, num_layers=2, states=True)
    ours, oracle = networks.CELLS[cell]
    arrays = networks.problem(oracle, case)
    net = networks.network(ours, oracle, case, dtype).compiled(3)
    expected, final = reference.forward(oracle, arrays.params, arrays.x, arrays.states, num_layers=2)
    s = net.zero_state()
    net.set_states(s, arrays.states)
    assert_close(outputs(net, arrays.x.astype(dtype), s), expected, OUTPUT[dtype])
    for got, wanted in zip(net.states(s), final, strict=True):
        assert_close(got, wanted, OUTPUT[dtype])


@nblstm.cell(gates="a", states="h m", vectors="p", initial={"h": 0.5, "m": -2.0})
def own(a, h, m, p):
    """Two states that do not begin at 0."""
    m = 0.9 * m + 0.1 * nblstm.tanh(a)
    return nblstm.tanh(a + p * m), m


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"learn_initial_state": True}, {"stateful": True}])
def test_options_of_a_network(options):
    network = nn.Recurrent(own, 3, 19, 2, dtype="float64", seed=0, **options)
    if "learn_initial_state" in options:
        for name, value in network.parameters().items():
            if name.startswith("initial"):
                value[...] = np.random.default_rng(len(name)).normal(size=19)
    x = sequence(2)
    net = network.compiled(2)
    s = net.zero_state()
    for _ in range(2):
        np.testing.assert_array_equal(outputs(net, x, s), network(x)[0])
        net.reset(s)
        if network.stateful:
            network.reset_state()


@pytest.mark.parametrize(("B", "I", "H"), [(1, 1, 1), (1, 65, 257), (40, 65, 257), (3, 700, 16)])
def test_sizes_that_other_partitions_and_sparse_products_are_for(B, I, H):
    network = nn.LSTM(I, H, 1, dtype="float32", seed=0)
    x = np.random.default_rng(0).normal(size=(3, B, I)).astype("float32")
    x[1] *= np.arange(I) == I // 2
    net = network.compiled(B)
    np.testing.assert_array_equal(outputs(net, x, net.zero_state()), network(x)[0])


def test_a_bare_state_is_bare_and_a_view():
    network = nn.GRU(3, 8, 2, seed=0)
    net = network.compiled()
    s = net.zero_state()
    assert net.states(s).shape == (2, 1, 8)
    net.states(s)[1] = 3
    np.testing.assert_array_equal(net.layer_state(s, 1, 0), np.full((1, 8), 3))
    h = np.random.default_rng(0).normal(size=(2, 1, 8)).astype("float32")
    net.set_states(s, h)
    x = np.ones((1, 1, 3), "float32")
    np.testing.assert_array_equal(net.step(x[0], s), network(x, h)[0][0])


def test_sizes_and_layers_in_compiled_code():
    net = recurrent("lstm", 2).compiled(4)

    @njit
    def seen(net, s):
        net.layer_state(s, 1, 0)[2, 3] = 7
        sizes = net.input_size, net.output_size, net.batch_size, net.state_size, net.recurrent_size, net.num_layers
        return sizes, net.layer_state(s, 1, 1)

    s = np.arange(net.state_size, dtype="float64")
    sizes, c = seen(net, s)
    assert sizes == (3, 19, 4, len(s), 2 * 2 * 4 * 19, 2)
    assert sizes == (
        net.input_size, net.output_size, net.batch_size, net.state_size, net.recurrent_size, net.num_layers
    )  # fmt: skip
    assert net.states(s)[0][1, 2, 3] == 7
    np.testing.assert_array_equal(c, net.states(s)[1][1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_in_compiled_code(dtype):
    net = recurrent("lstm", 1, dtype).compiled()

    @njit
    def like(net):
        return np.zeros((2, net.output_size), net.dtype)

    for made in (like(net), like.py_func(net)):
        assert made.dtype == dtype
        assert made.shape == (2, 19)


def test_one_compiled_function_serves_every_network():
    @njit
    def last(net, x):
        s = net.zero_state()
        y = net.step(x[0], s)
        for t in range(1, len(x)):
            y = net.step(x[t], s)
        return y

    x = sequence(1)[:, 0]
    for cell in CELLS:
        for layers in (1, 3):
            network = recurrent(cell, layers)
            np.testing.assert_array_equal(last(network.compiled(), x), network(x)[0][-1])
    assert len(last.signatures) == 1


def test_a_state_is_copied_by_copying_it():
    net = recurrent().compiled()
    x = sequence(1)[:, 0]
    s = net.zero_state()
    net.step(x[0], s)
    many = np.stack([s, s, s])
    expected = net.step(x[1], s).copy()
    for row in many:
        np.testing.assert_array_equal(net.step(x[1], row), expected)


def test_an_output_may_be_the_next_input():
    network = nn.LSTM(8, 8, 2, seed=0)
    net, step = network.compiled(), network.stepper()

    @njit
    def fed_back(net, x, steps):
        s = net.zero_state()
        for _ in range(steps):
            x = net.step(x, s)
        return x

    x = y = np.ones(8, "float32")
    for _ in range(5):
        y = step(y).copy()
    np.testing.assert_array_equal(fed_back(net, x, 5), y)


def test_inputs_of_other_layouts_and_dtypes_are_converted():
    network = nn.LSTM(3, 8, seed=0)
    net = network.compiled()
    x = np.random.default_rng(0).normal(size=(6, 6))
    expected = network(x[:, ::2].astype("float32"))[0]
    fixed = x.astype("float32")
    fixed.flags.writeable = False
    for given in (x[:, ::2], np.asfortranarray(x[:, ::2]), fixed[:, ::2], np.ascontiguousarray(x[:, ::2])):
        y = np.empty((6, 8), "float32")
        one_row(net, given, y)
        np.testing.assert_array_equal(y, expected)
        s = net.zero_state()
        np.testing.assert_array_equal([net.step(row, s).copy() for row in given], expected)
    batched = network.compiled(6)
    s, again = batched.zero_state(), batched.zero_state()
    y = np.empty((1, 6, 8), "float32")
    rolled(batched, np.asfortranarray(x[:, ::2])[None], s, y)
    np.testing.assert_array_equal(y[0], batched.step(x[:, ::2], again))
    np.testing.assert_array_equal(y[0], network(x[None, :, ::2])[0][0])


@njit(parallel=True, nogil=True)
def parallel(net, x, y):
    for k in prange(len(x)):
        s = net.zero_state()
        for t in range(x.shape[1]):
            y[k, t] = net.step(x[k, t], s)


def test_prange_with_a_state_for_each_iteration():
    network = recurrent("lstm", 2, "float32")
    x = np.random.default_rng(0).normal(size=(200, 20, 3)).astype("float32")
    y = np.empty((200, 20, 19), "float32")
    parallel(network.compiled(), x, y)
    np.testing.assert_array_equal(y, [network(row)[0] for row in x])


def test_threads_with_a_state_each():
    network = recurrent("gru", 2)
    net = network.compiled()
    x = np.random.default_rng(0).normal(size=(4, 300, 3))
    y = np.empty((4, 300, 19))

    @njit(nogil=True)
    def run(net, x, y):
        s = net.zero_state()
        for t in range(len(x)):
            y[t] = net.step(x[t], s)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, [net] * 4, x, y))
    np.testing.assert_array_equal(y, [network(row)[0] for row in x])


def test_networks_in_tuples_and_returned():
    nets = (recurrent("lstm", 1).compiled(), recurrent("gru", 2).compiled())

    @njit
    def chosen(nets, k):
        total = 0
        for net in nets:
            total += net.state_size
        return nets[k], total

    for k in (0, 1):
        net, total = chosen(nets, k)
        assert net is nets[k]
        assert total == sum(net.state_size for net in nets)


def test_a_network_is_itself_and_no_other():
    nets = tuple(recurrent(dtype=dtype).compiled() for dtype in ("float32", "float32", "float64"))

    @njit
    def same(a, b):
        return a is b, a is not b

    for a in nets:
        for b in nets:
            assert same(a, b) == same.py_func(a, b)


def test_networks_in_a_typed_list():
    nets = List([recurrent("lstm", 1).compiled(), recurrent("gru", 2).compiled()])

    @njit
    def outputs_of_all(nets, x):
        y = np.empty((len(nets), 19))
        for k in range(len(nets)):
            y[k] = nets[k].step(x, nets[k].zero_state())
        return y

    x = np.ones(3)
    expected = [recurrent("lstm", 1)(x[None])[0][0], recurrent("gru", 2)(x[None])[0][0]]
    np.testing.assert_array_equal(outputs_of_all(nets, x), expected)


def test_nothing_dangles_and_nothing_leaks():
    @njit
    def same(net):
        return net

    net = recurrent().compiled()
    before = re.findall(r"0x\w+", repr(net._block._memory.__array_interface__))
    kept = same(net)
    assert kept is net
    del net
    gc.collect()
    x = sequence(1)[:, 0]
    np.testing.assert_array_equal(kept.step(x[0], kept.zero_state()), recurrent()(x)[0][0])
    assert before == re.findall(r"0x\w+", repr(kept._block._memory.__array_interface__))


def test_memory_does_not_grow():
    resource = pytest.importorskip("resource", reason="asks the system for the process's memory")
    network = nn.LSTM(8, 64, seed=0)  # 74 KB of weights
    x, y = np.ones((1, 8), "float32"), np.empty((1, 64), "float32")

    def some(count):
        for _ in range(count):
            one_row(network.compiled(), x, y)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = some(1000)
    assert some(9000) - before < 8 * 1024  # KB; kept, they would take 700 MB


def test_update_is_seen_by_all():
    network, x = recurrent(), sequence(1)[:, 0]
    net = network.compiled()
    holder, y = (net,), np.empty((6, 19))
    for value in network.parameters().values():
        value *= 0.5
    one_row(holder[0], x, y)
    assert (y != network(x)[0]).any()
    net.update(network)
    one_row(holder[0], x, y)
    np.testing.assert_array_equal(y, network(x)[0])
    unpickled = pickle.loads(pickle.dumps(net))
    one_row(unpickled, x, y)
    np.testing.assert_array_equal(y, network(x)[0])
    for other in (recurrent("gru"), recurrent(layers=1), recurrent(dtype="float32"), recurrent(bias=False)):
        with pytest.raises(ValueError, match=r"^update\(\) got .* compile it by itself$"):
            net.update(other)
    with pytest.raises(TypeError, match="give a network or model"):
        net.update(nn.Linear(3, 3))
    one_row(net, x, y)
    np.testing.assert_array_equal(y, network(x)[0])


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_have_memory_of_their_own(copied):
    network, x = recurrent(), sequence(1)[:, 0]
    expected = network(x)[0]
    net = network.compiled()
    other = copied(net)
    network.load_state_dict({name: 0 * value for name, value in network.state_dict().items()})
    net.update(network)
    y = np.empty((6, 19))
    one_row(other, x, y)
    np.testing.assert_array_equal(y, expected)
    one_row(net, x, y)
    assert (y == 0).all()


def test_a_pickle_has_no_addresses(tmp_path):
    """Another process, with other addresses, makes the network again."""
    (tmp_path / "net").write_bytes(pickle.dumps(recurrent().compiled()))
    code = """
import pathlib, pickle, sys
import numpy as np
net = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
s = net.zero_state()
for row in np.random.default_rng(1).normal(size=(6, 1, 3)):
    y = net.step(row, s)
print(y.tobytes().hex())
"""
    assert run_python(code, str(tmp_path / "net")).strip() == recurrent()(sequence(1))[0][-1].tobytes().hex()


PROGRAM = """
import os
import numpy as np
from numba import njit
import nblstm
from nblstm import nn
from nblstm.numba_extension import network_type
if "OTHER" in os.environ:
    network_type.implementation = lambda: "of another version"

@njit(cache=True)
def roll(net, x):
    s = net.zero_state()
    for t in range(len(x)):
        y = net.step(x[t], s)
    return y

for network in (nn.LSTM(3, 5, 2, dtype="float64", seed=0), nn.GRU(3, 7, dtype="float64", seed=0)):
    x = np.ones((4, 3))
    assert (roll(network.compiled(), x) == network(x)[0][-1]).all()
print(sum(roll.stats.cache_hits.values()), sum(roll.stats.cache_misses.values()))
"""


def test_a_cached_function_is_found_by_the_next_process_and_not_after_an_upgrade(tmp_path):
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    code = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
    folder = {"NUMBA_CACHE_DIR": str(tmp_path / "numba"), "NBLSTM_CACHE_DIR": None}
    assert run_python(code, str(file), **folder).split() == ["0", "1"]
    assert run_python(code, str(file), **folder).split() == ["1", "0"]
    assert run_python(code, str(file), OTHER="1", **folder).split() == ["0", "1"]
    assert run_python(code, str(file), **folder).split() == ["1", "0"]


def test_the_type_tells_versions_apart():
    kind = network_type.network_type("float32")
    assert kind == network_type.NetworkType(kind.dtype, network_type.implementation())
    assert kind != network_type.NetworkType(kind.dtype, "another")
    assert pickle.loads(pickle.dumps(kind)) == kind


def test_without_compilation_of_the_users_functions():
    code = """
import numpy as np
from numba import njit, prange
from nblstm import nn

@njit(parallel=True)
def roll(net, x):
    y = np.empty((len(x), x.shape[1], net.output_size))
    for k in prange(len(x)):
        s = net.zero_state()
        for t in range(x.shape[1]):
            y[k, t] = net.step(x[k, t], s)
    return y

assert not hasattr(roll, "signatures")
network = nn.LSTM(3, 5, 2, dtype="float64", seed=0)
x = np.random.default_rng(0).normal(size=(4, 6, 3))
assert (roll(network.compiled(), x) == [network(row)[0] for row in x]).all()
"""
    run_python(code, NUMBA_DISABLE_JIT="1")


def test_numbas_entry_point_imports_nothing_where_nblstm_is_not():
    code = """
import sys
import nblstm_numba
nblstm_numba.init()
assert "nblstm" not in sys.modules
import nblstm
nblstm_numba.init()
assert "nblstm.numba_extension.compiled_network" in sys.modules
"""
    run_python(code)


# --- errors ------------------------------------------------------------------------------------------


NET = nn.LSTM(3, 8, dtype="float64", seed=0)


@njit
def stepped(net, x, s):
    return net.step(x, s)


@pytest.mark.parametrize(
    ("B", "shape", "needed"),
    [(1, (2,), "(1, 3) or (3,)"), (4, (3,), "(4, 3)"), (4, (3, 3), "(4, 3)"), (1, (1, 4), "(1, 3) or (3,)")],
)
def test_wrong_inputs(B, shape, needed):
    net = NET.compiled(B)
    message = (
        f"x has shape {shape} and floats; this network has input_size=3 and batch_size={B}: give float32 or float64"
    )
    for step in (net.step, lambda *given: stepped(net, *given)):
        with pytest.raises(ValueError, match=re.escape(f"{message}, {needed}") + "$"):
            step(np.zeros(shape), net.zero_state())


def test_wrong_states():
    net = NET.compiled()
    x = np.zeros(3)
    for step in (net.step, lambda *given: stepped(net, *given)):
        with pytest.raises(ValueError, match=r"s has 7 numbers and a state of this network \d+; make it by this"):
            step(x, np.zeros(7))
        with pytest.raises((TypeError, TypingError), match="give a state of this network, float64, from zero_state"):
            step(x, net.zero_state().astype("float32"))
        with pytest.raises((TypeError, ValueError, TypingError), match=r"from zero_state\(\)"):
            step(x, np.zeros((net.state_size, 2))[:, 0])
        with pytest.raises((TypeError, TypingError), match=r"from zero_state\(\)"):
            step(x, None)


def test_wrong_dtypes():
    net = NET.compiled()
    for step in (net.step, lambda *given: stepped(net, *given)):
        with pytest.raises((TypeError, TypingError), match=r"give .*float32 or float64"):
            step(np.zeros(3, bool), net.zero_state())
        with pytest.raises(ValueError, match=r"x has shape \(3,\) and integers; this network"):
            step(np.zeros(3, int), net.zero_state())
        with pytest.raises(ValueError, match=r"x has shape \(\) and integers; this network"):
            step(1, net.zero_state())


@njit
def updated(net, module):
    net.update(module)


@njit
def all_states(net, s):
    return net.states(s)


@njit
def set_back(net, s, states):
    net.set_states(s, states)


def test_methods_that_only_python_has():
    net = NET.compiled()
    for name, function, given in [
        ("update", updated, (0,)), ("states", all_states, (np.zeros(1),)), ("set_states", set_back, (np.zeros(1), 0)),
    ]:  # fmt: skip
        with pytest.raises(TypingError, match=rf"net\.{name}\(\) is for Python; call it outside of the compiled"):
            function(net, *given)


def test_layers_and_states_that_there_are_not():
    net = recurrent().compiled()

    @njit
    def state(net, s, layer, k):
        return net.layer_state(s, layer, k)

    for read in (net.layer_state, lambda *given: state(net, *given)):
        for wrong in ((2, 0), (-1, 0), (0, 2), (0, -1)):
            with pytest.raises(IndexError, match="a layer or a state that this network does not have"):
                read(net.zero_state(), *wrong)


def test_wrong_states_to_set():
    net = recurrent().compiled()
    s = net.zero_state()
    h = np.zeros((2, 1, 19))
    for wrong in (h, (h,), (h, h, h), None):
        with pytest.raises(ValueError, match=r"give a tuple of 2, as states\(\) returns it"):
            net.set_states(s, wrong)
    with pytest.raises(ValueError, match=r"states\[1\].*\(2, 1, 19\)"):
        net.set_states(s, (h, h[:, 0]))


@pytest.mark.parametrize("options", [{"bidirectional": True}, {"reverse": True}])
def test_networks_that_need_whole_sequences(options):
    with pytest.raises(ValueError, match="needs whole sequences and cannot step; call it on one"):
        nn.LSTM(3, 4, **options).compiled()


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2", True])
def test_wrong_batch_sizes(wrong):
    with pytest.raises((TypeError, ValueError), match="batch_size"):
        NET.compiled(wrong)


def test_a_global_network_is_to_be_an_argument():
    net = NET.compiled()

    @njit
    def closed_over(x):
        return net.step(x, net.zero_state())

    with pytest.raises((LoweringError, TypingError, TypeError), match="pass it to the function as an argument"):
        closed_over(np.zeros(3))


def test_a_network_itself_is_no_argument():
    network = nn.GRU(2, 3)

    @njit
    def size(net):
        return net.input_size

    for call in (lambda: size(network), lambda: njit(lambda: network.input_size)()):
        with pytest.raises(
            TypingError, match=r"is given to a function that Numba compiles; give what its compiled\(\)"
        ):
            call()
    assert size(network.compiled()) == 2
