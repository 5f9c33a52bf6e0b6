"""Masks through whole models: what is padded predicts, learns and measures what is not padded."""

import warnings

import numpy as np
import pytest
from differences import differences
from tolerances import DIFFERENCES, GRADIENT, OUTPUT, assert_close

from nblstm.layers import (
    GRU,
    LSTM,
    Activation,
    Bidirectional,
    Conv1D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Input,
    Layer,
    LayerNormalization,
    Masking,
    MaxPooling1D,
    RepeatVector,
    Reshape,
    SimpleRNN,
    SpatialDropout1D,
    TimeDistributed,
)  # fmt: skip
from nblstm.models import Sequential

D = dict(dtype="float64")

#: A text of two sentences of three words and one of one sentence of two, each padded to four sentences of six words.
TEXTS = [np.array([[3, 1, 4], [1, 5, 2]]), np.array([[2, 6]])]


def padded(arrays, S=4, W=6):
    """Arrays (S', W', ...) in one (B, S, W, ...), 0 elsewhere."""
    result = np.zeros((len(arrays), S, W, *arrays[0].shape[2:]), arrays[0].dtype)
    for row, array in zip(result, arrays, strict=True):
        row[: array.shape[0], : array.shape[1]] = array
    return result


def words(**options):
    return Embedding(7, 3, embeddings_initializer="random_normal", mask_zero=True, **D, **options)


#: Models of texts (B, S, W), and of texts whose words are numbers (B, S, W, 3).
OF_WORDS = {
    "lstm": lambda: [words(), TimeDistributed(LSTM(3, **D)), LSTM(2, **D)],
    "embedding of each sentence": lambda: [TimeDistributed(words()), TimeDistributed(GRU(3, **D)), LSTM(2, **D)],
    "both directions": lambda: [
        words(), TimeDistributed(Bidirectional(LSTM(2, **D))), Bidirectional(SimpleRNN(2, **D), "sum"),
    ],
    "averages": lambda: [words(), TimeDistributed(GlobalAveragePooling1D(**D)), GlobalAveragePooling1D(**D)],
    "steps and steps": lambda: [
        words(), TimeDistributed(LSTM(3, return_sequences=True, **D)), TimeDistributed(Dense(3, "tanh", **D)),
        TimeDistributed(GRU(2, **D)), GRU(2, return_sequences=True, **D), GlobalAveragePooling1D(**D),
    ],
    "what keeps masks": lambda: [
        words(), Dropout(0.5, **D), LayerNormalization(**D), Activation("tanh", **D),
        TimeDistributed(SpatialDropout1D(0.5, **D)), TimeDistributed(TimeDistributed(Dense(3, **D))),
        TimeDistributed(Bidirectional(GRU(2, return_sequences=True, **D))), TimeDistributed(LSTM(2, **D)),
        LSTM(2, **D),
    ],
    "backwards": lambda: [words(), TimeDistributed(LSTM(3, go_backwards=True, **D)), GRU(2, go_backwards=True, **D)],
}  # fmt: skip
OF_NUMBERS = {
    "masking": lambda: [Masking(**D), TimeDistributed(LSTM(3, **D)), LSTM(2, **D)],
    "masking of each sentence": lambda: [TimeDistributed(Masking(**D)), TimeDistributed(GRU(3, **D)), LSTM(2, **D)],
    "masking twice": lambda: [
        TimeDistributed(TimeDistributed(Masking(**D))), TimeDistributed(LSTM(2, **D)), GRU(2, **D),
    ],
}  # fmt: skip
MODELS = OF_WORDS | OF_NUMBERS


def model_and_texts(name):
    """A model, and the texts that it reads."""
    if name in OF_WORDS:
        return Sequential([Input((None, None), dtype="int32"), *MODELS[name]()], seed=3), TEXTS
    rng = np.random.default_rng(1)
    texts = [rng.normal(size=(*text.shape, 3)) for text in TEXTS]
    return Sequential([Input((None, None, 3), dtype="float64"), *MODELS[name]()], seed=3), texts


@pytest.mark.parametrize("name", MODELS)
def test_predictions_do_not_see_the_padding(name):
    model, texts = model_and_texts(name)
    alone = np.concatenate([model.predict(text[None], verbose=0) for text in texts])
    assert_close(model.predict(padded(texts), verbose=0), alone, OUTPUT["float64"])


