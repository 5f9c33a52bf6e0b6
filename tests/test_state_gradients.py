"""Gradients of the states at each step: clipped, cut, given and measured by `backward`, against loops in NumPy."""

import bptt_reference
import numpy as np
import pytest

import nblstm
from nblstm import cells, nn

T, B, I, H = 9, 4, 3, 6
LENGTHS = [9, 4, 0, 7]


def made(kind="LSTM", layers=1, directions=1, seed=0, **options):
    net = getattr(nn, kind)(I, H, layers, bidirectional=directions == 2, dtype="float64", seed=seed, **options)
    for array in net.parameters().values():
        array *= 2  # gradients that neither vanish nor stay within limits
    return net


def given(net, lengths=None, seed=1):
    """x, dy and everything else that a loss may give, and the initial states, as a tuple."""
    rng = np.random.default_rng(seed)
    S, D = len(net.cell.states), 1 + net.bidirectional
    x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, D * H))
    state, dstate = (tuple(rng.normal(size=(net.num_layers * D, B, H)) for _ in range(S)) for _ in range(2))
    dstates = tuple(rng.normal(size=(T, B, D * H)) for _ in range(S))
    return x, dy, state, dstate, dstates


def bare(net, values):
    return values[0] if len(net.cell.states) == 1 else values


def as_tuple(values):
    return values if isinstance(values, tuple) else (values,)


def parameters_of(net):
    return {name: np.array(value) for name, value in net.parameters().items()}


def compare(found, expected, tolerance=1e-10):
    for name, own in expected["params"].items():
        np.testing.assert_allclose(found.params[name], own, rtol=0, atol=tolerance, err_msg=name)
    np.testing.assert_allclose(found.x, expected["x"], rtol=0, atol=tolerance)
    for own, wanted in zip(as_tuple(found.state), expected["state"], strict=True):
        np.testing.assert_allclose(own, wanted, rtol=0, atol=tolerance)
    for own, wanted in zip(found.steps, expected["steps"], strict=bool(found.steps)):
        assert own.shape == wanted.shape
        np.testing.assert_allclose(own, wanted, rtol=0, atol=tolerance)


