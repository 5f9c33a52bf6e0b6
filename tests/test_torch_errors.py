"""What `nblstm.torch` says to what it is not made for."""

import pytest

torch = pytest.importorskip("torch", reason="needs torch, the extra 'torch'")
torch.set_num_threads(1)  # its threads watch for work without a break; processes of tests have no cores for that
from messages import message_of  # noqa: E402
from torch.autograd import forward_ad  # noqa: E402
from torch.nn.utils.rnn import PackedSequence, pack_sequence  # noqa: E402

import nblstm.torch as nbt  # noqa: E402
from nblstm import cells  # noqa: E402

LSTM, GRU = nbt.LSTM(3, 5), nbt.GRU(3, 5, num_layers=2)
X = torch.zeros(6, 4, 3)


def mixed():
    lstm = nbt.LSTM(3, 5)
    lstm.weight_hh_l0.data = lstm.weight_hh_l0.data.double()
    return lstm


def dual(module):
    with forward_ad.dual_level():
        return module(forward_ad.make_dual(X, X))


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("error", "call", "needed"),
    [
        (ValueError, lambda: LSTM(torch.zeros(6, 4, 2)), ["(6, 4, 2)", "(T, B, I) with I = 3"]),
        (ValueError, lambda: LSTM(torch.zeros(3)), ["(3,)", "(T, I)"]),
        (TypeError, lambda: LSTM(X.numpy()), ["ndarray", "tensor", "nblstm.nn"]),
        (TypeError, lambda: LSTM(X.double()), ["torch.float64", "torch.float32", ".to()"]),
        (TypeError, lambda: LSTM(X.long()), ["torch.int64", "torch.float32"]),
        (ValueError, lambda: LSTM(X, torch.zeros(1, 4, 5)), ["hx is a Tensor", "tuple of 2 tensors (h, c)"]),
        (ValueError, lambda: LSTM(X, (torch.zeros(1, 4, 5),)), ["hx is a tuple of 1", "tuple of 2 tensors (h, c)"]),
        (ValueError, lambda: LSTM(X, (torch.zeros(1, 3, 5),) * 2), ["hx 'h'", "(1, 3, 5)", "(1, 4, 5)"]),
        (ValueError, lambda: LSTM(X[:, 0], (torch.zeros(1, 1, 5),) * 2), ["hx 'h'", "(1, 1, 5)", "(1, 5)"]),
        (RuntimeError, lambda: LSTM(X, (torch.zeros(1, 4, 5, device="meta"),) * 2), ["hx 'h'", "meta", "cpu"]),
        (TypeError, lambda: LSTM(X.to_sparse()), ["sparse"]),
        (TypeError, lambda: LSTM(X, (None, torch.zeros(1, 4, 5))), ["hx has a NoneType", "tensors (h, c)"]),
        (TypeError, lambda: LSTM(X, (torch.zeros(1, 4, 5).double(),) * 2), ["hx is torch.float64"]),
        (TypeError, lambda: GRU(X, (torch.zeros(2, 4, 5),)), ["hx has a tuple", "a tensor"]),
        (ValueError, lambda: GRU(X, torch.zeros(1, 4, 5)), ["(1, 4, 5)", "(2, 4, 5)"]),
        (ValueError, lambda: LSTM(X, lengths=[6, 7, 1, 0]), ["lengths", "7"]),
        (ValueError, lambda: LSTM(X, lengths=[6, 1, 0]), ["lengths"]),
        (ValueError, lambda: LSTM(pack_sequence([X[:, 0]]), lengths=[6]), ["lengths", "PackedSequence"]),
        (
            ValueError,
            lambda: LSTM(pack_sequence([X[:, 0], X[:3, 0]]), (torch.zeros(1, 3, 5),) * 2),
            ["state 'h'", "(1, 3, 5)", "(1, 2, 5)"],
        ),
        (ValueError, lambda: LSTM(PackedSequence(torch.zeros(4, 3), torch.tensor([1, 3]))), ["batch_sizes", "[1, 3]"]),
        (ValueError, lambda: LSTM(PackedSequence(torch.zeros(4, 3), torch.tensor([3, 2]))), ["(4, 3)", "(5, 3)"]),
        (ValueError, lambda: LSTM(PackedSequence(torch.zeros(3, 3), torch.tensor([2, 1]).int())), ["int32", "int64"]),
        (ValueError, lambda: LSTM(PackedSequence(torch.zeros(1, 3), torch.tensor([9, -8]))), ["[9, -8]"]),
        (
            ValueError,
            lambda: LSTM(
                PackedSequence(torch.zeros(3, 3), torch.tensor([2, 1]), torch.tensor([0, 5]), torch.tensor([0, 1]))
            ),
            ["sorted_indices", "[0, 5]"],
        ),
        (TypeError, lambda: LSTM(X, lengths=torch.tensor([6.0, 1, 0, 2])), ["lengths are torch.float32"]),
        (RuntimeError, lambda: nbt.LSTM(3, 5, device="meta")(X), ["weight_ih_l0", "meta"]),
        (ValueError, lambda: nbt.LSTM(3, 5, proj_size=5), ["proj_size is 5", "fewer features"]),
        (
            ValueError,
            lambda: nbt.LSTM(3, 5, proj_size=2)(X, (torch.zeros(1, 4, 5),) * 2),
            ["hx 'h'", "(1, 4, 2)", "P)"],
        ),
        (ValueError, lambda: nbt.LSTM(3, 0), ["hidden_size is 0"]),
        (ValueError, lambda: nbt.LSTM(3, 5, dropout=1.0), ["dropout is 1.0"]),
        (ValueError, lambda: nbt.LSTM(3, 5, dtype=torch.int8), ["torch.int8", "torch.float32"]),
        (ValueError, lambda: nbt.RNN(3, 5, nonlinearity="gelu"), ["'gelu'", "Recurrent"]),
        (TypeError, lambda: nbt.Recurrent("lstm", 3, 5), ["'lstm'", "nblstm.cells"]),
        (TypeError, lambda: nbt.reference(torch.nn.LSTM(3, 5)), ["LSTM", "nblstm.torch"]),
        (ValueError, lambda: nbt.LSTM(3, 5, bidirectional=True).stepper(), ["bidirectional"]),
        (TypeError, lambda: LSTM.stepper()([0.0, 1.0, 2.0]), ["list", "tensor"]),
        (TypeError, lambda: LSTM.stepper()(X[0, :1].double()), ["x_t is torch.float64", "torch.float32"]),
        (TypeError, lambda: LSTM.stepper().reset((X.numpy(), X)), ["a state is ndarray", "tensor"]),
        (RuntimeError, lambda: nbt.LSTM(3, 5, device="meta").stepper(), ["meta", "to_empty()"]),
        (ValueError, lambda: nbt.frozen(torch.nn.LSTM(3, 5)).__enter__(), ["LSTM", "nblstm.torch"]),
        (ValueError, lambda: nbt.frozen(None).__enter__(), ["NoneType"]),
        (TypeError, lambda: nbt.reference(LSTM)(X.numpy()), ["ndarray"]),
        (TypeError, lambda: mixed()(X), ["weight_hh_l0", "torch.float64", "torch.float32", ".to()"]),
        (
            RuntimeError,
            lambda: torch.autograd.grad(LSTM(X)[0], LSTM.bias_ih_l0, torch.zeros(2, 6, 4, 5), is_grads_batched=True),
            ["is_grads_batched", "reference"],
        ),
        (RuntimeError, lambda: torch.jit.trace(LSTM, X, check_trace=False), ["torch.jit", "torch.export"]),
        (RuntimeError, lambda: torch.jit.script(torch.nn.Sequential(LSTM)), ["torch.jit", "torch.export"]),
        (RuntimeError, lambda: dual(LSTM), ["forward-mode", "reference"]),
        (RuntimeError, lambda: torch.func.vmap(LSTM)(torch.zeros(2, 6, 4, 3)), ["torch.func", "reference"]),
    ],
)
def test_one_sentence(error, call, needed):
    message_of(error, call, *needed)


