"""Modules of `nblstm.torch` under what torch does with programs: compilation, export, checkpoints, distribution."""

import gc
import io
import json
import warnings

import pytest

torch = pytest.importorskip("torch", reason="needs torch, the extra 'torch'")
torch.set_num_threads(1)  # its threads watch for work without a break; processes of tests have no cores for that
from torch import nn  # noqa: E402
from torch.autograd.graph import save_on_cpu  # noqa: E402
from torch.nn.utils.rnn import pack_sequence  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import nblstm.torch as nbt  # noqa: E402
from nblstm import cell, cells, sigmoid, tanh  # noqa: E402
from nblstm.engine.lookup import TRAINING  # noqa: E402
from nblstm.torch.description import described, network_from  # noqa: E402

F64 = torch.float64


@cell(gates="f g o", states="h c", vectors="p")
def peephole(f, g, o, h, c, p):
    f = sigmoid(f + p * c)
    c = f * c + (1 - f) * tanh(g)
    return sigmoid(o) * tanh(c), c


def network(**options):
    torch.manual_seed(0)
    return nbt.Recurrent(peephole, 3, 5, num_layers=2, bidirectional=True, dtype=F64, **options)


def loss_of(module, x, hx=None, lengths=None):
    y, (h, c) = module(x, hx, lengths)
    return y.sin().sum() + (h * c).sum()


def gradients(loss, module, *inputs):
    return torch.autograd.grad(loss, [*inputs, *module.parameters()])


def alike(one, other, bound=1e-12):
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=bound, atol=bound)


@pytest.fixture
def compiler():
    torch._dynamo.reset()
    with warnings.catch_warnings():  # torch's own
        warnings.simplefilter("ignore")
        yield lambda function: torch.compile(function, backend="aot_eager", fullgraph=True, dynamic=True)
    torch._dynamo.reset()


def test_compiled_whole(compiler):
    module = network()
    run = compiler(lambda x, h, c: loss_of(module, x, (h, c)))
    plain = compiler(lambda x: loss_of(module, x))
    for T, B in [(6, 4), (3, 2), (9, 5)]:
        x = torch.randn(T, B, 3, dtype=F64, requires_grad=True)
        h, c = (torch.randn(4, B, 5, dtype=F64, requires_grad=True) for _ in range(2))
        alike(gradients(run(x, h, c), module, x, h, c), gradients(loss_of(module, x, (h, c)), module, x, h, c))
        alike(gradients(plain(x), module, x), gradients(loss_of(module, x), module, x))
        with torch.no_grad():
            alike([plain(x)], [loss_of(module, x)])


def test_compiled_with_lengths(compiler):
    module = network()
    run = compiler(lambda x, lengths: loss_of(module, x, lengths=lengths))
    for lengths in ([6, 0, 3], [1, 6, 6], [2, 2, 2]):
        x = torch.randn(6, 3, 3, dtype=F64, requires_grad=True)
        found = gradients(run(x, torch.tensor(lengths)), module, x)
        alike(found, gradients(loss_of(module, x, None, lengths), module, x))


def test_compiled_with_packed_sequences():
    torch._dynamo.reset()
    module = network()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = torch.compile(module, backend="aot_eager")  # pack_padded_sequence itself breaks the graph
        for lengths in ((2, 5, 3), (4, 4, 1), (1, 2, 6)):
            x = [torch.randn(n, 3, dtype=F64, requires_grad=True) for n in lengths]
            found = []
            for call in (run, module):
                y, (h, c) = call(pack_sequence(x, enforce_sorted=False))
                found.append(gradients(y.data.sin().sum() + (h * c).sum(), module, *x))
            alike(*found)
    torch._dynamo.reset()


def test_compiled_with_dropout(compiler):
    module = network(dropout=0.5)
    run = compiler(lambda x: module(x)[0])
    x = torch.randn(6, 4, 3, dtype=F64, requires_grad=True)
    torch.manual_seed(1)
    one = run(x)
    torch.manual_seed(1)
    assert torch.equal(one, run(x))
    assert not torch.equal(one, run(x))
    module.eval()
    assert torch.equal(run(x), run(x))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:At pre-dispatch tracing")  # by torch 2.4, of itself
def test_exported():
    module = network()
    x = torch.randn(6, 4, 3, dtype=F64)
    dims = {0: torch.export.Dim("T"), 1: torch.export.Dim("B")}
    program = torch.export.export(module, (x,), dynamic_shapes=(dims,))
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert [name for name in called if "nblstm" in name] == ["nblstm.forward.default"]
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    again = torch.export.load(file).module()
    for T, B in [(6, 4), (5, 2)]:
        x = torch.randn(T, B, 3, dtype=F64)
        assert torch.equal(again(x)[0], module(x)[0])


