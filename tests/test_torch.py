"""Modules of `nblstm.torch` against torch's own layers, and against their equations as operations of torch."""

import copy
import io
import warnings

import kinds_of_cells
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch, the extra 'torch'")
torch.set_num_threads(1)  # its threads watch for work without a break; processes of tests have no cores for that
from networks import waves  # noqa: E402
from processes import run_python  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils.rnn import pack_sequence  # noqa: E402

import nblstm.torch as nbt  # noqa: E402
from nblstm import cell, cells, sigmoid, tanh  # noqa: E402

F64 = torch.float64


@cell(gates="f g o", states="h c", vectors="p", initial={"c": 1.0})
def peephole(f, g, o, h, c, p):
    f = sigmoid(f + p * c)
    c = f * c + (1 - f) * tanh(g)
    return sigmoid(o) * tanh(c), c


@cell(gates="f g o", states="h c", output="c")
def output_not_first(f, g, o, h, c):
    c = sigmoid(f) * c + tanh(g)
    return sigmoid(o) * tanh(c), c


CELLS = [peephole, output_not_first, cells.gru_reset_before, cells.lstm_coupled, cells.rnn_with("softsign"), waves]
PAIRS = [("LSTM", {}), ("GRU", {}), ("RNN", {}), ("RNN", {"nonlinearity": "relu"})]
OPTIONS = [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}, {"num_layers": 3, "bias": False}]


def pair(name, options, **more):
    """One of torch's layers and ours, with the same parameters."""
    ours = getattr(nbt, name)(3, 5, **options, **more)
    torchs = getattr(nn, name)(3, 5, **options, **more)
    torchs.load_state_dict(ours.state_dict())
    return torchs, ours


def random(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype).requires_grad_()


def as_tuple(states):
    return states if isinstance(states, tuple) else (states,)


def results(module, x, hx=None, extra=(), **options):
    """Outputs, states, and the gradients of a loss of all of them."""
    y, states = module(x, hx, **options)
    rows = y.data if hasattr(y, "batch_sizes") else y
    loss = rows.sin().sum() + sum((k + 2) * (state * state).sum() for k, state in enumerate(as_tuple(states)))
    given = (x, *(as_tuple(hx) if hx is not None else ()), *extra)
    inputs = [tensor for tensor in given if isinstance(tensor, torch.Tensor)]
    return [rows, *as_tuple(states), *torch.autograd.grad(loss, [*inputs, *module.parameters()])]


def alike(one, other, bound=1e-12):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=bound, atol=bound)


@pytest.mark.parametrize(("name", "more"), PAIRS)
@pytest.mark.parametrize("options", OPTIONS)
def test_same_numbers_as_torch(name, more, options):
    torchs, ours = pair(name, options | more, dtype=F64)
    rows = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    for repeat in range(5):
        x = random(7, 4, 3, seed=repeat)
        B = 7 if options.get("batch_first") else 4
        hx = tuple(random(rows, B, 5, seed=k + 9) for k in range(2)) if name == "LSTM" else random(rows, B, 5, seed=9)
        alike(results(ours, x), results(torchs, x))
        alike(results(ours, x, hx), results(torchs, x, hx))
        x = random(7, 3, seed=repeat)
        hx = tuple(random(rows, 5, seed=k + 9) for k in range(2)) if name == "LSTM" else random(rows, 5, seed=9)
        alike(results(ours, x, hx), results(torchs, x, hx))


@pytest.mark.parametrize("options", OPTIONS)
def test_packed_sequences(options):
    torchs, ours = pair("LSTM", options, dtype=F64)
    rows = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    for lengths in [(4, 6, 1), (5, 3, 2), (6, 6, 6), (1, 1, 2)]:
        for ordered in {False, list(lengths) == sorted(lengths, reverse=True)}:
            x = [random(n, 3, seed=n) for n in lengths]
            hx = tuple(random(rows, 3, 5, seed=k) for k in range(2))
            found = [results(m, pack_sequence(x, enforce_sorted=ordered), hx, extra=x) for m in (ours, torchs)]
            alike(*found)