def test_dropout_with_one_layer_warns_of_the_user_s_line():
    lstm = nbt.LSTM(3, 5)
    for make in (lambda: nbt.LSTM(3, 5, dropout=0.5), lambda: setattr(lstm, "dropout", 0.5)):
        with pytest.warns(UserWarning, match="dropout is 0.5 with one layer") as caught:
            make()
        assert caught[0].filename == __file__


def test_a_call_that_fails_changes_nothing():
    lstm = nbt.Recurrent(cells.lstm, 3, 5)
    before = lstm(X)[0]
    with pytest.raises(ValueError, match="hx"):
        lstm(X, (torch.zeros(1, 2, 5),) * 2)
    with pytest.raises(ValueError, match="dropout"):
        lstm.dropout = 2
    assert lstm.dropout == 0
    assert torch.equal(before, lstm(X)[0])


def test_wrong_shapes_of_the_reference_and_of_operators_are_refused_too():
    with pytest.raises(ValueError, match=r"state 'h'.*\(1, 3, 5\)"):
        torch.ops.nblstm.infer(
            X, [torch.zeros(1, 3, 5)] * 2, [], list(LSTM.parameters()), None, LSTM._texts[torch.float32]
        )
    with pytest.raises(ValueError, match="weight_ih_l0 has shape"):
        torch.ops.nblstm.infer(X, [], [], list(GRU.parameters())[:4], None, LSTM._texts[torch.float32])