OPTIONS = {
    "steps": {}, "value": {"clip": 0.3}, "named value": {"clip": ("value", 0.2)}, "norm": {"clip": ("norm", 0.7)},
    "by unit": {"clip": np.linspace(0, 0.5, H)}, "cut": {"truncate": 3}, "every step": {"truncate": 1},
    "cut and clipped": {"truncate": 4, "clip": ("norm", 0.4)},
}  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["alike", "lengths"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_gradients_are_those_of_a_loop(kind, lengths, options):
    net = made(kind, layers=2, directions=2)
    x, dy, state, dstate, dstates = given(net)
    every, _, tape = net.forward(x, bare(net, state), lengths, all_states=True)
    found = net.backward(tape, dy, bare(net, dstate), dstates=dstates, steps=True, **options)
    expected = bptt_reference.network(
        kind, parameters_of(net), x, dy, dstate, dstates, state, lengths, 2, (False, True), **options
    )
    for own, wanted in zip(every, expected["all"], strict=True):
        np.testing.assert_allclose(own, wanted, rtol=0, atol=1e-12)
    compare(found, expected)


@pytest.mark.parametrize("clip", [{"c": 0.2}, {"h": ("norm", 0.5), "c": np.full(H, 0.1)}, {}])
def test_a_clip_of_each_state(clip):
    net = made(reverse=True)
    x, dy, state, dstate, dstates = given(net)
    _, _, tape = net.forward(x, state, LENGTHS)
    found = net.backward(tape, dy, dstate, dstates=(None, dstates[1]), steps=True, clip=clip)
    expected = bptt_reference.network(
        "LSTM", parameters_of(net), x, dy, dstate, (None, dstates[1]), state, LENGTHS, 1, (True,), clip
    )
    compare(found, expected)


def test_a_clip_acts_on_what_later_steps_gave_not_on_the_loss_at_the_step():
    net = made("RNN")
    x, dy, *_ = given(net)
    _, _, tape = net.forward(x)
    found = net.backward(tape, 10 * dy, clip=0.0, steps=True)
    np.testing.assert_allclose(found.steps[0][0], np.linalg.norm(10 * dy, axis=-1), rtol=1e-14)
    np.testing.assert_array_equal(found.flat, net.backward(tape, 10 * dy, truncate=1).flat)


def test_steps_at_masked_places_are_0_and_others_those_of_the_valid_steps():
    net, rng = made(), np.random.default_rng(3)
    x, dy, *_ = given(net)
    mask = rng.random((T, B)) < 0.6
    (_, c), _, tape = net.forward(x, mask=mask, all_states=True)
    found = net.backward(tape, dy, clip=("norm", 0.5), truncate=2, steps=True)
    assert not found.steps[0][0][~mask].any()
    assert not c[~mask].any()
    for b in range(B):
        own = mask[:, b]
        expected = bptt_reference.network(
            "LSTM", parameters_of(net), x[own][:, [b]], dy[own][:, [b]], clip=("norm", 0.5), truncate=2
        )
        np.testing.assert_allclose(c[own, b], expected["all"][1][:, 0], rtol=0, atol=1e-12)
        for steps, wanted in zip(found.steps, expected["steps"], strict=True):
            np.testing.assert_allclose(steps[0][own, b], wanted[0, :, 0], rtol=0, atol=1e-11)


def test_recurrent_dropout_is_part_of_what_is_clipped_and_measured():
    net = made(recurrent_dropout=0.4, layers=2, directions=2)
    x, dy, _, dstate, dstates = given(net)
    (h, _), _, tape = net.forward(x, lengths=LENGTHS, all_states=True)
    masks = tape.made.batch.unsort(tape.made.dropout.recurrent)
    for options in ({}, {"clip": 0.1}, {"clip": ("norm", 0.6), "truncate": 2}):
        found = net.backward(tape, dy, dstate, dstates=dstates, steps=True, **options)
        expected = bptt_reference.network(
            "LSTM", parameters_of(net), x, dy, dstate, dstates, None, LENGTHS, 2, (False, True), masks=masks, **options
        )
        np.testing.assert_allclose(h, expected["all"][0], rtol=0, atol=1e-12)
        compare(found, expected)


def test_gradients_into_every_state_are_those_of_central_differences():
    net = nn.Recurrent(cells.lstm_peephole, I, H, dtype="float64", seed=4)
    x, _, _, _, dstates = given(net)
    _, _, tape = net.forward(x, lengths=LENGTHS, all_states=True)
    gradients = net.backward(tape, None, dstates=dstates)

    def loss():
        every, _ = net(x, lengths=LENGTHS, all_states=True)
        return sum((own * d).sum() for own, d in zip(every, dstates, strict=True))

    for name, array in net.parameters().items():
        for at in np.random.default_rng(5).choice(array.size, 6, replace=False):
            place, delta = np.unravel_index(at, array.shape), 1e-5
            value = array[place]
            rise = []
            for sign in (1, -1):
                array[place] = value + sign * delta
                rise.append(loss())
            array[place] = value
            np.testing.assert_allclose(
                gradients.params[name][place], (rise[0] - rise[1]) / (2 * delta), rtol=0, atol=1e-8
            )


@nblstm.cell(gates="a n m g p", states="h c", output="c", split="n", called="m n", input_only="g", recurrent_only="p",
             vectors="gain", scalars="alpha", signals="dt")  # fmt: skip
def stages(a, n_x, n_h, m, g, p, h, c, x, dt, gain, alpha):
    first = nblstm.tanh(m((nblstm.softmax(a) + x) * h))
    second = nblstm.tanh(n_x + nblstm.sigmoid(g) * n_h(first + nblstm.mean(c)))
    c = nblstm.exp(-alpha * alpha * dt) * c + nblstm.layer_norm(second + p, gain)
    return nblstm.sigmoid(p) * nblstm.tanh(c), c


@nblstm.cell(gates="a", states="h", matrix=cells.antisymmetric(0.1))
def stable(a, h):
    return h + 0.5 * nblstm.tanh(a)


CUTS = [{"clip": 0.2}, {"clip": ("norm", 0.5), "truncate": 4}, {"clip": np.linspace(0.1, 0.6, H), "truncate": 1}]


@pytest.mark.parametrize("options", CUTS, ids=["value", "norm", "by unit"])
@pytest.mark.parametrize(
    "cell", [stages, stable, cells.gru_reset_before, cells.recurrent_dropout(cells.lstm_peephole)], ids=lambda c: c.name
)
def test_any_cell_against_itself_step_by_step(cell, options):
    """A sequence as T networks of one step, between which the oracle's clip is applied to the states' gradients."""
    rng = np.random.default_rng(0)
    net, S = nn.Recurrent(cell, H, H, dtype="float64", seed=0), len(cell.states)
    for array in net.parameters().values():
        array *= 1.5
    x, dy = rng.normal(size=(T, B, H)), rng.normal(size=(T, B, H))
    state, dstate = (tuple(rng.normal(size=(1, B, H)) for _ in range(S)) for _ in range(2))
    dstates = tuple(rng.normal(size=(T, B, H)) for _ in range(S))
    signals = {"dt": rng.random((T, B))} if cell.signals else None
    every, _, tape = net.forward(x, state, signals=signals, all_states=True)
    found = net.backward(tape, dy, dstate, dstates=dstates, steps=True, **options)

    tapes, now, out = [], state, cell.states.index(cell.output)
    for t in range(T):
        _, now, one = net.forward(x[[t]], now, signals=signals and {"dt": signals["dt"][[t]]})
        tapes.append(one)
        for k in range(S):
            np.testing.assert_allclose(every[k][t], now[k][0], rtol=0, atol=1e-13)
    flat, back = 0.0, list(dstate)
    for t in reversed(range(T)):
        for k in range(S):
            cut = options.get("truncate") and (t + 1) % options["truncate"] == 0 and t + 1 < T
            rows = [bptt_reference.clipped(0 * row if cut else row, options["clip"]) for row in back[k][0]]
            back[k] = np.array([rows]) + dstates[k][t]
            norms = np.linalg.norm(back[k][0] + (dy[t] if k == out else 0), axis=-1)
            np.testing.assert_allclose(found.steps[k][0, t], norms, rtol=0, atol=1e-11)
        gradients = net.backward(tapes[t], dy[[t]], tuple(back))
        np.testing.assert_allclose(found.x[t], gradients.x[0], rtol=0, atol=1e-11)
        flat, back = flat + gradients.flat, list(gradients.state)
    np.testing.assert_allclose(found.flat, flat, rtol=0, atol=1e-10)
    for own, wanted in zip(found.state, back, strict=True):
        np.testing.assert_allclose(own, wanted, rtol=0, atol=1e-11)


# --- the same bits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "hidden", "steps"), [(1, 64, 20), (1, 256, 12), (2, 256, 9), (7, 33, 12), (40, 32, 60)]
)
def test_the_same_bits_for_any_threads(batch, hidden, steps):
    """Also where threads share the units of each step, unless a norm needs whole rows."""
    rng, before = np.random.default_rng(0), nblstm.num_threads()
    net = nn.LSTM(8, hidden, 2, seed=0)
    x, dy = (rng.normal(size=(steps, batch, n)).astype("float32") for n in (8, hidden))
    results = []
    try:
        for threads in (1, 2, 3):
            nblstm.set_num_threads(threads)
            _, _, tape = net.forward(x)
            plain = net.backward(tape, dy)
            own = [
                net.backward(tape, dy, dstates=(None, dy), **options)
                for options in ({"clip": 0.5}, {"clip": ("norm", 1.0), "steps": True}, {"truncate": 5})
            ]
            assert (net.backward(tape, dy).flat == plain.flat).all()
            assert (net.backward(tape, dy, steps=True, clip=np.inf).flat == plain.flat).all()
            own.append(net.per_sample_gradients(tape, dy))
            results.append([plain, *own])
    finally:
        nblstm.set_num_threads(before)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert (one.flat == two.flat).all()
            assert (one.x == two.x).all()
            assert all((a == b).all() for a, b in zip(one.steps, two.steps, strict=True))