@pytest.mark.parametrize("own", CELLS, ids=lambda own: own.name)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("lengths", [None, [4, 0, 7, 2]])
def test_any_cell_against_its_equations(own, options, lengths):
    torch.manual_seed(1)
    ours = nbt.Recurrent(own, 3, 5, **options, dtype=F64)
    x = random(4, 7, 3) if options.get("batch_first") else random(7, 4, 3)
    for _ in range(5):
        alike(results(ours, x, lengths=lengths), results(nbt.reference(ours), x, lengths=lengths))


def test_names_shapes_and_initial_values_are_those_of_torch():
    for name, more in PAIRS:
        for options in OPTIONS:
            torch.manual_seed(3)
            torchs = getattr(nn, name)(3, 5, **options, **more)
            torch.manual_seed(3)
            ours = getattr(nbt, name)(3, 5, **options, **more)
            found, wanted = ours.state_dict(), torchs.state_dict()
            assert list(found) == list(wanted)
            for key, value in wanted.items():
                assert torch.equal(found[key], value)
            ours.load_state_dict(wanted)
            torchs.load_state_dict(found)
            torchs.flatten_parameters()
            ours.flatten_parameters()
            assert [[w.shape for w in layer] for layer in ours.all_weights] == [
                [w.shape for w in layer] for layer in torchs.all_weights
            ]


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("training", [True, False])
def test_cases_of_torch(name, training):
    pytest.importorskip("expecttest", reason="torch's own cases need expecttest")
    common = pytest.importorskip("torch.testing._internal.common_modules", reason="this torch lacks its own cases")
    (info,) = [info for info in common.module_db if info.module_cls is getattr(nn, name)]
    made = list(info.module_inputs_func(info, device="cpu", dtype=F64, requires_grad=True, training=training))
    done = 0
    for case in made:
        args, kwargs = case.constructor_input.args, case.constructor_input.kwargs
        torchs = getattr(nn, name)(*args, **kwargs, dtype=F64).train(training)
        ours = getattr(nbt, name)(*args, **kwargs, dtype=F64).train(training)
        ours.load_state_dict(torchs.state_dict())
        given, options = case.forward_input.args, case.forward_input.kwargs
        alike(*[results(module, *given, **options) for module in (ours, torchs)], bound=1e-9)
        done += 1
    assert done == len(made) >= 16


def test_gradcheck():
    module = nbt.Recurrent(peephole, 2, 3, num_layers=2, bidirectional=True, dtype=F64)
    names = list(dict(module.named_parameters()))
    states = [random(4, 2, 3, seed=k) for k in range(2)]

    def run(x, h, c, *parameters):
        y, (h, c) = torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x, (h, c)))
        return y, h, c

    assert torch.autograd.gradcheck(run, (random(4, 2, 2), *states, *module.parameters()))


def test_second_derivatives_and_transforms_are_the_reference_s():
    module = nbt.GRU(2, 3, dtype=F64)
    x = random(4, 2, 2)
    assert torch.autograd.gradgradcheck(lambda x: nbt.reference(module)(x)[0], (x,))
    (dx,) = torch.autograd.grad(module(x)[0].sum(), x, create_graph=True)
    for source in (x, module.weight_hh_l0):
        with pytest.raises(RuntimeError, match=r"differentiated again.*nblstm.torch.reference"):
            torch.autograd.grad(dx.sum(), source, retain_graph=True)
    with pytest.raises(RuntimeError, match=r"torch.func.*nblstm.torch.reference"):
        torch.func.grad(lambda x: module(x)[0].sum())(x)
    found = torch.func.grad(lambda x: nbt.reference(module)(x)[0].sum())(x)
    alike([found], [dx.detach()])


