"""Batches that come as packed rows, as torch's PackedSequence does, against torch's numbers."""

import numpy as np
import pytest
from test_golden import CASES, network_and_arrays
from tolerances import DTYPES, GRADIENT, OUTPUT, assert_close

from nblstm.buffers.batch import PackedBatch
from nblstm.engine import engine


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [case for case, fields in CASES.items() if fields["lengths"]])
def test_packed_rows(case, dtype):
    net, states, lengths, array = network_and_arrays(case, dtype)
    order = np.argsort(-np.array(lengths), kind="stable")
    active = np.array([sum(length > t for length in lengths) for t in range(max(lengths))])
    t, b = np.array([(t, b) for t in range(max(lengths)) for b in order[: active[t]]]).T
    x, dy, batch = array("x")[t, b], array("dy")[t, b], PackedBatch(active, order)
    d_states = tuple(array(f"dstates/{name}") for name in net.cell.states)
    for _ in range(5):
        *trained, tape = engine.forward(net, x, states, batch)
        for y, finals in (engine.infer(net, x, states, batch), trained):
            assert_close(y, array("y")[t, b], OUTPUT[dtype])
            for name, final in zip(net.cell.states, finals, strict=True):
                assert_close(final, array(f"finals/{name}"), OUTPUT[dtype])
        gradients = engine.backward(tape, dy, d_states)
        assert_close(gradients.x, array("grads/x")[t, b], GRADIENT[dtype])
        for name, gradient in gradients.params.items():
            assert_close(gradient, array(f"grads/{name}"), GRADIENT[dtype])
        dx, d_initial = engine.backward_into(tape, dy, d_states, None, True)  # none of the parameters
        assert_close(dx, array("grads/x")[t, b], GRADIENT[dtype])
        for name, gradient in zip(net.cell.states, d_initial, strict=True):
            assert_close(gradient, array(f"grads/states/{name}"), GRADIENT[dtype])
        flat = np.empty_like(gradients.flat)
        assert engine.backward_into(tape, dy, d_states, flat, False)[0] is None
        np.testing.assert_array_equal(flat, gradients.flat)
    with pytest.raises(ValueError, match=r"x has shape"):
        engine.infer(net, x[1:], states, batch)
    with pytest.raises(ValueError, match=r"dy has shape"):
        engine.backward(tape, dy[1:], None)
