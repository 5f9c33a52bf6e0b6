"""Variances over units in a cell: no gradient goes through their mean, which changes nothing and saves stages."""

import numpy as np
import pytest

from nblstm import abs, cell, cells, mean, nn
from nblstm.cells.stages import backward_program


def _cell(square, blocks: int):
    """A cell that divides one or two blocks by their standard deviation; ``square`` writes the square."""

    @cell(gates="a b", states="h", vectors="gain")
    def equations(a, b, h, gain):
        numbers = [a + h, b][:blocks]
        total = numbers[0] + numbers[1] if blocks == 2 else numbers[0]
        centre = mean(total) / blocks
        centred = [z - centre for z in numbers]
        squares = [square(z) for z in centred]
        variance = mean(squares[0] + squares[1] if blocks == 2 else squares[0]) / blocks
        # The square of a deviation by itself, whose gradient does go through the mean.
        return gain * centred[0] / (variance + 0.1) + 0.1 * square(centred[-1]) + 0.1 * b

    return equations


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("H", [1, 5, 19])
def test_gradients_are_those_of_the_chain_rule(blocks, H):
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(7, 3, 4)), rng.normal(size=(7, 3, H))
    found = []
    for square in (lambda z: z * z, lambda z: abs(z) * abs(z)):  # of the second, no variance is known
        network = nn.Recurrent(_cell(square, blocks), 4, H, dtype="float64", seed=1)
        y, _, tape = network.forward(x)
        gradients = network.backward(tape, dy)
        found.append((y, gradients.flat, gradients.x))
    for own, expected in zip(*found, strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-10, atol=1e-10)


def test_both_means_of_layer_normalisation_are_in_one_stage():
    assert [len(backward_program(own).stages) for own in (cells.layer_norm_lstm, cells.layer_norm_gru)] == [3, 2]
    known, unknown = _cell(lambda z: z * z, 2), _cell(lambda z: abs(z) * abs(z), 2)
    assert len(backward_program(known).stages) < len(backward_program(unknown).stages)
