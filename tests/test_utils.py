"""`nblstm.utils`, against Keras: golden/keras_utils.npz, made by golden/make_keras_utils.py."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
from golden.encoding_cases import CASES

from nblstm import backend, nn, preprocessing, utils
from nblstm.buffers import memory, pool
from nblstm.layers import LSTM, Dense, Embedding, Input
from nblstm.models import Sequential

with np.load(Path(__file__).with_name("golden") / "keras_utils.npz") as archive:
    GOLDEN = {name: archive[name] for name in archive.files}


@pytest.mark.parametrize(("function", "case"), [(function, case) for function in CASES for case in CASES[function]])
def test_it_gives_what_keras_gives(function, case):
    arguments, named = CASES[function][case]
    came, golden = getattr(utils, function)(*arguments, **named), GOLDEN[f"{function}/{case}"]
    assert came.dtype == golden.dtype
    np.testing.assert_array_equal(came, golden)


def test_strings_are_padded():
    padded = utils.pad_sequences([["a", "b"], ["c"]], dtype=object, value="-")
    assert padded.tolist() == [["a", "b"], ["-", "c"]]


def test_keras_other_names():
    assert preprocessing.sequence.pad_sequences is utils.pad_sequences
    assert utils.Sequence is utils.PyDataset


def test_normalize():
    x = np.array([[3.0, 4.0], [0.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_allclose(utils.normalize(x), [[0.6, 0.8], [0, 0], [-1, 0]])
    np.testing.assert_allclose(utils.normalize(x, axis=0, order=1), [[0.75, 1], [0, 0], [-0.25, 0]])
    np.testing.assert_allclose(utils.normalize([3, 4]), [0.6, 0.8])


def test_clear_session_begins_with_the_first_names():
    Dense(1), Sequential(), Dense(1)
    for clear in (utils.clear_session, backend.clear_session):
        clear()
        assert [Dense(1).name, Dense(1).name, LSTM(1).name] == ["dense", "dense_1", "lstm"]
        assert [Sequential().name, Sequential().name] == ["sequential", "sequential_1"]


def test_clear_session_gives_back_models_that_are_gone():
    model = Sequential([Input((2,)), Dense(1)])
    model.itself = model
    gone = weakref.ref(model)
    gc.disable()
    try:
        del model
        utils.clear_session()
        assert gone() is None
    finally:
        gc.enable()


def test_clear_session_gives_back_what_was_kept():
    net, x = nn.LSTM(3, 4, seed=0), np.ones((40, 90, 3), "f4")
    y, _, tape = net.forward(x)
    expected = net.backward(tape, y).flat
    for _ in range(3):
        y, _, tape = net.forward(x)
        net.backward(tape, y)
    del y, tape
    assert pool.kept_bytes() > 100_000
    utils.clear_session()
    assert pool.kept_bytes() == memory._blocks.nbytes == 0
    y, _, tape = net.forward(x)
    np.testing.assert_array_equal(net.backward(tape, y).flat, expected)


def test_what_a_backend_is_asked():
    assert backend.epsilon() == 1e-7
    assert Dense(1).dtype == backend.floatx()


def steps_of_two_shapes():
    return utils.pad_sequences([[[1, 2]], [[1, 2, 3]]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: utils.to_categorical([0, 3], 3), "x has 3 and num_classes is 3; give class numbers from 0 to 2"),
        (lambda: utils.to_categorical([0, -1]), "x has -1; give class numbers, which are whole and 0 or more"),
        (lambda: utils.to_categorical([0.5]), "x has 0.5; give class numbers"),
        (lambda: utils.to_categorical([np.nan]), "x has nan; give class numbers"),
        (lambda: utils.to_categorical(["cat"]), "x has dtype <U3; give real numbers"),
        (lambda: utils.to_categorical([]), "x is empty, .* give num_classes too"),
        (lambda: utils.to_categorical([0], 0), "num_classes is 0; give a whole number"),
        (lambda: utils.pad_sequences([1, 2]), "sequence 0 is 1, which has no steps; give a list of sequences"),
        (lambda: utils.pad_sequences(5), "sequences is 5; give a list of sequences"),
        (lambda: utils.pad_sequences([[1]], padding="left"), "padding is 'left'; give 'pre' or 'post'"),
        (lambda: utils.pad_sequences([[1]], truncating=None), "truncating is None; give 'pre' or 'post'"),
        (lambda: utils.pad_sequences([[1]], maxlen=0), "maxlen is 0; give a whole number, 1 or more"),
        (lambda: utils.pad_sequences([[1]], value="-"), "there is '-', which is no number, and dtype is int32"),
        (lambda: utils.pad_sequences([[1], ["a"]]), "there is .*'a'.*, which is no number, and dtype is int32; give d"),
        (lambda: utils.pad_sequences([[1]], dtype="int33"), "dtype is 'int33'; give a NumPy dtype, such as 'int32'"),
        (lambda: utils.pad_sequences([[[1], [2, 3]]]), "sequence 0 is a ragged nest of lists; give steps of one shape"),
        (steps_of_two_shapes, r"sequences have steps of shapes \(2,\) and \(3,\); give steps of one shape"),
        (lambda: utils.PyDataset(workers=4), "workers, .* is given, .*; leave them out"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


class Numbered(utils.PyDataset):
    """Three batches of lines of different lengths, shuffled at the end of each pass."""

    def __init__(self):
        super().__init__()
        self.passes, self.given = 0, []

    def __len__(self):
        return 3

    def __getitem__(self, index):
        self.given.append(index)
        lines = [[k + 1] * (k + index + 1) for k in range(4)]
        return utils.pad_sequences(lines, padding="post"), utils.to_categorical([0, 1, 2, 0], 3)

    def on_epoch_end(self):
        self.passes += 1


def test_a_dataset_of_numbered_batches():
    model = Sequential([Input((None,)), Embedding(5, 3, mask_zero=True), LSTM(4), Dense(3, "softmax")], seed=0)
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    dataset = Numbered()
    history = model.fit(dataset, epochs=2, validation_data=Numbered(), verbose=0)
    assert dataset.given == [0, 1, 2, 0, 1, 2]
    assert dataset.passes == 2
    assert history.params == {"epochs": 2, "steps": 3, "verbose": 0, "do_validation": True}
    assert len(history.history["val_accuracy"]) == 2
    assert len(model.evaluate(Numbered(), verbose=0)) == 2
    assert model.predict(Numbered(), verbose=0).shape == (12, 3)


@pytest.mark.parametrize("method", ["__len__", "__getitem__"])
def test_a_dataset_that_lacks_a_method(method):
    lacking = type("Lacking", (Numbered,), {method: getattr(utils.PyDataset, method)})
    with pytest.raises(NotImplementedError, match=f"Lacking has no {method}; write it"):
        list(lacking())