def test_the_same_bits_with_checkpoints_and_from_a_reserve():
    rng, net = np.random.default_rng(0), nn.LSTM(5, 8, 2, bidirectional=True, seed=0)
    x, lengths = rng.normal(size=(150, 32, 5)).astype("float32"), rng.integers(1, 151, 32)
    dy, dc = (rng.normal(size=(150, 32, 16)).astype("float32") for _ in range(2))
    options = {"dstates": (None, dc), "clip": ("norm", 0.5), "truncate": 40, "steps": True}
    every, _, tape = net.forward(x, lengths=lengths, all_states=True)
    whole = net.backward(tape, dy, **options)
    other, _, marked = net.forward(x, lengths=lengths, all_states=True, checkpoint=30)
    reserve = np.empty(net.reserve_size(150, 32, lengths), np.uint8)
    third, _, _ = net.forward(x, lengths=lengths, all_states=True, reserve=reserve)
    for own in (other, third, net(x, lengths=lengths, all_states=True)[0]):
        assert all((a == b).all() for a, b in zip(every, own, strict=True))
    for found in (net.backward(marked, dy, **options), net.backward(None, dy, reserve=reserve.copy(), **options)):
        assert (found.flat == whole.flat).all()
        assert (found.x == whole.x).all()
        assert all((a == b).all() for a, b in zip(found.steps, whole.steps, strict=True))
    samples = net.per_sample_gradients(tape, dy)
    np.testing.assert_allclose(net.per_sample_gradients(marked, dy).flat, samples.flat, rtol=0, atol=1e-4)