def test_gradients_where_they_are_wanted_alone():
    torchs, ours = pair("LSTM", {"num_layers": 2}, dtype=F64)
    for module in (torchs, ours):
        module.weight_hh_l0.requires_grad_(False)
    found = []
    for module in (torchs, ours):
        module.zero_grad()
        x = random(5, 2, 3).detach()
        module(x)[0].sum().backward()
        found.append([p.grad for p in module.parameters()])
    assert found[1][1] is None
    alike(*[[g for g in each if g is not None] for each in found])
    ours.requires_grad_(False)
    assert not ours(x)[0].requires_grad
    x = random(5, 2, 3)
    for module in (torchs, ours):
        module.requires_grad_(False)
    alike([torch.autograd.grad(ours(x)[0].sum(), x)[0]], [torch.autograd.grad(torchs(x)[0].sum(), x)[0]])
    with torch.no_grad():
        assert not ours(x)[0].requires_grad


def test_dropout_is_torch_s_generator_s():
    ours = nbt.LSTM(3, 40, num_layers=2, dropout=0.4)
    x = torch.ones(6, 9, 3)
    first = ours(x)[0]
    torch.manual_seed(5)
    seeded = ours(x)[0]
    torch.manual_seed(5)
    assert torch.equal(seeded, ours(x)[0])
    assert not torch.equal(first, seeded)
    with torch.no_grad():
        assert not torch.equal(ours(x)[0], ours(x)[0])  # as torch's own in training
    ours.eval()
    assert torch.equal(ours(x)[0], ours(x)[0])
    ours.train()
    ours.dropout = 0.0
    assert torch.equal(ours(x)[0], ours(x)[0])
    with pytest.warns(UserWarning, match="between layers"):
        nbt.GRU(3, 4, dropout=0.5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    ours = nbt.LSTM(3, 5).to(dtype)
    exact = copy.deepcopy(ours).float()
    x = random(6, 4, 3, dtype=dtype)
    y, (h, c) = ours(x)
    assert {y.dtype, h.dtype, c.dtype} == {dtype}
    assert torch.equal(y, exact(x.float())[0].to(dtype))
    y.float().sum().backward()
    assert ours.weight_ih_l0.grad.dtype == dtype
    assert x.grad is None or x.grad.dtype == dtype


def test_autocast():
    ours, head = nbt.GRU(4, 5), nn.Linear(3, 4)
    x = random(6, 2, 3, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inner = head(x)
        y, h = ours(inner)
    assert inner.dtype == torch.bfloat16
    assert y.dtype == h.dtype == torch.float32
    assert torch.equal(y, ours(inner.float())[0])
    y.sum().backward()
    assert head.weight.grad is not None


def test_parameters_may_be_replaced_moved_and_copied():
    torchs, ours = pair("LSTM", {"num_layers": 2})
    x = random(5, 2, 3, dtype=torch.float32)

    def check():
        torchs.load_state_dict(ours.state_dict())
        alike(results(ours, x), results(torchs, x), bound=1e-5)

    for _ in range(3):
        check()
        with torch.no_grad():
            ours.weight_hh_l0.mul_(1.5)  # in place
        check()
        ours.weight_hh_l0.data = ours.weight_hh_l0.data.clone().neg_()  # other memory
        check()
        ours.weight_ih_l0.data.copy_(torch.randn(20, 3))  # no new version
        check()
        ours.weight_hh_l1.data = torch.randn(5, 20).t()  # not contiguous
        check()
        ours.bias_ih_l0 = nn.Parameter(torch.randn(20))
        check()
    ours.weight_hh_l0.data = ours.weight_hh_l0.data[:8]
    with pytest.raises(ValueError, match=r"weight_hh_l0 has shape \(8, 5\); it is \(20, 5\)"):
        ours(x)
    ours = nbt.LSTM(3, 5, num_layers=2)
    other = copy.deepcopy(ours)
    with torch.no_grad():
        other.weight_hh_l0.zero_()
    assert not torch.equal(ours(x)[0], other(x)[0])
    ours.double()
    torchs.double().load_state_dict(ours.state_dict())
    alike(results(ours, x.double()), results(torchs, x.double()))
    ours.float()
    check = ours(x)[0]
    file = io.BytesIO()
    torch.save(ours, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert torch.equal(again(x)[0], check)
    assert isinstance(again.cell, cells.Cell)


def test_in_place_changes_between_forward_and_backward_change_no_gradient():
    for _ in range(3):
        torch.manual_seed(0)
        ours = nbt.LSTM(3, 5, dtype=F64)
        x = torch.randn(4, 2, 3, dtype=F64)
        wanted = torch.autograd.grad(ours(x)[0].relu().sum(), ours.weight_hh_l0)[0]
        y, _ = ours(x)
        with torch.no_grad():
            ours.weight_hh_l0.zero_()
        x.zero_()
        loss = torch.relu_(y).sum()
        alike([torch.autograd.grad(loss, ours.weight_hh_l0)[0]], [wanted])


def test_graph_can_be_walked_again_if_kept():
    ours = nbt.GRU(3, 5)
    x = random(4, 2, 3, dtype=torch.float32)
    loss = ours(x)[0].sum()
    one = torch.autograd.grad(loss, x, retain_graph=True)
    other = torch.autograd.grad(loss, x)
    alike(one, other)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, x)


def test_a_module_called_twice_in_one_graph():
    torchs, ours = pair("GRU", {}, dtype=F64)
    x = random(4, 2, 3)
    found = []
    for module in (ours, torchs):
        first, h = module(x)
        second, _ = module(x.flip(0) * first[..., :3], h)
        found.append(torch.autograd.grad((first * second).sum(), [x, *module.parameters()]))
    alike(*found)


def test_weight_norm():
    torchs, ours = pair("LSTM", {}, dtype=F64)
    x = random(4, 2, 3)
    for name in ("weight_hh_l0", "weight_ih_l0"):
        for module in (torchs, ours):
            nn.utils.parametrizations.weight_norm(module, name)
    order = dict(ours.named_parameters())
    loss = [module(x)[0].sin().sum() for module in (torchs, ours)]
    for key in order:
        alike(torch.autograd.grad(loss[1], dict(ours.named_parameters())[key], retain_graph=True),
              torch.autograd.grad(loss[0], dict(torchs.named_parameters())[key], retain_graph=True))  # fmt: skip


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.stack = nn.ModuleDict({"lstm": nn.LSTM(6, 7, num_layers=2, bidirectional=True, batch_first=True)})
        self.gru = nn.GRU(14, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, words):
        self.stack["lstm"].flatten_parameters()
        return self.head(self.gru(self.stack["lstm"](self.embed(words))[0])[1][0])


def test_a_converted_model_trains_the_same_losses():
    torch.manual_seed(0)
    models = [Tagger().double()]
    models.append(copy.deepcopy(models[0]))
    before = dict(models[1].named_parameters())
    done = nbt.convert(models[1])
    assert done.model is models[1]
    assert (done.replaced, done.left) == (["stack.lstm", "gru"], {})
    assert isinstance(models[1].gru, nbt.GRU)
    assert {k: id(v) for k, v in models[1].named_parameters()} == {k: id(v) for k, v in before.items()}
    words, tags = torch.randint(11, (9, 4)), torch.randint(3, (9,))
    losses = []
    for model in models:
        optimizer, own = torch.optim.Adam(model.parameters(), 1e-2), []
        for _ in range(20):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(words), tags)
            loss.backward()
            optimizer.step()
            own.append(loss.item())
        losses.append(own)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-9)
    assert losses[0][-1] < 0.7 * losses[0][0]


