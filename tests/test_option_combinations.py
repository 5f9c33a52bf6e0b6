"""Combinations of cells, options, calls and requests to BPTT that were once wrong, and random ones beside a loop."""

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest
from differences import differences
from kinds_of_cells import CELLS, signals_of
from messages import message_of
from tolerances import DIFFERENCES, GRADIENT, OUTPUT, assert_close

import nblstm
from nblstm import cells, nn
from nblstm.cpu import thresholds
from nblstm.cpu.threads import num_threads

D = {"dtype": "float64", "seed": 0}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 3, 4))


def tupled(states):
    return states if isinstance(states, tuple) else (states,)


# --- what was once wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("make", [
    lambda **options: nn.LSTM(4, 6, proj_size=3, **options),
    lambda **options: nn.Recurrent(CELLS["antisymmetric"], 4, 6, **options),
], ids=["projection", "matrix"])  # fmt: skip
def test_recurrent_dropout_leaves_the_places_of_learned_states(make):
    """The cell of recurrent dropout has more states, and gradients were written where there were no parameters."""
    net = make(num_layers=2, bidirectional=True, learn_initial_state=True, recurrent_dropout=0.4, **D)
    generator = copy.deepcopy(net._generator)

    def loss():
        net._generator = copy.deepcopy(generator)
        return (net.forward(X)[0] ** 2).sum() / 2

    net._generator = copy.deepcopy(generator)
    y, _, tape = net.forward(X)
    gradients = net.backward(tape, y)
    np.testing.assert_array_equal(net.backward(tape, y).flat, gradients.flat)
    for name in ("initial_h_l1_reverse", "weight_hh_l1_reverse", "weight_ih_l0_reverse"):
        assert_close(gradients.params[name], differences(loss, net.parameters()[name]), DIFFERENCES["float64"])


@pytest.mark.parametrize("name", ["no_gates", "input_only"])
def test_a_projection_that_alone_recurs(name):
    made = CELLS["no_gates"]
    if name == "input_only":
        made = nblstm.cell(gates="a", states="h c", input_only="a")(lambda a, h, c: (nblstm.tanh(a + c), 0.5 * c + a))
    net = nn.Recurrent(made, 4, 4, proj_size=2, bidirectional=True, **D)
    y, states = net(X)
    of_h = net.parameters()["weight_hr_l0"]
    if name == "no_gates":
        assert_close(states[0][0], states[1][0] @ of_h.T, OUTPUT["float64"])
    assert (y != 0).all()


def test_x_itself_and_projections():
    made = CELLS["highway"]
    assert nn.Recurrent(made, 4, 4, proj_size=2)(X)[0].shape == (5, 3, 2)
    for both in (False, True):  # two directions of P features are as many as units, and lie apart
        message_of(
            ValueError, lambda both=both: nn.Recurrent(made, 4, 4, 2, bidirectional=both, proj_size=2),
            "give input_size = hidden_size, one layer or no proj_size",
        )  # fmt: skip


def test_recurrent_dropout_leaves_what_is_projected():
    """Units were dropped on their way into the projection, and so from the outputs."""
    net = nn.LSTM(4, 6, proj_size=3, recurrent_dropout=0.5, **D)
    np.testing.assert_array_equal(net.forward(X[:1])[0], net(X[:1])[0])  # nothing has recurred yet
    assert (net.forward(X[:2])[0][1] != net(X[:2])[0][1]).any()


@pytest.mark.parametrize("options", [{}, {"proj_size": 2}], ids=str)
def test_per_sample_gradients_of_learned_states_after_a_first_reset(options):
    net, resets = nn.LSTM(4, 6, learn_initial_state=True, **options, **D), np.zeros((5, 3), bool)
    resets[0, 1:] = True
    for state in (None, tuple(RNG.normal(size=(1, 3, size)) for size in net._network.state_sizes)):
        y, _, tape = net.forward(X, state, resets=resets, lengths=[3, 5, 2])
        samples = net.per_sample_gradients(tape, y)
        assert_close(samples.flat.sum(axis=0), net.backward(tape, y).flat, GRADIENT["float64"])
        if state is not None:
            assert not samples.params["initial_h_l0"][0].any()


