"""Losses whose equation of one number is compiled: sizes, layouts, where they bend, targets out of range."""

import ctypes

import numpy as np
import pytest
from test_losses import BITS, RNG, SIGMOID, bits
from tolerances import DTYPES, OUTPUT, assert_close

from nblstm.cpu.kernels.loss import loss_kernel, loss_of_numbers
from nblstm.symbolic.elementwise import LossEquation
from nblstm.training import losses


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (33, 1), (67, 3), (1, 131), (40, 1031)])
def test_any_number_of_numbers(shape, dtype):
    """Loops in vector registers, and what is left over behind them."""
    t = (RNG.random(shape) < 0.5).astype(dtype)
    p = RNG.uniform(0.02, 0.98, shape).astype(dtype)
    wide = p.astype(np.float64)
    for loss, expected, slope in (
        (losses.MeanSquaredError(), (wide - t) ** 2, 2 * (wide - t)),
        (losses.BinaryCrossentropy(), bits(wide, t), (wide - t) / (wide * (1 - wide))),
    ):
        value, gradient = loss.value_and_gradient(t, p)
        assert value == pytest.approx(expected.mean(), rel=OUTPUT[dtype])
        assert_close(gradient, slope / p.size, OUTPUT[dtype])
        assert_close(loss.values(t, p), expected.mean(-1), OUTPUT[dtype])
        assert loss.value_and_gradient(t, p)[0] == value


def test_any_layout():
    p, t = RNG.uniform(0.1, 0.9, (6, 10)), (RNG.random((6, 10)) < 0.5).astype(float)
    loss = losses.BinaryCrossentropy()
    expected, expected_gradient = loss.value_and_gradient(t, p)
    other_p, other_t = np.asfortranarray(p), np.repeat(t, 2, axis=1)[:, ::2]
    other_p.flags.writeable = False
    value, gradient = loss.value_and_gradient(other_t, other_p)
    assert value == expected
    np.testing.assert_array_equal(gradient, expected_gradient)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_where_equations_bend(dtype):
    zero = np.zeros((1, 1), dtype)
    assert losses.MeanAbsoluteError().value_and_gradient(zero, zero)[1] == 0
    assert losses.BinaryCrossentropy(from_logits=True).value_and_gradient(zero, zero)[1] == 0.5
    edge = np.array([[1e-7]], dtype)  # clipped are probabilities beyond it
    assert losses.BinaryCrossentropy().value_and_gradient(zero, edge)[1] == pytest.approx(1)
    assert losses.BinaryCrossentropy().value_and_gradient(zero, edge / 2)[1] == 0


def test_targets_out_of_range_are_reported_whatever_their_weight():
    for weight in (None, np.array([1.0, 0.0])):
        with pytest.raises(ValueError, match=r"y_true contains 1\.5"):
            losses.BinaryCrossentropy(label_smoothing=0.9)([1.0, 1.5], [0.5, 0.5], weight)
        with pytest.raises(ValueError, match=r"y_true contains 1\.5"):
            losses.BinaryCrossentropy().values([1.0, 1.5], [0.5, 0.5])


def test_a_subclass_with_rows_of_its_own():
    class Doubled(losses.BinaryCrossentropy):
        def rows(self, target, prediction):
            values, gradient = super().rows(target, prediction)
            return 2 * values, 2 * gradient

    value, gradient = losses.BinaryCrossentropy().value_and_gradient(BITS, SIGMOID)
    twice, twice_gradient = Doubled().value_and_gradient(BITS, SIGMOID)
    assert twice == pytest.approx(2 * value, rel=OUTPUT["float64"])
    assert_close(twice_gradient, 2 * gradient, OUTPUT["float64"])
    with pytest.raises(ValueError, match=r"y_true contains 3\.0"):
        Doubled()([3.0], [0.5])


def test_numbers_that_an_equation_closes_over_are_in_its_kernel():
    """Two losses of one name, from one function."""

    def scaled(factor):
        return LossEquation("scaled", lambda t, p: factor * (p - t) ** 2)

    t, p = np.zeros((1, 4)), np.array([[1.0, 2.0, 3.0, 4.0]])
    equations = [scaled(0.5), scaled(2.0), scaled(0.5)]
    assert [loss_of_numbers(equation, p, t, 1.0)[0] for equation in equations] == [15.0, 60.0, 15.0]
    addresses = [ctypes.cast(loss_kernel(equation, 8, False), ctypes.c_void_p).value for equation in equations]
    assert addresses[0] == addresses[2] != addresses[1]