def test_convert_leaves_alone_what_it_cannot_do():
    class Own(nn.LSTM):
        def forward(self, x):
            return super().forward(x)[0]

    shared, more = nn.GRU(2, 2), nn.LSTM(2, 2)
    more.register_buffer("scale", torch.ones(1))
    more.tag = "mine"
    normed = nn.utils.parametrizations.weight_norm(nn.LSTM(2, 3), "weight_hh_l0")
    model = nn.ModuleDict({
        "more": more, "own": Own(2, 2), "normed": normed, "one": shared,
        "two": shared, "cell": nn.LSTMCell(2, 3),
    })  # fmt: skip
    done = nbt.convert(model)
    assert done.replaced == ["one", "two"]
    assert model["one"] is model["two"]
    assert {name: reason[:20] for name, reason in done.left.items()} == {
        "cell": "it is a LSTMCell, on",
        "more": "it has 'scale', 'tag", "own": "it is a Own, whose o",
        "normed": "some parameters are ",
    }  # fmt: skip
    assert isinstance(nbt.convert(nn.RNN(2, 3)).model, nbt.RNN)
    with pytest.raises(TypeError, match=r"give a torch\.nn\.Module"):
        nbt.convert(3)
    hooked = nn.Sequential(nn.GRU(2, 3))
    seen = []
    hooked[0].register_forward_hook(lambda module, args, output: seen.append(type(module)))
    hooked[0].register_full_backward_hook(lambda module, d_input, d_output: seen.append("backward"))
    nbt.convert(hooked)
    hooked(torch.zeros(4, 1, 2, requires_grad=True))[0].sum().backward()
    assert seen == [nbt.GRU, "backward"]


