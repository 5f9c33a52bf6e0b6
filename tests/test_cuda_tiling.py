"""Which tiling a shape gets on which GPU, and that every tiling fits what it was made for."""

import numpy as np
import pytest

from nblstm import cells
from nblstm.__main__ import main
from nblstm.cuda.device_weights import tile
from nblstm.cuda.gpu import A100, H100, Gpu
from nblstm.cuda.kernels.cell_functions import CellSizes
from nblstm.cuda.tiling import candidates, choose, cost

WITHOUT_COOPERATION = Gpu("H100 in slices", (9, 0), 132, 227 * 1024, cooperative=False)
LSTM, GRU = CellSizes.of(cells.lstm), CellSizes.of(cells.gru)


def kind(gpu, n, H, B, D=1, dtype="float32", backward=False):
    tiling = choose(gpu, n, H, B, D, dtype, backward)
    return "steps" if tiling is None else "alone" if tiling.blocks == 1 else "together"


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(
    ("H", "B", "expected"),
    [(32, 1, "alone"), (64, 16, "alone"), (128, 64, "alone"), (256, 1, "together"), (512, 16, "together"),
     (768, 16, "together"), (1024, 16, "together"), (2048, 1, "steps"), (4096, 64, "steps")],
)  # fmt: skip
def test_small_large_and_too_large(H, B, expected, backward):
    assert kind(H100, LSTM, H, B, backward=backward) == expected


def test_what_steps_are_for():
    assert kind(H100, LSTM, 64, 16, dtype="float64") == "steps"
    assert kind(WITHOUT_COOPERATION, LSTM, 512, 16) == "steps"
    assert kind(WITHOUT_COOPERATION, LSTM, 64, 16) == "alone"
    assert kind(H100, LSTM, 1024, 4096) == "steps"  # a library's product keeps the whole GPU busy
    assert kind(Gpu("tiny", (8, 0), 4, 48 * 1024), LSTM, 512, 16) == "steps"


def test_the_variable_forbids_all(monkeypatch):
    choose.cache_clear()
    monkeypatch.setenv("NBLSTM_CUDA_KERNELS", "steps")
    assert kind(H100, LSTM, 64, 16) == "steps"
    choose.cache_clear()


@pytest.mark.parametrize("gpu", [H100, A100], ids=lambda gpu: gpu.name)
@pytest.mark.parametrize("n", [LSTM, GRU], ids=["lstm", "gru"])
@pytest.mark.parametrize(("H", "B", "D"), [(7, 3, 1), (64, 1, 2), (100, 33, 1), (192, 64, 2), (768, 16, 1)])
@pytest.mark.parametrize("backward", [False, True])
def test_every_candidate_fits(gpu, n, H, B, D, backward):
    found = list(candidates(gpu, n, H, B, D, backward))
    assert found
    for v in found:
        units = v.outputs if backward else 1
        assert v.inner >= (n.G * H if backward else H)
        assert v.blocks * v.tiles * units >= H
        assert (v.blocks - 1) * v.tiles * units < H
        assert v.slices * v.chunks * v.rows >= B
        assert (v.slices - 1) * v.chunks * v.rows < B
        assert v.threads % 32 == 0
        assert v.threads <= 1024
        assert v.lanes % (v.rows * units) == 0
        assert 1 <= v.in_registers <= v.quads
        assert v.shared <= gpu.shared_memory
        assert v.in_registers * v.outputs * 4 * v.threads <= gpu.registers
        assert v.blocks == 1 or D * v.blocks * v.slices <= gpu.multiprocessors
        assert v.blocks > 1 or v.chunks == 1
        assert cost(gpu, v) > 0


def test_a_tiling_says_what_it_is():
    assert str(choose(H100, LSTM, 768, 16, 1, "float32", False)).startswith("96 blocks together, 1 slices of 16 rows")


def test_choices_can_be_printed(capsys):
    assert main(["layouts", "--cell", "gru", "--hidden", "64", "2048", "--batch", "16"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[1].split()[:5] == ["H", "64", "B", "16", "forward"]
    assert "alone" in lines[1]
    assert lines[4].endswith("a launch and a product for each step")
    assert main(["layouts", "--cell", "gru_reset_before"]) == 0
    assert "each step" in capsys.readouterr().out


@pytest.mark.parametrize("backward", [False, True])
def test_weights_in_the_order_of_threads(backward):
    """What thread by thread reads, multiplied as the kernel does it, is the product with the matrix."""
    rng, H, G, D = np.random.default_rng(0), 21, 4, 2
    w = rng.normal(size=(D, G * H, H))
    for v in candidates(A100, LSTM, H, 5, D, backward):
        packed = tile(np, w, v, backward)
        assert packed.shape == (D, v.blocks, v.quads, v.outputs, v.threads // v.lanes, v.lanes, 4)
        x = np.zeros((D, v.inner))
        x[:, : w.shape[1 if backward else 2]] = rng.normal(size=(D, w.shape[1 if backward else 2]))
        pieces = x.reshape(D, v.quads, v.lanes, 4)
        sums = np.einsum("dbqotle,dqle->dbto", packed, pieces).reshape(D, v.blocks * v.tiles, v.outputs)
        if backward:
            ours = sums.reshape(D, -1)[:, :H]
            expected = np.einsum("dkh,dk->dh", w, x[:, : G * H])
        else:
            ours = sums[:, :H].swapaxes(1, 2).reshape(D, G * H)
            expected = np.einsum("dkh,dh->dk", w, x[:, :H])
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)
