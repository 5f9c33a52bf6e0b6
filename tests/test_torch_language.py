"""Modules of `nblstm.torch` of cells of the whole language: against their equations as operations of torch."""

import copy
import pickle

import numpy as np
import pytest
from language_cells import CELLS, called_halves, fast, highway, no_input, noisy, normed, sums, three_stages, timed

torch = pytest.importorskip("torch", reason="needs torch, the extra 'torch'")
torch.set_num_threads(1)  # its threads watch for work without a break; processes of tests have no cores for that
from messages import message_of  # noqa: E402
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence  # noqa: E402

import nblstm.torch as nbt  # noqa: E402
from nblstm import cell, cells, mean, nn, noise, sigmoid, tanh  # noqa: E402

F64 = torch.float64
T, B, I, H = 6, 4, 3, 4
OPTIONS = [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}, {"num_layers": 2, "bias": False}]


def module_of(own, **options):
    torch.manual_seed(1)
    if own.takes_x:
        options = {**options, "bidirectional": False, "proj_size": 0}
    return nbt.Recurrent(own, H if own.takes_x else I, H, **options, dtype=F64).eval()


def given_of(module, steps=T, batch=B, seed=0, wide=(False, True)):
    """An input, and signals of which the second has a number for each unit."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, steps) if module.batch_first else (steps, batch)

    def drawn(*sizes):
        return torch.rand(*sizes, generator=generator, dtype=F64).requires_grad_()

    names = module._network.cell.signals
    signals = {name: drawn(*shape, *(H,) * each) for name, each in zip(names, wide, strict=False)}
    return drawn(*shape, module.input_size), signals or None


def states_of(module, batch=B):
    network = module._network
    rows = network.num_layers * network.D
    return tuple(torch.randn(rows, batch, size, dtype=F64, requires_grad=True) for size in network.state_sizes)


def results(module, parameters, x, signals, hx=None, lengths=None):
    """Outputs, states, and the gradients of a loss of all of them."""
    y, states = module(x, hx, lengths, signals=signals)
    loss = y.sin().sum() + sum((k + 2) * (state * state).sum() for k, state in enumerate(states))
    inputs = [x, *(hx or ()), *(signals or {}).values(), *parameters]
    return [y, *states, *torch.autograd.grad(loss, inputs, materialize_grads=True)]


def alike(one, other, bound=1e-10):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=bound, atol=bound)


@pytest.mark.parametrize("own", CELLS, ids=lambda own: own.name)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("lengths", [None, [4, 0, 6, 2]], ids=["whole", "lengths"])
def test_against_the_reference(own, options, lengths):
    ours = module_of(own, **options)
    for wide in ((False, True), (True, False)):
        x, signals = given_of(ours, wide=wide)
        hx, parameters = states_of(ours), [*ours.parameters()]
        wanted = results(nbt.reference(ours), parameters, x, signals, hx, lengths)
        alike(results(ours, parameters, x, signals, hx, lengths), wanted)
        first = ours(x, None, lengths, signals=signals)[:1]
        alike(first, nbt.reference(ours)(x, None, lengths, signals=signals)[:1])


@pytest.mark.parametrize(
    "own",
    [
        timed,
        highway,
        normed,
        noisy,
        cells.gru,
        cells.lstm_peephole,
        cells.gru_reset_before,
        cells.gru_reset_before.with_matrix(cells.low_rank(2)),
    ],
    ids=lambda own: own.name,
)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_projections_against_the_reference(own, options):
    if own.takes_x and options.get("num_layers"):
        pytest.skip("its layers have other inputs")
    torch.manual_seed(1)
    ours = nbt.Recurrent(own, H if own.takes_x else I, H, proj_size=2, **options, dtype=F64).eval()
    x, signals = given_of(ours)
    hx, parameters = states_of(ours), [*ours.parameters()]
    assert hx[0].shape[-1] == 2
    alike(results(ours, parameters, x, signals, hx), results(nbt.reference(ours), parameters, x, signals, hx))


def functional(module, signals):
    """A function of tensors alone, and those."""
    names = [name for name, _ in module.named_parameters()]
    S = len(module._network.cell.states)

    def run(x, *tensors):
        states, steps, weights = tensors[:S], tensors[S : S + len(signals)], tensors[S + len(signals) :]
        own = dict(zip(names, weights, strict=True)) if weights else {}
        given = dict(zip(signals, steps, strict=True)) or None
        y, final = torch.func.functional_call(module, own, (x, tuple(states)), {"signals": given})
        return y, *final

    return run, [*signals.values()]


@pytest.mark.parametrize("own", [timed, highway, sums], ids=lambda own: own.name)
def test_gradcheck(own):
    module = module_of(own)
    x, signals = given_of(module, 3, 2)
    run, steps = functional(module, signals)
    assert torch.autograd.gradcheck(run, (x, *states_of(module, 2), *steps, *module.parameters()))


@pytest.mark.parametrize("own", CELLS, ids=lambda own: own.name)
def test_second_derivatives_of_the_reference(own):
    module = module_of(own)
    x, signals = given_of(module, 2, 1)
    names = [name for name, _ in module.named_parameters()]

    def run(x, *tensors):
        count = len(signals or {})
        given = dict(zip(signals, tensors[:count], strict=True)) if signals else None
        weights = {f"module.{name}": own for name, own in zip(names, tensors[count:], strict=True)}
        y, states = torch.func.functional_call(nbt.reference(module), weights, (x,), {"signals": given})
        return y, *states

    given = (x, *(signals or {}).values(), *module.parameters())
    assert torch.autograd.gradgradcheck(run, given, nondet_tol=1e-12, fast_mode=True)


def test_packed_sequences():
    for own in (timed, highway):
        ours = module_of(own)
        for lengths in ((2, 5, 3), (4, 4, 1)):
            rows = [torch.rand(n, ours.input_size, dtype=F64, requires_grad=True) for n in lengths]
            each = {name: [torch.rand(n, *(H,) * (k == 1), dtype=F64, requires_grad=True) for n in lengths]
                    for k, name in enumerate(own.signals)}  # fmt: skip
            x = pack_sequence(rows, enforce_sorted=False)
            packed = {name: pack_sequence(steps, enforce_sorted=False) for name, steps in each.items()}
            leaves = [*rows, *(step for steps in each.values() for step in steps), *ours.parameters()]
            found = []
            for module, signals in (
                (ours, packed),
                (nbt.reference(ours), packed),
                (ours, {name: value.data for name, value in packed.items()}),
            ):
                y, states = module(x, signals=signals)
                loss = y.data.sin().sum() + sum(state.square().sum() for state in states)
                found.append([y.data, *states, *torch.autograd.grad(loss, leaves, retain_graph=True)])
            alike(found[0], found[1])
            alike(found[0], found[2], 0)
            padded, ends = pad_packed_sequence(x)
            signals = {name: pad_packed_sequence(value)[0] for name, value in packed.items()}
            y, states = ours(padded, None, ends, signals=signals)
            alike([*found[0][1 : 1 + len(states)]], [*states])


@pytest.mark.filterwarnings("ignore")  # torch's own
@pytest.mark.parametrize("own", [timed, noisy, called_halves, fast, normed], ids=lambda own: own.name)
def test_operators_are_as_torch_wants_them(own):
    module = module_of(own, num_layers=2, proj_size=2 * (own in (timed, normed)))
    text, weights = module._texts[F64], list(module.parameters())
    x, signals = given_of(module, 5, 3)
    steps, states = [*(signals or {}).values()], [*states_of(module, 3)]
    ops = torch.ops.nblstm
    for lengths in (None, torch.tensor([5, 0, 2])):
        for seed in (None, torch.tensor([3])):
            torch.library.opcheck(ops.forward.default, (x, states, steps, weights, lengths, seed, 0.0, text))
        plain = [[each.detach() for each in group] for group in (states, steps, weights)]
        torch.library.opcheck(ops.infer.default, (x.detach(), *plain, lengths, text))
        y, h, *_, reserve = ops.forward(x.detach(), *plain, lengths, torch.tensor([3]), 0.0, text)
        for wide in ([0, H][: len(steps)], []):
            dstates = [torch.randn_like(h), *[None] * (len(states) - 1)]
            given = reserve, plain[2], torch.randn_like(y), dstates, 5, 3, True, True, wide, 0.0, text
            torch.library.opcheck(ops.backward.default, given)


@pytest.mark.filterwarnings("ignore")  # torch's own
@pytest.mark.parametrize("own", [timed, no_input, noisy, fast, three_stages], ids=lambda own: own.name)
def test_compiled_whole(own):
    module = module_of(own, num_layers=2, proj_size=2 * (own is timed))
    torch._dynamo.reset()
    run = torch.compile(
        lambda x, signals: module(x, signals=signals)[0], backend="aot_eager", fullgraph=True, dynamic=True
    )
    for training in (False, True):
        module.train(training)
        for steps, batch in ((6, 4), (3, 2)):
            x, signals = given_of(module, steps, batch)
            found = []
            for call in (run, lambda x, signals: module(x, signals=signals)[0]):
                torch.manual_seed(5)
                y = call(x, signals)
                inputs = [x, *(signals or {}).values(), *module.parameters()]
                found.append([y, *torch.autograd.grad(y.sin().sum(), inputs, materialize_grads=True)])
            alike(*found)
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore")  # torch's own
def test_exported():
    module = module_of(timed, proj_size=2)
    x, signals = given_of(module)
    dims = {0: torch.export.Dim("T"), 1: torch.export.Dim("B")}
    program = torch.export.export(
        module, (x.detach(),), {"signals": {name: each.detach() for name, each in signals.items()}},
        dynamic_shapes={"input": dims, "signals": dict.fromkeys(signals, dims)},
    )  # fmt: skip
    x, signals = given_of(module, 3, 2)
    assert torch.equal(program.module()(x, signals=signals)[0], module(x, signals=signals)[0])


def test_noise_is_torch_s_generator_s():
    ours = nbt.Recurrent(noisy, I, 40)
    x = torch.ones(6, 9, I)
    torch.manual_seed(5)
    seeded = ours(x)[0]
    torch.manual_seed(5)
    assert torch.equal(seeded, ours(x)[0])
    assert not torch.equal(seeded, ours(x)[0])
    with torch.no_grad():
        assert not torch.equal(ours(x)[0], ours(x)[0])
    reference = nbt.reference(ours)
    assert not torch.equal(reference(x)[0], reference(x)[0])
    assert abs(reference(x)[0].mean() - ours(x)[0].mean()) < 0.05
    ours.eval()
    assert torch.equal(ours(x)[0], ours(x)[0])
    alike([reference(x)[0]], [ours(x)[0]], 1e-5)
    assert torch.equal(torch.from_numpy(ours.to_nn()(x.numpy())[0]), ours(x)[0])


@pytest.mark.filterwarnings("ignore")  # torch's own
def test_dropped_connections_are_those_of_the_forward_pass():
    """Eager, by operators and compiled: gradients are differences of the outputs under the same seed."""
    module = nbt.Recurrent(cells.lstm.with_matrix(cells.dropconnect(0.5)), I, H, 2, bidirectional=True, dtype=F64)
    x = torch.randn(5, 3, I, dtype=F64, requires_grad=True)
    torch._dynamo.reset()

    def loss(call):
        torch.manual_seed(5)
        return call(x)[0].sin().sum()

    def hooked(x):
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):
            return module(x)

    weight = module.weight_hh_l0
    for call in (module, hooked, torch.compile(module, backend="aot_eager", fullgraph=True)):
        value = loss(call)
        dx, dW = torch.autograd.grad(value, [x, weight])
        assert 0.2 < (dW == 0).double().mean() < 0.8
        for tensor, gradient, row in ((x, dx, 0), (weight, dW, int((dW[:, 0] != 0).nonzero()[0]))):
            at, ends = tensor.detach().reshape(len(tensor), -1), []
            for step in (1e-5, -2e-5, 1e-5):
                at[row, 0] += step
                ends.append(loss(module).item())
            assert abs((ends[0] - ends[1]) / 2e-5 - gradient.reshape(len(tensor), -1)[row, 0].item()) < 1e-8
        assert value.item() == pytest.approx(ends[2], rel=1e-12)
    reference = nbt.reference(module)
    zeros = [torch.autograd.grad(loss(reference), weight)[0] == 0 for _ in range(2)]
    assert torch.equal(*zeros)
    assert 0.2 < zeros[0].double().mean() < 0.8
    assert not torch.equal(module(x)[0], module(x)[0])
    module.eval()
    assert torch.equal(loss(module), loss(hooked))
    alike([loss(module)], [loss(reference)])
    torch._dynamo.reset()


def test_signals_and_resets():
    """Eager and by operators against the equations; noise that lasts for a sequence is another one behind a reset."""
    module = module_of(timed, num_layers=2, bidirectional=True)
    x, signals = given_of(module)
    resets = torch.rand(T, B, generator=torch.Generator().manual_seed(2)) < 0.3

    def called(module):
        def call(x, hx, lengths, signals):
            return module(x, hx, lengths, resets, signals=signals)

        return call

    for lengths in (None, [6, 0, 2, 5]):
        hx = states_of(module)
        wanted = results(called(nbt.reference(module)), module.parameters(), x, signals, hx, lengths)
        alike(results(called(module), module.parameters(), x, signals, hx, lengths), wanted)
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):
            alike(results(called(module), module.parameters(), x, signals, hx, lengths), wanted)

    @cell(gates="a", states="h")
    def masked(a, h):
        return noise.bernoulli(0.5, per="sequence") + 0 * a

    module, resets = nbt.Recurrent(masked, 1, 50), torch.tensor([False, False, True, False])[:, None]
    for own in (module, nbt.reference(module)):
        y = own(torch.zeros(4, 1, 1), resets=resets)[0]
        assert torch.equal(y[0], y[1])
        assert not torch.equal(y[1], y[2])
        assert torch.equal(y[2], y[3])


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # by torch
def test_names_copies_and_networks():
    """What torch names and keeps, and the network of `nblstm.nn` with the same bits."""
    lstm = nbt.LSTM(3, 5, 2, proj_size=2, bidirectional=True)
    torchs = torch.nn.LSTM(3, 5, 2, proj_size=2, bidirectional=True)
    assert list(lstm.state_dict()) == list(torchs.state_dict())
    assert [[w.shape for w in layer] for layer in lstm.all_weights] == [
        [w.shape for w in layer] for layer in torchs.all_weights
    ]
    assert repr(lstm) == "nblstm.torch.LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2)"
    done = nbt.convert(torch.nn.Sequential(torchs))
    assert done.replaced == ["0"]
    x = torch.randn(6, 4, 3)
    alike([done.model[0](x)[0]], [torchs(x)[0]], 1e-6)
    assert done.model[0](x)[0].is_contiguous()
    for own, options in ((timed, {}), (highway, {}), (fast, {}), (normed, {"proj_size": 2, "num_layers": 2})):
        module = module_of(own, **options)
        x, signals = given_of(module)
        wanted = module(x, signals=signals)[0].detach()
        for copied in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert torch.equal(copied(x, signals=signals)[0], wanted)
        arrays = {name: each.detach().numpy() for name, each in (signals or {}).items()}
        network = module.to_nn()
        assert isinstance(network, nn.Recurrent)
        y = network(x.detach().numpy(), signals=arrays or None)[0]
        np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-14)
        with nbt.frozen(module), torch.no_grad():
            assert torch.equal(module(x, signals=signals)[0], wanted)
    for kind in (nbt.GRU, nbt.RNN):
        module = kind(3, 5, proj_size=2, dtype=F64)
        x = torch.randn(6, 4, 3, dtype=F64)
        y, states = module(x)
        alike([y, *(states if isinstance(states, tuple) else [states])],
              [*(lambda y, s: [y, *(s if isinstance(s, tuple) else [s])])(*nbt.reference(module)(x))])  # fmt: skip
    assert isinstance(nbt.RNN(3, 5, proj_size=2)(torch.zeros(2, 1, 3))[1], torch.Tensor)
    assert [state.shape[-1] for state in nbt.GRU(3, 5, proj_size=2)(torch.zeros(2, 1, 3))[1]] == [2, 5]


def test_signals_of_other_dtypes():
    module = module_of(timed).float()
    x, signals = given_of(module)
    x, dt = x.detach().float(), signals["dt"].detach()
    keep = torch.rand(T, B) < 0.5
    wanted = module(x, signals={"dt": dt.float(), "keep": keep.float()})[0]
    assert torch.equal(module(x, signals={"dt": dt, "keep": keep})[0], wanted)
    half = module.to(torch.bfloat16)
    assert half(x.bfloat16(), signals={"dt": dt, "keep": keep})[0].dtype == torch.bfloat16


def test_one_sentence():
    module = module_of(timed)
    x, signals = given_of(module)
    dt, keep = signals["dt"], signals["keep"]
    rows = pack_sequence([x[:, 0], x[:2, 1]])
    for error, call, needed in (
        (ValueError, lambda: module(x), ["no signals are given", "a dict of tensors for 'dt', 'keep'"]),
        (ValueError, lambda: module(x, signals={"dt": dt}), ["signals has 'dt'", "'dt', 'keep'"]),
        (ValueError, lambda: module(x, signals=[dt, keep]), ["signals has list"]),
        (ValueError, lambda: module(x, signals={"dt": dt[1:], "keep": keep}), ["signal 'dt'", "(5, 4)", "(6, 4)"]),
        (TypeError, lambda: module(x, signals={"dt": dt, "keep": 1.0}), ["signal 'keep' is float", "tensor"]),
        (RuntimeError, lambda: module(x, signals={"dt": dt.to("meta"), "keep": keep}), ["'dt' is on meta", "cpu"]),
        (ValueError, lambda: module(x, signals={"dt": rows, "keep": keep}), ["signal 'dt' is packed"]),
        (ValueError, lambda: module_of(normed)(x, signals={"dt": dt}), ["signals has 'dt'", "the cell has none"]),
        (ValueError, lambda: nbt.Recurrent(highway, 3, 4), ["takes x itself", "input_size = hidden_size"]),
        (ValueError, lambda: nbt.Recurrent(highway, 4, 4, 2, proj_size=2), ["takes x itself", "one layer"]),
        (ValueError, lambda: nbt.Recurrent(cells.lstm, 3, 4, proj_size=4), ["proj_size is 4"]),
    ):  # fmt: skip
        message_of(error, call, *needed)


@cell(gates="a b", states="h", called="a b")
def noisy_operands(a, b, h):
    keep, small = noise.bernoulli(1 - 1e-6), noise.normal(1e-3)
    a = sigmoid(a(keep * h + small))
    return tanh(a + b(a * h + small) + mean(small * h))


@pytest.mark.parametrize("made", [cells.gaussian_noise(cells.gru, 1e-3), noisy_operands], ids=lambda own: own.name)
def test_the_reference_of_a_projection_with_noise(made):
    module = nbt.Recurrent(made, 3, 5, proj_size=2, dtype=F64)
    x = torch.randn(4, 2, 3, dtype=F64)
    found = nbt.reference(module.eval())(x)[0]
    torch.testing.assert_close(found, module(x)[0])
    noisy = nbt.reference(module.train())(x)[0]
    assert 0 < (noisy - found).abs().max() < 0.01
    assert 0 < (module(x)[0] - found).abs().max() < 0.01
