"""Forms in which Keras's programs give data: lists of one, a last dimension of 1 left out, nothing to predict for."""

import json

import numpy as np
import pytest
from messages import message_of

from nblstm import initializers, layers
from nblstm.layers import LSTM, Bidirectional, Conv1D, Dense, Embedding, Flatten, Input, LayerNormalization, SimpleRNN
from nblstm.models import Sequential

RNG = np.random.default_rng(7)
X, Y = RNG.normal(size=(6, 4, 3)), RNG.normal(size=(6, 2))


def model(*shape, layers=()):
    made = Sequential([*([Input(shape)] if shape else []), *(layers or (SimpleRNN(3), Dense(2)))], seed=0)
    made.compile("sgd", "mse")
    return made


@pytest.mark.parametrize("shape", [(4, 3), (None, 3), ()])
@pytest.mark.parametrize("N", [6, 1])
def test_lists_of_one_array(shape, N):
    x, y, w = X[:N], Y[:N], np.arange(1.0, N + 1)
    plain = model(*shape).fit(x, y, sample_weight=w, epochs=2, shuffle=False, verbose=0).history
    listed = model(*shape)
    given = ([x], [y], None), ((x,), (y,), None)
    assert listed.fit([x], [y], sample_weight=[w], epochs=2, shuffle=False, verbose=0).history == plain
    for a, b, _ in given:
        assert listed.evaluate(a, b, verbose=0) == listed.evaluate(x, y, verbose=0)
        assert listed.test_on_batch(a, b) == listed.test_on_batch(x, y)
        np.testing.assert_array_equal(listed.predict(a, verbose=0), listed.predict(x, verbose=0))
        np.testing.assert_array_equal(listed.predict_on_batch(a), listed.predict(x, verbose=0))
        np.testing.assert_array_equal(listed(a), listed.predict(x, verbose=0))
    assert listed.evaluate(iter([([x], [y])]), verbose=0) == listed.test_on_batch(x, y)
    np.testing.assert_array_equal(listed.predict(iter([([x],)]), verbose=0), listed.predict(x, verbose=0))
    assert listed.fit(x, y, validation_data=([x], [y]), epochs=1, verbose=0).history["val_loss"]


def test_lists_of_samples_stay_what_they_are():
    made = model(4, 3)
    np.testing.assert_array_equal(made.predict(list(X), verbose=0), made.predict(X, verbose=0))
    np.testing.assert_array_equal(made.predict(X.tolist(), verbose=0), made.predict(X, verbose=0))
    np.testing.assert_array_equal(made.predict([X[0]], verbose=0), made.predict(X[:1], verbose=0))
    assert made.evaluate(list(X), list(Y), verbose=0) == made.evaluate(X, Y, verbose=0)


def test_several_inputs_or_outputs_are_said_to_be():
    made = model(4, 3)
    for call in (lambda: made.fit([X, X], Y, verbose=0), lambda: made.predict([X, X[..., :2]], verbose=0)):
        message_of(
            ValueError, call, "x is a list of 2 arrays of shape", "(6, 4, 3)", "several inputs", "np.concatenate"
        )
    plain = X[:, 0]  # what has no steps, beside sequences
    for call in (
        lambda: made.predict([X, plain], verbose=0),
        lambda: made.fit([plain, X], Y, verbose=0),
        lambda: made([X, plain]),
        lambda: made.predict(iter([([X, plain],)]), verbose=0),
        lambda: Sequential([Dense(2)]).predict([X, plain], verbose=0),  # whose input is not known yet
        lambda: Sequential([Dense(2)], seed=0).predict([plain, X], verbose=0),
    ):
        message_of(ValueError, call, "x is a list of 2 arrays of shapes", "(6, 4, 3)", "(6, 3)", "several inputs")
    made = Sequential([Input((3,)), Dense(2)], seed=0)
    message_of(ValueError, lambda: made.predict([plain, X]), "of shapes (6, 3) and (6, 4, 3)", "several inputs")
    call = lambda: model(4, 3).predict([X[0], X[1, :3], X[2]], verbose=0)  # noqa: E731
    message_of(ValueError, call, "x is a list of 3 arrays of shapes (4, 3) and (3, 3); pad the sequences")
    made = model(4, 3)
    call = lambda: made.fit(X, [Y, Y], verbose=0)  # noqa: E731
    message_of(ValueError, call, "y is a list of 2 arrays with 6 entries each", "several outputs", "give one array")


def test_a_last_dimension_of_1():
    made, x = model(4, 1), X[..., :1]
    expected = made.predict(x, verbose=0)
    np.testing.assert_array_equal(made.predict(x[..., 0], verbose=0), expected)
    np.testing.assert_array_equal(made(x[..., 0]), expected)
    assert made.evaluate(x[..., 0], Y, verbose=0) == made.evaluate(x, Y, verbose=0)
    history = [model(4, 1).fit(given, Y, shuffle=False, verbose=0).history for given in (x, x[..., 0])]
    assert history[0] == history[1]
    words = model(None, layers=(Embedding(9, 2), SimpleRNN(2), Dense(1)))
    ids = RNG.integers(0, 9, (5, 4))
    np.testing.assert_array_equal(words.predict(ids[..., None], verbose=0), words.predict(ids, verbose=0))
    message_of(ValueError, lambda: made.predict(X[..., 0].T, verbose=0), "x has shape (4, 6); the model takes")


