"""Losses as Keras has them as functions, against textbook formulas."""

import numpy as np
from test_losses import BITS, LABELS, LOGITS, NUMBERS, ONE_HOT, SIGMOID, SOFTMAX, bits, huber

from nblstm import losses as keras_losses
from nblstm import metrics as keras_metrics
from nblstm.training import losses

SHAPE = LABELS.shape


def test_keras_functions_take_the_target_first_and_give_a_value_per_row():
    assert keras_losses.mean_squared_error(ONE_HOT, NUMBERS).shape == SHAPE
    np.testing.assert_allclose(keras_losses.mean_squared_error(BITS, NUMBERS), np.square(NUMBERS - BITS).mean(-1))
    np.testing.assert_allclose(keras_losses.mean_absolute_error(BITS, NUMBERS), np.abs(NUMBERS - BITS).mean(-1))
    np.testing.assert_allclose(keras_losses.huber(BITS, NUMBERS, 0.3), huber(NUMBERS - BITS, 0.3).mean(-1))
    np.testing.assert_allclose(keras_losses.binary_crossentropy(BITS, SIGMOID), bits(SIGMOID, BITS).mean(-1))
    expected = -np.log(np.take_along_axis(SOFTMAX, LABELS[..., None], -1)[..., 0])
    np.testing.assert_allclose(keras_losses.categorical_crossentropy(ONE_HOT, SOFTMAX), expected)
    np.testing.assert_allclose(keras_losses.sparse_categorical_crossentropy(LABELS, LOGITS, True), expected)
    assert keras_metrics.huber is keras_losses.huber
    for name in (
        "binary_crossentropy", "categorical_crossentropy", "huber", "mean_absolute_error", "mean_squared_error",
        "sparse_categorical_crossentropy",
    ):  # fmt: skip
        assert type(losses.get(getattr(keras_losses, name))) is type(losses.get(name))