def test_norms_of_vanished_gradients_are_not_0():
    net = nn.RNN(2, 4, seed=0)
    net.parameters()["weight_hh_l0"][...] *= 0.01
    x, dy = np.zeros((12, 1, 2), "float32"), np.zeros((12, 1, 4), "float32")
    dy[-1] = 1
    _, _, tape = net.forward(x)
    [norms] = net.backward(tape, dy, steps=True).steps
    assert 0 < norms[0, 1, 0] < 1e-22


# --- all states -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [4, 40])
@pytest.mark.parametrize("batch_first", [False, True])
def test_every_state_in_the_layout_of_y(batch_first, size):
    """States of a sequence, step by step: those after the first n steps."""
    cell = cells.recurrent_dropout(cells.lstm)  # four states, of which the output is the second
    net = nn.Recurrent(cell, 3, size, 2, batch_first=batch_first, seed=0)
    x = np.random.default_rng(0).normal(size=(30, 5, 3)).astype("float32")
    own = x.swapaxes(0, 1) if batch_first else x
    every, final = net(own, all_states=True)
    y, again = net(own)
    assert len(every) == 4
    assert (every[1] == y).all()
    assert all((a == b).all() for a, b in zip(final, again, strict=True))
    for n in (1, 30):
        _, states = net(own[:, :n] if batch_first else own[:n])
        for one, state in zip(every, states, strict=True):
            np.testing.assert_allclose(one[:, n - 1] if batch_first else one[n - 1], state[1], atol=1e-6)
    single, _ = net(own[0] if batch_first else own[:, 0], all_states=True)
    for one, state in zip(every, single, strict=True):
        np.testing.assert_allclose(one[0] if batch_first else one[:, 0], state, atol=1e-6)
    single[0][...] = 0  # a copy
    assert (net(own[0] if batch_first else own[:, 0])[0] != 0).any()