@pytest.mark.parametrize("name", MODELS)
def test_gradients_do_not_see_the_padding(name):
    """Of the padded batch: those of each text alone, added; and central differences."""
    model, texts = model_and_texts(name)
    x = padded(texts)
    y, tape = model.forward(x, training=False)
    dy = np.random.default_rng(2).normal(size=y.shape)
    found = [gradients for gradients in model.backward(tape, dy) if gradients is not None]
    layers = [layer for layer in model.layers if layer.parameters()]
    alone = [0] * len(layers)
    for text, d in zip(texts, dy, strict=True):
        own = model.backward(model.forward(text[None], training=False)[1], d[None])
        alone = [total + g.flat for total, g in zip(alone, (g for g in own if g is not None), strict=True)]
    for layer, gradients, added in zip(layers, found, alone, strict=True):
        assert_close(gradients.flat, added, GRADIENT["float64"])
        for key, parameter in layer.parameters().items():
            expected = differences(lambda: np.sum(model.forward(x, training=False)[0] * dy), parameter)
            assert_close(gradients.params[key], expected, DIFFERENCES["float64"])


@pytest.mark.parametrize("per_sentence", [False, True])
def test_training_does_not_see_the_padding(per_sentence):
    """A target for each text, or for each sentence: loss, metrics and weights are those of the sentences alone."""

    def compiled():
        outer = [] if per_sentence else [LSTM(2, **D)]
        made = Sequential(
            [Input((None, None)), TimeDistributed(words()), TimeDistributed(LSTM(3, **D)), *outer, Dense(1, **D)],
            seed=0,
        )
        made.compile("sgd", "mse", weighted_metrics=["mae"])
        return made

    text, y = TEXTS[0], np.array([[[0.5], [-1.0]]]) if per_sentence else np.array([[0.5]])
    model, expected = compiled(), compiled()
    wide = np.pad(y, ((0, 0), (0, 2), (0, 0)), constant_values=1e3) if per_sentence else y
    for _ in range(2):
        assert_close(
            model.train_on_batch(padded([text]), wide), expected.train_on_batch(text[None], y), GRADIENT["float64"]
        )
    for one, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        assert_close(one, other, GRADIENT["float64"])
    history = model.fit(padded([text]), wide, epochs=1, verbose=0, validation_data=(padded([text]), wide))
    assert history.history["val_loss"][0] < history.history["loss"][0]


WORDS = np.array([[[1, 2, 0], [3, 0, 0], [0, 0, 0]]])
SENTENCES, ONLY = WORDS != 0, np.array([[True, True, False]])


@pytest.mark.parametrize(
    ("within", "mask", "expected"),
    [
        (Embedding(7, 2, mask_zero=True), None, SENTENCES),
        (Embedding(7, 2, mask_zero=True), ONLY, SENTENCES),  # which takes the place of an earlier one, as alone
        (Embedding(7, 2), None, None),
        (Masking(), None, ONLY),
        (TimeDistributed(Masking()), None, SENTENCES),
        (LSTM(2), None, None),
        (LSTM(2), ONLY, ONLY),
        (LSTM(2), SENTENCES, ONLY),
        (LSTM(2, return_sequences=True), SENTENCES, SENTENCES),
        (Bidirectional(LSTM(2)), SENTENCES, ONLY),
        (GlobalAveragePooling1D(), SENTENCES, ONLY),
        (Dense(2), SENTENCES, SENTENCES),
        (Dense(2), ONLY, ONLY),
        (Dropout(0.5), SENTENCES, SENTENCES),
        (TimeDistributed(Dense(2)), SENTENCES, SENTENCES),
        (TimeDistributed(LSTM(2)), SENTENCES[..., None] & np.array([True, False]), SENTENCES),
        (Flatten(), ONLY, ONLY),  # of a mask of whole steps nothing is lost
    ],
)
def test_masks_of_layers_within(within, mask, expected):
    inner = within.layer if isinstance(within, TimeDistributed) else within
    x = WORDS.copy()
    if isinstance(inner, Masking):  # steps, or steps of steps, of one feature
        x = WORDS if inner is within else WORDS[..., None]
    found = TimeDistributed(within).compute_mask(x, mask)
    assert found is expected is None or found.tolist() == expected.tolist()