def test_a_network_as_text_is_made_anew_in_another_process():
    for own in (peephole, cells.lstm, cells.gru_reset_before, cells.rnn_with("gelu")):
        module = nbt.Recurrent(own, 3, 5, num_layers=2, bias=False, dropout=0.1, bidirectional=True)
        text = module._texts[torch.float32]
        found = network_from(text)
        assert found.cell is own  # this process knows it
        assert described(found) == text
    for code in (
        "__import__('os').system('true')", "().__class__", "[1 for _ in ()]", "open('x')", "(lambda: 1)()",
        "h ** 9 ** 9", "eval('1')", "h.__class__", "'text'", "10 ** 400", "operand(1)",
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"the equations have .* in them, which nblstm does not write"):
            network_from(text.replace("return", f"new_x = {code}\\n    return", 1))
    made = json.loads(text)
    for equations in (
        "def f(eval):\n    return 1\ndef equations(a, h):\n    return eval('1')\n", "x = 1", "import os",
        "def equations(a, h=eval('1')):\n    return h\n", "@eval\ndef equations(a, h):\n    return h\n", "def (",
        "def equations(a, h):\n    def eval(x):\n        return x\n    return eval('1')\n", "(" * 500,
    ):  # fmt: skip
        with pytest.raises(ValueError, match="the equations"):
            network_from(json.dumps(made | {"cell": made["cell"] | {"equations": equations}}))
    for group in range(1, 6):
        declared = list(made["cell"]["declared"])
        declared[group] = ["x=__import__('os')"]
        with pytest.raises(ValueError, match="where a name is"):
            network_from(json.dumps(made | {"cell": made["cell"] | {"declared": declared}}))
    wrong = [json.dumps(made | {"dtype": "complex64"}), json.dumps(made | {"sizes": [1, 0, 1]})]
    for damaged in ("", "[]", "{}", "{", *wrong):
        with pytest.raises(ValueError, match=r"damaged|dtype is complex64|H is 0"):
            network_from(damaged)


def test_operators_are_as_torch_wants_them():
    module = network()
    text, weights = module._texts[F64], list(module.parameters())
    plain = [weight.detach() for weight in weights]
    x = torch.randn(6, 3, 3, dtype=F64, requires_grad=True)
    states = [torch.randn(4, 3, 5, dtype=F64, requires_grad=True) for _ in range(2)]
    own = torch.ops.nblstm
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for lengths in (None, torch.tensor([6, 0, 2])):
            for seed, rate in ((None, 0.0), (torch.tensor([3]), 0.3)):
                torch.library.opcheck(own.forward.default, (x, states, [], weights, lengths, seed, rate, text))
            torch.library.opcheck(
                own.infer.default, (x.detach(), [s.detach() for s in states], [], plain, lengths, text)
            )
            y, h, _, reserve = own.forward(x.detach(), [], [], plain, lengths, None, 0.0, text)
            for dx, dweights in ((True, True), (True, False), (False, True)):
                given = (
                    reserve,
                    plain,
                    torch.randn_like(y),
                    [None, torch.randn_like(h)],
                    6,
                    3,
                    dx,
                    dweights,
                    [],
                    0.0,
                    text,
                )
                torch.library.opcheck(own.backward.default, given)


@pytest.mark.filterwarnings("ignore:.*autocast:FutureWarning")  # by torch 2.4, of itself
@pytest.mark.parametrize("lengths", [None, [6, 0, 2]])
def test_checkpoints_and_hooks_see_the_tape(lengths):
    module = network(dropout=0.5)
    x = torch.randn(6, 3, 3, dtype=F64, requires_grad=True)

    def run(x):
        return loss_of(module, x, None, lengths)

    torch.manual_seed(2)
    wanted = gradients(run(x), module, x)
    for reentrant in (True, False):
        torch.manual_seed(2)
        module.zero_grad()
        x.grad = None
        checkpoint(run, x, use_reentrant=reentrant).backward()
        alike([x.grad, *(p.grad for p in module.parameters())], wanted)
    torch.manual_seed(2)
    with save_on_cpu():
        loss = run(x)
    alike(gradients(loss, module, x), wanted)
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (sizes.append(t.nbytes), t)[1], lambda t: t):
        run(x)
    if hasattr(torch._C._autograd, "_top_saved_tensors_default_hooks"):  # else the module does not know of hooks
        assert max(sizes) > 6 * 3 * 5 * 8 * 4  # what BPTT reads


def test_hooks_and_packed_sequences():
    module = network()
    rows = [torch.randn(n, 3, dtype=F64, requires_grad=True) for n in (2, 5, 3)]

    def run():
        y, (h, c) = module(pack_sequence(rows, enforce_sorted=False))
        return y.data.sin().sum() + (h * c).sum()

    wanted = gradients(run(), module, *rows)
    with save_on_cpu():
        loss = run()
    alike(gradients(loss, module, *rows), wanted)


def test_distributed_data_parallel(tmp_path):
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        module = network()
        x = torch.randn(6, 3, 3, dtype=F64)
        wanted = gradients(loss_of(module, x), module)
        spread = nn.parallel.DistributedDataParallel(module)
        for _ in range(3):
            module.zero_grad()
            loss_of(spread, x).backward()
            alike([p.grad for p in module.parameters()], wanted)
    finally:
        distributed.destroy_process_group()


def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def test_memory_does_not_grow(recwarn):
    pytest.importorskip("resource", reason="reads /proc, which this system lacks")
    module, head = nbt.LSTM(4, 8), nn.Linear(8, 1)
    optimizer = torch.optim.Adam([*module.parameters(), *head.parameters()])
    x = torch.randn(6, 5, 4)
    losses = []

    def train(steps):
        for _ in range(steps):
            optimizer.zero_grad()
            loss = head(module(x)[0]).square().mean()
            loss.backward()
            optimizer.step()
            losses[:] = [loss]

    train(300)
    gc.collect()
    before = resident()
    train(3000)
    gc.collect()
    assert resident() - before < 4


def test_a_pass_is_used_again_while_the_last_loss_is_alive():
    module = nbt.LSTM(4, 8)
    kept = []
    for _ in range(8):
        loss = module(torch.ones(6, 5, 4))[0].sum()
        loss.backward()
        kept.append(loss)  # each holds its graph, not its pass
    free = module._networks[torch.float32].pool.get(((6, 5, 4), TRAINING))
    assert free is not None
    assert sum(made() is not None for made in free._made) == 1