def test_every_state_of_no_steps_and_of_no_sequences():
    net = nn.LSTM(3, 4)
    for shape in ((0, 2, 3), (5, 0, 3)):
        every, _, tape = net.forward(np.zeros(shape), all_states=True)
        assert [own.shape for own in every] == [(*shape[:2], 4)] * 2
        assert [own.shape for own in net(np.zeros(shape), all_states=True)[0]] == [(*shape[:2], 4)] * 2
        gradients = net.backward(tape, None, dstates=every, clip=("norm", 1.0), truncate=2, steps=True)
        assert [own.shape for own in gradients.steps] == [(1, *shape[:2])] * 2
        assert not gradients.flat.any()
        assert net.per_sample_gradients(tape, None).flat.shape == (shape[1], gradients.flat.size)


# --- gradients of each sequence ---------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["alike", "lengths"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_gradients_of_each_sequence_are_those_of_a_loop(kind, lengths):
    net = made(kind, layers=2, directions=2)
    x, dy, state, dstate, _ = given(net)
    _, _, tape = net.forward(x, bare(net, state), lengths)
    found = net.per_sample_gradients(tape, dy, bare(net, dstate))
    expected = bptt_reference.network(kind, parameters_of(net), x, dy, dstate, None, state, lengths, 2, (False, True))
    for name, own in expected["samples"].items():
        assert found.params[name].shape == (B, *net.parameters()[name].shape)
        np.testing.assert_allclose(found.params[name], own, rtol=0, atol=1e-10, err_msg=name)
    whole = net.backward(tape, dy, bare(net, dstate))
    assert (found.x == whole.x).all()
    assert all((a == b).all() for a, b in zip(as_tuple(found.state), as_tuple(whole.state), strict=True))


def test_per_sample_gradients_in_float32_add_up():
    rng, net = np.random.default_rng(0), nn.GRU(5, 16, seed=0)
    x, dy = (rng.normal(size=(40, 64, n)).astype("float32") for n in (5, 16))
    _, _, tape = net.forward(x)
    whole = net.backward(tape, dy)
    found = net.per_sample_gradients(tape, dy)
    np.testing.assert_allclose(found.flat.sum(axis=0), whole.flat, rtol=0, atol=2e-4 * np.abs(whole.flat).max())
    assert (found.x == whole.x).all()
    assert (net.backward(tape, dy).flat == whole.flat).all()


def _sum_of_units():
    @nblstm.cell(gates="a", states="h", signals="dt", scalars="alpha", vectors="v", called="a")
    def summed(a, h, dt, v, alpha):
        return nblstm.tanh(a(h * v) + alpha * nblstm.mean(h) + dt)

    return summed


@pytest.mark.parametrize("batch", [5, 300])
@pytest.mark.parametrize(
    "cell", [cells.lstm_peephole, cells.gru_reset_before, _sum_of_units()], ids=["peephole", "operand", "all kinds"]
)
def test_gradients_of_each_sequence_are_those_of_it_alone(cell, batch):
    """Also of vectors, scalars, operands, signals, learned states, and in several segments of BPTT."""
    rng = np.random.default_rng(0)
    net = nn.Recurrent(cell, 3, 7, 2, learn_initial_state=True, dtype="float64", seed=0)
    x, dy = rng.normal(size=(11, batch, 3)), rng.normal(size=(11, batch, 7))
    lengths = rng.integers(0, 12, batch)
    signals = {"dt": rng.normal(size=(11, batch))} if cell.signals else None
    for own in (None, lengths):
        _, _, tape = net.forward(x, lengths=own, signals=signals)
        found = net.per_sample_gradients(tape, dy)
        whole = net.backward(tape, dy)
        np.testing.assert_allclose(found.flat.sum(axis=0), whole.flat, rtol=0, atol=1e-9)
        for name in whole.signals:
            assert (found.signals[name] == whole.signals[name]).all()
        for b in (0, 1, 4):
            one = slice(b, b + 1)
            _, _, tape = net.forward(
                x[:, one], lengths=None if own is None else own[one],
                signals=None if signals is None else {"dt": signals["dt"][:, one]},
            )  # fmt: skip
            alone = net.backward(tape, dy[:, one])
            np.testing.assert_allclose(found.flat[b], alone.flat, rtol=0, atol=1e-11)
            for name, value in alone.params.items():
                np.testing.assert_allclose(found.params[name][b], value, rtol=0, atol=1e-11)