def test_streaming_and_numpy():
    for ours in (nbt.LSTM(3, 5, num_layers=2, batch_first=True), nbt.GRU(3, 5), nbt.Recurrent(peephole, 3, 5).double()):
        dtype = ours.weight_ih_l0.dtype
        x = torch.randn(6, 3, dtype=dtype)
        wanted, states = ours(x)
        step = ours.stepper()
        found = torch.stack([step(row) for row in x])
        alike([found], [wanted.detach()], bound=1e-6)
        found_states, wanted_states = as_tuple(step.state), as_tuple(states)
        alike([state[:, 0] for state in found_states], [state.detach() for state in wanted_states], bound=1e-6)
        step.state = step.state
        step.reset()
        assert torch.equal(step(x[0]), found[0])
        for before in (ours(x[:2]), ours(x[:2].unsqueeze(0 if ours.batch_first else 1))):  # without and with a batch
            step.reset(before[1])
            alike([step(x[2])], [found[2]], bound=1e-6)
        network = ours.to_nn()
        np.testing.assert_allclose(network(x.numpy())[0], wanted.detach().numpy(), rtol=1e-6, atol=1e-7)
        with nbt.frozen(nn.Sequential(ours)), torch.no_grad():
            assert torch.equal(ours(x)[0], wanted.detach())
            ours.weight_ih_l0.data.zero_()  # not seen, as the caller has promised that it does not happen
            assert torch.equal(ours(x)[0], wanted.detach())
            with nbt.frozen(ours):
                pass
            assert torch.equal(ours(x)[0], wanted.detach())  # an inner one ends itself alone
            with torch.enable_grad():
                assert not torch.equal(ours(x)[0], wanted)  # passes for gradients have the parameters as they are
        assert not torch.equal(ours(x)[0], wanted)


def test_streaming_with_signals():
    made = kinds_of_cells.CELLS["decay"]
    for ours in (nbt.Recurrent(made, 3, 6), nbt.Recurrent(made, 3, 6).bfloat16()):
        dtype, network = ours.weight_ih_l0.dtype, ours.to_nn()
        x, dt, keep = torch.rand(4, 1, 3).to(dtype), torch.rand(4, 1).to(dtype), torch.rand(4, 1, 6).to(dtype)
        step, theirs = ours.stepper(), network.stepper()
        for t in range(4):
            y = step(x[t], signals={"dt": dt[t], "keep": keep[t]})
            numbers = {"dt": dt[t].float().numpy(), "keep": keep[t].float().numpy()}
            assert torch.equal(y, torch.from_numpy(theirs(x[t].float().numpy(), signals=numbers)).to(dtype))
        one = step(x[0, 0], signals={"dt": 0.5, "keep": keep[0, 0]})
        assert one.shape == (6,)
        with pytest.raises(TypeError, match=r"^signals\['dt'\] is list; give a tensor of torch"):
            step(x[0], signals={"dt": [0.5], "keep": 1.0})
        with pytest.raises(ValueError, match=r"^no signals are given; give a dict of arrays for 'dt', 'keep'"):
            step(x[0])