def test_who_makes_masks():
    """The compiled loss of a model with masks is another one: models ask their layers, and those within."""
    makes = [Masking(), words(), TimeDistributed(Masking()), TimeDistributed(TimeDistributed(words()))]
    others = [Embedding(7, 2), TimeDistributed(Embedding(7, 2)), TimeDistributed(LSTM(2)), Dense(2)]
    assert [layer.makes_masks for layer in makes + others] == [True] * 4 + [False] * 4
    assert all(Sequential([layer]).makes_masks for layer in makes)
    assert not Sequential(others).makes_masks


def test_parts_of_steps_that_are_lost_are_warned_of():
    layer = TimeDistributed(Flatten(name="flat"))
    with pytest.warns(UserWarning, match="Flatten 'flat' does not pass on the mask"):
        assert layer.compute_mask(np.ones((1, 3, 3, 2)), SENTENCES).tolist() == ONLY.tolist()


# --- rows that are masked as a whole, and layers that lose masks: as Keras 3 has it -----------------------------------


def test_a_row_is_masked_as_a_whole():
    """Keras's Masking for (B, C): the row is 0, and counts in no loss."""
    x, w, b = np.array([[1.0, 2.0], [0.0, 0.0], [0.0, 3.0]]), np.array([[0.5], [-1.0]]), np.array([0.25])
    model = Sequential([Input((2,), dtype="float64"), Masking(**D), Dense(1, **D)])
    model.set_weights([w, b])
    model.compile("sgd", "mse")
    assert_close(model.predict(x, verbose=0), x @ w + b, OUTPUT["float64"])
    errors = (x @ w + b - 1)[:, 0] ** 2
    assert model.evaluate(x, np.ones((3, 1)), verbose=0) == pytest.approx((errors[0] + errors[2]) / 2)
    model.fit(x, np.ones((3, 1)), verbose=0)
    one = Sequential([Input((), dtype="int32"), words(), Dense(2, **D)], seed=0)
    embeddings, w, b = one.get_weights()
    assert_close(one.predict(np.array([5, 0]), verbose=0), embeddings[[5, 0]] @ w + b, OUTPUT["float64"])


@pytest.mark.parametrize("layer", [Dense(2), Dropout(0.5), SpatialDropout1D(0.5), LayerNormalization(),
                                   Activation("relu"), LSTM(2, return_sequences=True),
                                   Bidirectional(GRU(2, return_sequences=True))])  # fmt: skip
def test_layers_that_pass_masks_on(layer: Layer):
    assert layer.compute_mask(np.ones((1, 3, 2)), ONLY) is ONLY


@pytest.mark.parametrize("layer", [LSTM(2), Bidirectional(GRU(2)), GlobalAveragePooling1D()])
def test_layers_that_use_masks_up(layer: Layer):
    assert layer.compute_mask(np.ones((1, 3, 2)), ONLY) is None


@pytest.mark.parametrize("layer", [Flatten(), Reshape((2, 3)), Conv1D(2, 2), MaxPooling1D(), GlobalMaxPooling1D()])
def test_layers_that_lose_masks(layer: Layer):
    with pytest.warns(UserWarning, match=f"{type(layer).__name__} .* does not pass on the mask"):
        assert layer.compute_mask(np.ones((1, 3, 2)), ONLY) is None


def test_a_row_that_is_repeated_loses_its_mask():
    with pytest.warns(UserWarning, match="RepeatVector .* does not pass on the mask"):
        assert RepeatVector(3).compute_mask(np.ones((2, 3)), np.array([True, False])) is None


def test_an_average_of_steps_has_a_mask_of_steps():
    with pytest.raises(ValueError, match=r"mask has shape \(2, 2, 2\)"):
        GlobalAveragePooling1D()(np.ones((2, 2, 2)), np.ones((2, 2, 2), bool))


@pytest.mark.parametrize("layer", [Flatten(), Reshape((3, 2)), Conv1D(2, 2), MaxPooling1D(), GlobalMaxPooling1D()])
def test_the_warning_comes_once_and_shows_the_line_of_the_program(layer: Layer):
    """Training and validation, each with passes of its own, are one fit to whoever calls it."""
    model = Sequential([Masking(), layer, Flatten(), Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((4, 3, 2)), np.ones((4, 1))
    model.warmup()  # to compile meanwhile would make Python forget what it has shown
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        model.fit(x, y, batch_size=2, epochs=2, validation_data=(x, y), verbose=0)
    assert [(each.filename, type(layer).__name__ in str(each.message)) for each in caught] == [(__file__, True)]
    assert "what is masked counts from here on like all else" in str(caught[0].message)