def test_gradients_of_each_sequence_where_the_recurrent_matrix_is_made():
    @nblstm.cell(gates="a", states="h", matrix=cells.antisymmetric(0.1))
    def stable(a, h):
        return h + 0.1 * nblstm.tanh(a)

    rng, net = np.random.default_rng(0), nn.Recurrent(stable, 3, 5, dtype="float64", seed=0)
    x, dy = rng.normal(size=(6, 4, 3)), rng.normal(size=(6, 4, 5))
    _, _, tape = net.forward(x)
    found = net.per_sample_gradients(tape, dy)
    for b in range(4):
        _, _, own = net.forward(x[:, [b]])
        np.testing.assert_allclose(found.flat[b], net.backward(own, dy[:, [b]]).flat, rtol=0, atol=1e-12)


# --- what does not fit ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip": -1}, "clip has the limit -1.0; give numbers of 0 or more"),
        ({"clip": np.nan}, "clip has the limit nan"),
        ({"clip": "norm"}, "clip is 'norm'; give a number"),
        ({"clip": ("norm",)}, "clip is "),
        ({"clip": ("size", 1.0)}, r"clip is \('size', 1.0\); give a number"),
        ({"clip": ("norm", np.ones(H))}, r"clip is \('norm'"),
        ({"clip": np.ones(H + 1)}, "clip is ndarray; give a number, .* with H = 6"),
        ({"clip": True}, "clip is bool"),
        ({"clip": {"x": 1.0}}, r"clip has 'x'.*give one of h, c"),
        ({"truncate": 0}, "truncate is 0"),
        ({"truncate": 2.5}, "truncate is 2.5"),
        ({"steps": "all"}, "steps is 'all'; give True or False"),
        ({"dstates": np.zeros((T, B, H))}, "dstates is ndarray; give a tuple of 2"),
        ({"dstates": (None,)}, "dstates is 1 arrays; give a tuple of 2"),
        ({"dstates": (None, np.zeros((T, B, H + 1)))}, "dstates 'c' has shape"),
    ],
)
def test_bad_input_has_one_sentence(options, message):
    net = made()
    x, dy, *_ = given(net)
    _, _, tape = net.forward(x)
    plain = net.backward(tape, dy)
    with pytest.raises((TypeError, ValueError), match=message):
        net.backward(tape, dy, **options)
    assert (net.backward(tape, dy).flat == plain.flat).all()
    with pytest.raises(ValueError, match="tape is not from this network"):
        net.per_sample_gradients(None, dy)


@pytest.mark.parametrize("options", [{"clip": 1.0}, {"truncate": 3}, {"steps": True}, {"dstates": (None, None)}])
def test_a_network_on_the_gpu_says_so(options, monkeypatch):
    net = made()
    x, dy, *_ = given(net)
    _, _, tape = net.forward(x)
    monkeypatch.setitem(net._network.__dict__, "on_host", False)
    with pytest.raises(ValueError, match="are for networks on the CPU, and this one is on 'cpu'; leave them out"):
        net.backward(tape, dy, **options)
    with pytest.raises(ValueError, match="per-sample gradients are for networks on the CPU"):
        net.per_sample_gradients(tape, dy)
    for call in (net, net.forward):
        with pytest.raises(ValueError, match="all_states is for networks on the CPU"):
            call(x, all_states=True)