@pytest.mark.parametrize("shape", [(5, 0), (0, 3), (0, 0)])
@pytest.mark.parametrize("how", [{}, {"checkpoint": 2}], ids=str)
@pytest.mark.parametrize("options", [{}, {"proj_size": 2, "bidirectional": True, "num_layers": 2}], ids=str)
def test_batches_of_nothing(shape, how, options, monkeypatch):
    for name in ("SERIAL_WORK", "SERIAL_WORK_GRADIENTS"):
        monkeypatch.setattr(thresholds, name, 0)
    net = nn.LSTM(4, 6, **options, **D)
    for _ in range(3):
        y, states, tape = net.forward(np.zeros((*shape, 4)), **how)
        assert y.shape == (*shape, net._network.D * net._network.output_size)
        for asked in ({}, {"steps": True}, {"clip": ("norm", 1.0), "truncate": 1}):
            gradients = net.backward(tape, y, states, **asked)
            assert not gradients.flat.any()
            assert gradients.x.shape == (*shape, 4)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("change", [
    cells.projected, lambda made: cells.variational(made, 0.2, per_gate=True), cells.recurrent_dropout,
], ids=["projected", "variational", "recurrent_dropout"])  # fmt: skip
def test_changed_cells_have_a_text(name, change):
    """A stage of a product may need a sum over units, whichever the equations had first."""
    try:
        made = change(CELLS[name])
    except nblstm.CellError:
        return
    again = pickle.loads(pickle.dumps(made))
    assert again.source() == made.source()


def test_names_with_an_underscore_are_saved(tmp_path):
    made = nblstm.cell(gates="_a", states="_h __c")(lambda _a, _h, __c: (nblstm.tanh(_a + __c), 0.5 * __c + _a))
    net = nn.Recurrent(made, 4, 6, **D)
    net.save(tmp_path / "net.npz")
    np.testing.assert_array_equal(nn.load(tmp_path / "net.npz")(X)[0], net(X)[0])


def test_all_states_is_a_flag():
    net = nn.LSTM(4, 6, recurrent_dropout=0.2, **D)
    before = copy.deepcopy(net._generator.bit_generator.state)
    for call in (net, net.forward):
        message_of(TypeError, lambda call=call: call(X, all_states="h"), "all_states is 'h'; give True or False")
    assert net._generator.bit_generator.state == before


@pytest.mark.parametrize("wrong", [np.ones(3, complex), np.array(["a", "b", "c"])], ids=["complex", "text"])
def test_signals_of_a_stepper_are_real(wrong):
    step = nn.Recurrent(CELLS["decay"], 4, 6, **D).stepper(3)
    message_of(TypeError, lambda: step(X[0], {"dt": wrong, "keep": np.ones(3)}), "signals['dt'] has dtype", "real")


# --- random combinations --------------------------------------------------------------------------

MADE = {
    "lstm": cells.lstm, "gru": cells.gru, "zoneout": cells.zoneout(cells.gru, 0.2),
    "dropconnect": cells.lstm.with_matrix(cells.dropconnect(0.3)),
    **{name: CELLS[name] for name in ("three_stages", "highway", "decay", "everything", "noisy", "layer_norm_lstm")},
}  # fmt: skip


def alone(net, x, state, valid, resets, signals):
    """Outputs and final states by calls for one sequence without a batch, a mask or resets, piece after piece."""
    T, B = valid.shape
    y, finals = np.zeros((T, B, net._network.D * net._network.output_size)), []
    for b in range(B):
        cuts = [0, *(np.flatnonzero(resets[1:, b]) + 1), T]
        pieces = [np.arange(lo, hi) for lo, hi in pairwise(cuts)]
        now = tuple(part[:, b] for part in state)
        if resets[0, b] and not net.reverse:
            now = None
        for steps in reversed(pieces) if net.reverse else pieces:
            steps = steps[valid[steps, b]]
            own = {name: array[steps, b] for name, array in signals.items()} or None
            now = now if now is None or not net._bare_state else now[0]
            y[steps, b], last = net(x[steps, b], now, signals=own)
            now = None
        finals.append(tupled(last))
    return y, [np.stack([own[k] for own in finals], axis=1) for k in range(len(finals[0]))]


