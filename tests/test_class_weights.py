"""class_weight is the sample_weight that its classes give, and is refused where there is no one class."""

import numpy as np
import pytest
from messages import message_of

from nblstm.layers import LSTM, Dense, Input
from nblstm.models import Sequential

RNG = np.random.default_rng(3)
N, T, C = 6, 4, 3
X = RNG.normal(size=(N, T, 2))
WEIGHTS = {0: 0.5, 1: 3.0, 2: 7.0}
CLASSES, BITS = RNG.integers(0, C, (N, T)), RNG.integers(0, 2, (N, T))
OF_CLASS = np.array([0.5, 3.0, 7.0])


def model(outputs, loss, steps):
    activation = "softmax" if outputs > 1 else "sigmoid"
    made = Sequential([Input((T, 2)), LSTM(3, return_sequences=steps), Dense(outputs, activation)], seed=0)
    made.compile("sgd", loss, weighted_metrics=["accuracy"])
    return made


SPARSE, ONE_HOT, BINARY = "sparse_categorical_crossentropy", "categorical_crossentropy", "binary_crossentropy"
CASES = {
    "classes": (C, SPARSE, False, CLASSES[:, 0], CLASSES[:, 0]),
    "classes_in_a_column": (C, SPARSE, False, CLASSES[:, :1], CLASSES[:, 0]),
    "one_hot": (C, ONE_HOT, False, np.eye(C)[CLASSES[:, 0]], CLASSES[:, 0]),
    "bits": (1, BINARY, False, BITS[:, 0], BITS[:, 0]),
    "bits_in_a_column": (1, BINARY, False, BITS[:, :1].astype(bool), BITS[:, 0]),
    "class_per_step": (C, SPARSE, True, CLASSES, CLASSES),
    "class_per_step_in_a_column": (C, SPARSE, True, CLASSES[..., None].astype(float), CLASSES),
    "one_hot_per_step": (C, ONE_HOT, True, np.eye(C)[CLASSES], CLASSES),
    "bit_per_step": (1, BINARY, True, BITS, BITS),
    "bit_per_step_in_a_column": (1, BINARY, True, BITS[..., None], BITS),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_sample_weight_that_its_classes_give(case):
    outputs, loss, steps, y, classes = CASES[case]
    fits = []
    for given in ({"class_weight": WEIGHTS}, {"sample_weight": OF_CLASS[classes]}, {}):
        made = model(outputs, loss, steps)
        history = made.fit(X, y, epochs=2, shuffle=False, batch_size=4, verbose=0, **given).history
        by_generator = model(outputs, loss, steps).train_on_batch(X, y, **given)
        fits.append((history, by_generator))
    assert fits[0] == fits[1]
    assert fits[0] != fits[2]


def test_keys_may_be_floats_and_classes_may_lack():
    made = model(C, SPARSE, False)
    for keys in ({0.0: 1.0, 2.0: 5.0}, {np.int64(2): 5}, {2: np.float32(5)}):
        loss = model(C, SPARSE, False).train_on_batch(X, CLASSES[:, 0], class_weight=keys)
        assert loss == made.test_on_batch(X, CLASSES[:, 0], np.where(CLASSES[:, 0] == 2, 5.0, 1.0))


def test_several_labels_are_refused():
    labels = RNG.integers(0, 2, (N, C))
    labels[0] = [1, 0, 1]
    made = model(C, BINARY, False)
    call = lambda: made.fit(X, labels, class_weight=WEIGHTS, verbose=0)  # noqa: E731
    message_of(ValueError, call, "needs one class per row", "(6, 3)", "not one-hot; give sample_weight")
    soft = np.full((N, C), 1 / 3)
    message_of(ValueError, lambda: model(C, ONE_HOT, False).train_on_batch(X, soft, class_weight=WEIGHTS), "one-hot")
    several = np.broadcast_to(labels[:, None], (N, T, C))
    message_of(ValueError, lambda: model(C, BINARY, True).fit(X, several, class_weight=WEIGHTS), "(6, 4, 3)")


@pytest.mark.parametrize("given", [{0.5: 1}, {"0": 1.0}, {0: "a"}, [1.0, 2.0], {np.nan: 1.0}, {np.inf: 1.0}])
def test_what_is_no_class_weight(given):
    call = lambda: model(C, SPARSE, False).fit(X, CLASSES[:, 0], class_weight=given, verbose=0)  # noqa: E731
    message_of(TypeError, call, "class_weight is", "give a dict from class numbers to weights")
