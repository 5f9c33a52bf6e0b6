"""A GPU against the CPU at the sizes that people use. It needs one, so pytest has to be told this file's name."""

import numpy as np
import pytest
from backends import chosen
from tolerances import GRADIENT, OUTPUT, assert_close

import nblstm.cuda
from nblstm import cells, nn

REASON = nblstm.cuda.unavailable()
assert REASON is None, f"no GPU to test: {REASON}"

#: (T, B, I, H, layers, bidirectional, ragged): each kind of kernel, and T beyond 16 bits.
SIZES = [
    (100, 1, 64, 64, 1, False, False), (100, 33, 57, 100, 2, True, True), (50, 128, 128, 128, 1, False, False),
    (64, 64, 256, 256, 2, True, True), (50, 16, 512, 512, 1, False, True), (64, 16, 768, 768, 1, False, False),
    (20, 17, 1024, 1024, 1, False, True), (10, 8, 64, 2048, 1, False, False), (70_000, 1, 2, 16, 1, True, False),
]  # fmt: skip


def results(device, dtype, cell, size, run=1):
    """Everything that a training pass computes, run after run."""
    T, B, I, H, layers, bidirectional, ragged = size
    rng = np.random.default_rng(0)
    net = nn.Recurrent(cell, I, H, layers, bidirectional=bidirectional, dtype=dtype, device=device, seed=0)
    single = nn.Recurrent(cell, I, H, layers, bidirectional=bidirectional, device="cpu", seed=0).state_dict()
    net.load_state_dict(single)  # the same numbers in either dtype
    x = rng.normal(size=(T, B, I)).astype("float32")
    lengths = rng.integers(0, T, B, endpoint=True) if ragged else None
    dy = rng.normal(size=(T, B, H * (1 + bidirectional))).astype("float32")
    made = []
    for _ in range(run):
        y, states, tape = net.forward(x, None, lengths)
        gradients = net.backward(tape, dy)
        made.append(([y, *states], [gradients.flat, gradients.x, *gradients.state]))
    return made


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before", "lstm_peephole", "rnn_tanh"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "T{}-B{}-I{}-H{}-L{}".format(*size))
def test_against_the_cpu_in_float64(cell, size):
    if cell != "lstm" and size[0] == 70_000:
        pytest.skip("one cell is enough for a long sequence")
    made = getattr(cells, cell)
    ((outputs, gradients),) = results("cpu", "float64", made, size)
    ours = results("cuda", "float32", made, size, run=2)
    for group, expected, tolerance in ((0, outputs, OUTPUT), (1, gradients, GRADIENT)):
        for one, again, truth in zip(ours[0][group], ours[1][group], expected, strict=True):
            assert_close(one, truth, tolerance["float32"])
            np.testing.assert_array_equal(one, again)  # the same bits from run to run


def test_arrays_stay_on_the_gpu():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    with chosen("cuda"):
        net = nn.LSTM(5, 7, seed=0)
        x = np.random.default_rng(0).normal(size=(4, 3, 5)).astype("float32")
        expected, (h, _), tape = net.forward(x)
        gradients = net.backward(tape, expected)
        with cupy.cuda.Stream():
            y, states, tape = net.forward(cupy.asarray(x))
            assert all(isinstance(array, cupy.ndarray) for array in (y, *states))
            on_gpu = net.backward(tape, y)
            assert isinstance(on_gpu.flat, cupy.ndarray)
            np.testing.assert_array_equal(cupy.asnumpy(y), expected)
            np.testing.assert_array_equal(cupy.asnumpy(states[0]), h)
            np.testing.assert_array_equal(cupy.asnumpy(on_gpu.flat), gradients.flat)


def test_torch_tensors_are_not_copied():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    with chosen("cuda"):
        net = nn.LSTM(5, 7, seed=0)
        x = torch.randn(4, 3, 5, device="cuda")
        y, _ = net(x)
        assert y.is_cuda
        assert_close(y.cpu().numpy(), net(x.cpu().numpy())[0], OUTPUT["float32"])
        assert not net(x.cpu())[0].is_cuda
        with pytest.raises(TypeError, match="requires a gradient"):
            net(x.requires_grad_())


def test_out_of_memory_is_said_and_the_next_call_works():
    with chosen("cuda"):
        net = nn.LSTM(1, 512, seed=0)  # what it computes takes 2,048 times the room of its input
        small = np.ones((3, 2, 1), "float32")
        expected, _ = net(small)
        cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
        huge = cupy.cuda.runtime.memGetInfo()[1] // 4 // 2048 // 16
        with pytest.raises(MemoryError, match="out of memory"):
            net.forward(np.broadcast_to(np.float32(0), (huge, 16, 1)))
        np.testing.assert_array_equal(net(small)[0], expected)
