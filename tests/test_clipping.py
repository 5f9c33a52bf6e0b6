"""Clipping in place: what is too large is scaled or cut as asked, what is not stays the same to the bit."""

import math

import numpy as np
import pytest
from messages import message_of
from tolerances import DTYPES, OUTPUT, assert_close

from nblstm import nn
from nblstm.buffers.layout import Layout
from nblstm.training import Adam, clip_by_global_norm, clip_by_norm, clip_by_value

RNG = np.random.default_rng(0)


def gradients_of(*arrays):
    return [nn.Gradients({}, array, np.zeros(0)) for array in arrays]


def named(dtype, **arrays):
    """Gradients of named parameters, views of one buffer."""
    layout = Layout.of({name: np.shape(value) for name, value in arrays.items()})
    flat = np.concatenate([np.ravel(value) for value in arrays.values()]).astype(dtype)
    return nn.Gradients(layout.views(flat), flat, np.zeros(0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_clipping_by_global_norm(dtype):
    a, b = RNG.normal(size=7).astype(dtype), RNG.normal(size=(3)).astype(dtype)
    norm = math.sqrt(sum(float(v) ** 2 for v in (*a, *b)))
    clipped = gradients_of(a.copy(), b.copy())
    assert clip_by_global_norm(clipped, norm / 4) == pytest.approx(norm, rel=OUTPUT[dtype])
    assert_close(clipped[0].flat, a.astype(np.float64) / 4, OUTPUT[dtype])
    assert_close(clipped[1].flat, b.astype(np.float64) / 4, OUTPUT[dtype])


def test_a_small_gradient_is_not_changed():
    a = RNG.normal(size=7)
    (kept,) = gradients_of(a.copy())
    clip_by_global_norm([kept], 100.0)
    np.testing.assert_array_equal(kept.flat, a)


def test_clipping_reaches_the_named_gradients():
    net = nn.LSTM(3, 5, dtype="float64", seed=0)
    y, _, tape = net.forward(RNG.normal(size=(4, 2, 3)))
    gradients = net.backward(tape, y)
    clip_by_global_norm([gradients], 1e-3)
    assert math.sqrt(sum((value**2).sum() for value in gradients.params.values())) == pytest.approx(1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_reported_not_hidden(value):
    gradients = gradients_of(np.array([1.0, value]))
    assert not math.isfinite(clip_by_global_norm(gradients, 1.0))
    np.testing.assert_array_equal(gradients[0].flat, [1.0, value])


@pytest.mark.parametrize("dtype", DTYPES)
def test_clipping_by_norm_and_by_value(dtype):
    rng = np.random.default_rng(1)
    given = [named(dtype, kernel=rng.normal(size=(3, 2)) * 5, bias=rng.normal(size=3) / 5), named(dtype, w=[3.0, 4.0])]
    clipped, cut = (
        [named(dtype, **{name: value.copy() for name, value in g.params.items()}) for g in given] for _ in range(2)
    )
    clip_by_norm([*clipped, None], 2.0)
    clip_by_value([None, *cut], 0.5)
    lengths = []
    for g, c, v in zip(given, clipped, cut, strict=True):
        for name, value in g.params.items():
            lengths.append(np.linalg.norm(value))
            assert_close(c.params[name], value * min(1, 2 / lengths[-1]), OUTPUT[dtype])
            np.testing.assert_array_equal(v.params[name], np.clip(value, -0.5, 0.5))
    assert min(lengths) < 2 < max(lengths)


def test_clipping_in_float32_does_not_overflow():
    (gradients,) = gradients_of(np.full(4, 1e30, np.float32))
    assert clip_by_global_norm([gradients, None], 1.0) == pytest.approx(2e30)
    assert_close(gradients.flat, np.full(4, 0.5), OUTPUT["float32"])


def test_clipping_by_norm_needs_the_parameters():
    gradients = gradients_of(np.full(4, 10.0))
    with pytest.raises(ValueError, match="gradients name 0 of 4 numbers"):
        clip_by_norm(gradients, 1.0)
    np.testing.assert_array_equal(gradients[0].flat, 10.0)


@pytest.mark.parametrize("clip", [clip_by_global_norm, clip_by_norm, clip_by_value])
@pytest.mark.parametrize("limit", [0, -1.0, np.nan, "1", None])
def test_limits(clip, limit):
    with pytest.raises(ValueError, match=r"max_\w+ is .*above 0"):
        clip([], limit)


@pytest.mark.parametrize("gradients", [3, None, np.ones(3), [np.ones(3)], {"a": 1}])
def test_what_are_no_gradients(gradients):
    module = nn.Linear(3, 1)
    for act in (
        lambda: clip_by_value(gradients, 1),
        lambda: clip_by_norm(gradients, 1),
        lambda: clip_by_global_norm(gradients, 1),
        lambda: Adam([module]).step(gradients),
    ):
        message_of(TypeError, act, f"gradients is {type(gradients).__name__}; give a list of what backward() returned")