@pytest.mark.parametrize("seed", range(120))
def test_random_combinations(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    some = lambda *values: values[rng.integers(len(values))]  # noqa: E731
    name, H, T, B = list(MADE)[seed % len(MADE)], 4, some(1, 2, 5), some(1, 2, 4)
    made, resets, both = MADE[name], rng.random((T, B)) < some(0, 0.4), rng.random() < 0.3
    learn = bool(some(0, 1))
    options = {
        "num_layers": 1 if made.takes_x and both else some(1, 2), "recurrent_dropout": some(0, 0.3),
        "learn_initial_state": learn, "bias": bool(some(0, 1)),
        "proj_size": some(0, 2) if name not in ("highway", "everything") else 0,
    }  # fmt: skip
    resets &= not both
    options |= {"bidirectional": True} if both else {"reverse": bool(some(0, 1))}
    if some(0, 1):  # so that little work is cut too
        for limit in ("SERIAL_WORK", "SERIAL_WORK_GRADIENTS", "SERIAL_PACKING", "SHARED_STEP_WORK"):
            monkeypatch.setattr(thresholds, limit, 0)
        monkeypatch.setattr(thresholds, "BPTT_SEGMENT_ROWS", 8)
    net = nn.Recurrent(made, H, H, **options, **D)
    x, signals = rng.normal(size=(T, B, H)), signals_of(made, (T, B), H, rng)
    valid = rng.random((T, B)) < some(0.6, 1)
    state = tuple(rng.normal(0, 0.5, (net.num_layers * net._network.D, B, size)) for size in net._network.state_sizes)
    given = state[0] if net._bare_state else state
    call = {"state": given, "mask": valid, "resets": resets, "signals": signals or None}
    y, finals = net(x, **call)
    expected, expected_finals = alone(net, x, state, valid, resets, signals)
    assert_close(y, expected, OUTPUT["float64"])
    for one, other in zip(tupled(finals), expected_finals, strict=True):
        assert_close(one, other, OUTPUT["float64"])

    generator, before = copy.deepcopy(net._generator), net.state_dict()
    dy, d_states = rng.normal(size=y.shape), tuple(rng.normal(size=part.shape) for part in state)
    d_given = d_states[0] if net._bare_state else d_states

    def results(own, **more):
        own._generator = copy.deepcopy(generator)
        y, finals, tape = own.forward(x, **call, **more)
        return np.array(y), finals, own.backward(tape, dy, d_given)

    y, finals, gradients = results(net)
    right = [y, *tupled(finals), gradients.flat, gradients.x, *tupled(gradients.state), *gradients.signals.values()]
    again = [(net, {}), (net, {"checkpoint": 2}), (copy.deepcopy(net), {}), (pickle.loads(pickle.dumps(net)), {})]
    if not signals and name not in ("dropconnect",):
        again.append((net, {"reserve": np.empty(net.reserve_size(T, B, mask=valid, resets=resets), np.uint8)}))
    threads = num_threads()
    try:
        for k, (own, more) in enumerate(again):
            nblstm.set_num_threads(1 + k % 2)
            y, finals, found = results(own, **more)
            found = [y, *tupled(finals), found.flat, found.x, *tupled(found.state), *found.signals.values()]
            for one, other in zip(found, right, strict=True):
                np.testing.assert_array_equal(one, other)
    finally:
        nblstm.set_num_threads(threads)
    if name == "everything":  # it stops gradients
        return
    # A derivative in one direction of everything, by central differences.
    moved = {key: rng.normal(size=value.shape) for key, value in before.items()}
    dx, losses, step = rng.normal(size=x.shape), [], 1e-5
    for sign in (step, -step):
        net.load_state_dict({key: value + sign * moved[key] for key, value in before.items()})
        net._generator = copy.deepcopy(generator)
        y, finals, _ = net.forward(x + sign * dx, **call)
        losses.append((y * dy).sum() + sum((a * b).sum() for a, b in zip(tupled(finals), d_states, strict=True)))
    slope = sum((gradients.params[key] * moved[key]).sum() for key in moved) + (gradients.x * dx).sum()
    assert abs((losses[0] - losses[1]) / (2 * step) - slope) <= 1e-6 * max(1, abs(slope))