def test_one_sequence_is_not_taken_for_many():
    """(T, 1) for (None, None, 1) may be T samples of one step, or one sample."""
    call = lambda: model(None, 1).predict(X[0, :, :1], verbose=0)  # noqa: E731
    message_of(ValueError, call, "x has shape (4, 1); the model takes (None, None, 1)", "for one sample give x[None]")


@pytest.mark.parametrize(
    "layers",
    [
        (LSTM(3), Dense(2, "softmax")),
        (Bidirectional(LSTM(3, return_sequences=True)), LayerNormalization(), Dense(2)),
        (Conv1D(2, 2), Flatten(), Dense(2)),
    ],
)
def test_nothing_to_predict_for(layers):
    made = model(4, 3, layers=layers)
    some = made.predict(X, verbose=0)
    for nothing in (X[:0], X[:0].astype("f4"), np.zeros((0, 4, 3), int)):
        y = made.predict(nothing, verbose=0)
        assert y.shape == (0, *some.shape[1:])
        assert y.dtype == some.dtype
    assert made.predict(X[:0], batch_size=2, steps=1, verbose=0).shape == (0, *some.shape[1:])
    message_of(ValueError, lambda: made.fit(X[:0], Y[:0], verbose=0), "x has shape (0, 4, 3), which is no sample")


def test_a_stateful_model_names_reset_states():
    made = Sequential([LSTM(3, stateful=True), Dense(2)], seed=0)
    first = made.predict(X, verbose=0)
    message_of(ValueError, lambda: made.predict(X[:1], verbose=0), "stateful with a batch size of 6", "reset_states()")
    made.reset_states()
    np.testing.assert_allclose(made.predict(X[:1], verbose=0), first[:1], rtol=1e-6)
    fixed = Sequential([LSTM(3, stateful=True, batch_input_shape=(6, 4, 3)), Dense(2)], seed=0)
    with pytest.raises(ValueError, match="give batches of") as caught:
        fixed.predict(X[:1], verbose=0)
    assert "reset_states" not in str(caught.value)


def test_a_loss_and_metrics_in_lists_of_one_output():
    x, y = np.arange(6.0).reshape(3, 2), np.array([1.0, 0.0, 2.0])
    measured = []
    for loss, metrics in (("mse", ["mae", "mse"]), (["mse"], [["mae", "mse"]]), (("mse",), (("mae", "mse"),))):
        model = Sequential([Input((2,)), Dense(1)], seed=0)
        model.compile("sgd", loss, metrics=metrics)
        measured.append(model.evaluate(x, y, verbose=0, return_dict=True))
    assert measured[0] == measured[1] == measured[2]
    assert [*measured[0]] == ["loss", "mae", "mse"]
    for given in (dict(loss=["mse", "mae"]), dict(loss="mse", metrics=[["mae"], ["mse"]])):
        with pytest.raises(ValueError, match=r"has 2 parts, one per output; a Sequential has one output, so give one"):
            model.compile("sgd", **given)


def test_an_embedding_that_is_known():
    """As programs give GloVe's vectors."""
    matrix = np.random.default_rng(0).normal(size=(5, 3))
    known = initializers.Constant(matrix)
    model = Sequential([Embedding(5, 3, embeddings_initializer=known, trainable=False, input_shape=(4,))])
    np.testing.assert_array_equal(model.predict(np.array([[0, 4, 2, 2]]))[0], matrix[[0, 4, 2, 2]].astype("float32"))
    again = Sequential.from_config(json.loads(json.dumps(model.get_config())))
    np.testing.assert_array_equal(again.get_weights()[0], matrix.astype("float32"))
    before = matrix.copy()
    matrix[:] = 7
    np.testing.assert_array_equal(known((5, 3), "float64"), before)
    known((5, 3), "float64").fill(7)
    np.testing.assert_array_equal(known((5, 3), "float64"), before)
    with pytest.raises(ValueError, match=r"the value of Constant has shape \(5, 3\); it needs shape \(4, 3\)"):
        Embedding(4, 3, embeddings_initializer=known, input_shape=(4,)).build((None, 4))
    with pytest.raises(ValueError, match="value contains nan; give finite numbers"):
        initializers.Constant([[1.0, np.nan]])


def test_models_are_not_nested():
    inner = Sequential([Dense(1)], name="inner")
    with pytest.raises(TypeError, match="the layer is the model 'inner', and models are not nested; add its layers"):
        Sequential([inner])
    with pytest.raises(TypeError, match=r"layer is <Sequential inner.*; give a layer, such as .*, and no model"):
        layers.TimeDistributed(inner)
