"""Gradients of each sequence of a batch with resets and a mask, against torch's loop and each sequence alone."""

import numpy as np
import pytest
from kinds_of_cells import CELLS, signals_of
from tolerances import GRADIENT, assert_close

import nblstm
from nblstm import cells, nn

RNG = np.random.default_rng(0)
T, B, I, H = 9, 5, 3, 4
MASK, RESETS = RNG.random((T, B)) < 0.7, RNG.random((T, B)) < 0.3
RESETS[0, 1:3] = RESETS[:, 4] = True
LENGTHS = [3, 9, 0, 5, 8]
HOW = [{"resets": RESETS}, {"resets": RESETS, "mask": MASK}, {"resets": RESETS, "lengths": LENGTHS}]


@pytest.mark.parametrize("given", [False, True], ids=["learned", "given"])
@pytest.mark.parametrize(("kind", "layers", "both"), [("lstm", 2, True), ("gru", 2, False)])
def test_torch(kind, layers, both, given):
    torch = pytest.importorskip("torch")
    import torch_loops

    net = nn.Recurrent(
        getattr(cells, kind), I, H, layers, bidirectional=both, learn_initial_state=True, dtype="float64", seed=0
    )
    D = 1 + both
    x, state = RNG.normal(size=(T, B, I)), tuple(RNG.normal(size=(len(net.cell.states), layers * D, B, H)))
    _, finals, tape = net.forward(x, state if given else None, mask=MASK, resets=RESETS)
    dy, d_final = RNG.normal(size=(T, B, D * H)), tuple(RNG.normal(size=own.shape) for own in finals)
    found = net.per_sample_gradients(tape, dy, d_final)
    for b in range(B):
        p = {name: torch.tensor(value, requires_grad=True) for name, value in net.state_dict().items()}
        every, last = torch_loops.network(
            kind, p, torch.tensor(x[:, [b]]), [torch.tensor(own[:, [b]]) for own in state] if given else None,
            torch.tensor(MASK[:, [b]]), torch.tensor(RESETS[:, [b]]), layers, (False, True)[:D],
        )  # fmt: skip
        loss = (every[0] * torch.tensor(dy[:, [b]])).sum()
        loss = loss + sum((a * torch.tensor(d[:, [b]])).sum() for a, d in zip(last, d_final, strict=True))
        for name, right in zip(p, torch.autograd.grad(loss, [*p.values()], allow_unused=True), strict=True):
            expected = np.zeros_like(found.params[name][b]) if right is None else right.numpy()
            np.testing.assert_allclose(found.params[name][b], expected, rtol=0, atol=1e-10, err_msg=name)


MADE = {
    "peephole": (cells.lstm_peephole, {"bidirectional": True}),
    "operand": (cells.gru_reset_before, {"reverse": True}),
    "projected": (cells.lstm, {"proj_size": 2}),
    "matrix": (cells.lstm.with_matrix(cells.low_rank(2)), {}),
    **{name: (CELLS[name], {}) for name in ("scalars", "everything", "layer_norm_lstm")},
}


@pytest.mark.parametrize("how", HOW, ids=list)
@pytest.mark.parametrize("name", MADE)
def test_each_sequence_alone(name, how):
    """Also of vectors, scalars, signals and learned states, with checkpoints, and in several parts of the work."""
    made, options = MADE[name]
    I_ = H if made.takes_x else I
    net = nn.Recurrent(made, I_, H, 2, learn_initial_state=True, dtype="float64", seed=0, **options)
    x, signals = RNG.normal(size=(T, B, I_)), signals_of(made, (T, B), H, RNG)
    y, _, tape = net.forward(x, signals=signals or None, **how)
    dy = RNG.normal(size=y.shape)
    found, whole = net.per_sample_gradients(tape, dy), net.backward(tape, dy)
    np.testing.assert_array_equal(found.x, whole.x)
    for one, other in zip(found.signals.values(), whole.signals.values(), strict=True):
        np.testing.assert_array_equal(one, other)
    _, _, marked = net.forward(x, signals=signals or None, checkpoint=2, **how)
    assert_close(net.per_sample_gradients(marked, dy).flat, found.flat, GRADIENT["float64"])
    for b in range(B):
        own = {key: value[b : b + 1] if key == "lengths" else value[:, [b]] for key, value in how.items()}
        _, _, tape = net.forward(
            x[:, [b]], signals={key: value[:, [b]] for key, value in signals.items()} or None, **own
        )
        np.testing.assert_allclose(found.flat[b], net.backward(tape, dy[:, [b]]).flat, rtol=0, atol=1e-11)


@pytest.mark.parametrize("batch", [17, 300])
def test_the_same_bits_for_any_threads(batch):
    """Pieces of one sequence are added by one thread; of 17 sequences the packed batch has room for more."""
    net, before = nn.LSTM(8, 16, seed=0), nblstm.num_threads()
    x, dy = (RNG.normal(size=(20, batch, n)).astype("f4") for n in (8, 16))
    first, some = np.zeros((20, batch), bool), RNG.random((20, batch)) < 0.2
    first[0] = True
    try:
        for resets in (first, some):
            results = []
            for threads in (1, 2, 3):
                nblstm.set_num_threads(threads)
                _, _, tape = net.forward(x, resets=resets)
                results.append(net.per_sample_gradients(tape, dy).flat)
            for other in results[1:]:
                np.testing.assert_array_equal(other, results[0])
            assert_close(results[0].sum(axis=0), net.backward(tape, dy).flat, GRADIENT["float32"])
    finally:
        nblstm.set_num_threads(before)
    plain = net.per_sample_gradients(net.forward(x)[2], dy).flat
    np.testing.assert_array_equal(net.per_sample_gradients(net.forward(x, resets=first)[2], dy).flat, plain)