def test_repr():
    assert (
        repr(nbt.LSTM(3, 5, num_layers=2, batch_first=True))
        == "nblstm.torch.LSTM(3, 5, num_layers=2, batch_first=True)"
    )
    assert repr(nbt.Recurrent(peephole, 3, 5)) == "nblstm.torch.Recurrent(cell=peephole, 3, 5)"
    assert (
        repr(nbt.RNN(3, 5, bias=False, nonlinearity="relu")) == "nblstm.torch.RNN(3, 5, bias=False, nonlinearity=relu)"
    )
    assert repr(nbt.GRU(3, 5).stepper()) == "<Stepper of nblstm.torch.GRU(3, 5)>"


def test_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = nbt.LSTM(3, 5)
        for _ in range(3):
            ours(torch.zeros(4, 2, 3))[0].sum().backward()


def test_kernels_run_on_torch_s_threads_with_the_same_bits(tmp_path):
    task = """
import sys, torch
torch.set_num_threads(int(sys.argv[1]))
import nblstm.torch
if len(sys.argv) > 3:
    nblstm.set_num_threads(int(sys.argv[1]))
from nblstm.cpu import threads
torch.manual_seed(0)
found = []
for lengths in (None, [20, 3, 9, 20, 0] * 9):
    for B in (45, 1):
        lstm = nblstm.torch.LSTM(40, 164, num_layers=2, bidirectional=True)
        for _ in range(4):
            x = torch.randn(20, B, 40, requires_grad=True)
            y, _ = lstm(x, lengths=lengths if B > 1 else None)
            y.sin().sum().backward()
            found += [y.detach(), x.grad, lstm.weight_hh_l0.grad.clone()]
torch.save(found, sys.argv[2])
print(threads.num_threads(), type(threads._workers).__name__)
torch.set_num_threads(1)
lstm(torch.randn(2, 1, 40))
print(threads.num_threads())
"""
    teams, found = [], []
    for count in (1, 2, 5):
        path = tmp_path / f"{count}.pt"
        teams.append(run_python(task, str(count), str(path), *["set"] * (count == 5)).split())
        found.append(torch.load(path, weights_only=True))
    assert teams[0] == ["1", "NoneType", "1"]
    if torch.backends.openmp.is_available():
        assert teams[1:] == [["2", "_Team", "1"], ["5", "_Team", "5"]]  # what nblstm was given stays
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert torch.equal(one, two)


def test_tensors_stay_as_torch_has_them():
    torchs, ours = pair("LSTM", {}, dtype=F64)
    x = torch.randn(5, 2, 3, dtype=F64, requires_grad=True)
    y, _ = ours(x)
    y.sum().backward()
    for tensor in (x, ours.weight_ih_l0):
        tensor.detach().untyped_storage().resize_(4096)  # as FSDP does; after tensor.numpy() torch refuses it
    steps = torch.tensor([3, 9, 1, 9])[::2]  # not contiguous
    rows = torch.randn(4, 3, dtype=F64)
    torchs.load_state_dict(ours.state_dict())
    found = [
        ours(nn.utils.rnn.PackedSequence(rows, steps)),
        torchs(nn.utils.rnn.PackedSequence(rows, steps.contiguous())),
    ]
    alike(*[[y.data, *states] for y, states in found])
    negative = torch.randn(5, 2, 3, dtype=torch.complex128).conj().imag
    assert negative.is_neg()
    alike([ours(negative)[0]], [torchs(negative)[0]])


def test_single_rows_see_each_change_of_the_parameters():
    torchs, ours = pair("LSTM", {"num_layers": 2}, dtype=F64)
    x = torch.randn(1, 1, 3, dtype=F64)
    with torch.no_grad():
        for change in range(6):
            weight = list(ours.parameters())[change % 8]
            (weight if change % 2 else weight.data).view(-1)[-1] += 1  # the last number alone
            torchs.load_state_dict(ours.state_dict())
            for _ in range(3):
                alike([ours(x)[0]], [torchs(x)[0]])
