"""What a model refuses: one sentence, before any work, and nothing has changed."""

import numpy as np
import pytest
from messages import message_of

from nblstm.layers import (
    GRU,
    LSTM,
    Bidirectional,
    Conv1D,
    Dense,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    Input,
    Masking,
)
from nblstm.models import Sequential
from nblstm.training import Adam

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 4)), RNG.normal(size=(12, 2))
LABELS = RNG.integers(0, 3, 12)


def regression(optimizer="adam"):
    model = Sequential([Input((4,)), Dense(2)], seed=0)
    model.compile(optimizer, "mse")
    return model


def classifier(loss="sparse_categorical_crossentropy", units=3):
    model = Sequential([Input((4,)), Dense(units, "softmax")], seed=0)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


def refused(model, error, call, *needed):
    """The message fits, and neither parameters, optimizer, random state, history nor measurements have changed."""
    before, state = model.get_weights(), model.generator.bit_generator.state
    steps, history, measured = model.optimizer.iterations, model.history, model.logs()
    message_of(error, call, *needed)
    assert all(map(np.array_equal, model.get_weights(), before))
    assert model.generator.bit_generator.state == state
    assert model.optimizer.iterations == steps
    assert model.logs() == measured
    assert model.history is history or not model.history.epoch  # that of batches that are refused is empty


def with_value(array, value):
    changed = array.copy()
    changed.flat[-1] = value
    return changed


FIT = {
    "sizes": ((X, Y[:7]), {}, ValueError, "x has 12 samples and y has 7; give as many of each"),
    "weights": ((X, Y), {"sample_weight": np.ones(5)}, ValueError, "x has 12 samples and sample_weight has 5"),
    "empty": ((X[:0], Y[:0]), {}, ValueError, "x has shape (0, 4), which is no sample"),
    "nan": ((with_value(X, np.nan), Y), {}, ValueError, "x has nan at [11, 3]; remove or replace"),
    "inf": ((X, with_value(Y, -np.inf)), {}, ValueError, "y has -inf at [11, 1]"),
    "weights_shape": (
        (X, Y), {"sample_weight": np.ones((12, 7))}, ValueError, "sample_weight has shape (12, 7); it needs shape (12,)"
    ),
    "validation_weights": (
        (X, Y), {"validation_data": (X, Y, np.ones((12, 7))), "batch_size": 5}, ValueError,
        "validation_data: sample_weight has shape (12, 7); it needs shape (12,)",
    ),
    "nan_weight": ((X, Y), {"sample_weight": with_value(Y[:, 0], np.nan)}, ValueError, "sample_weight has nan at [11]"),
    "features": ((RNG.normal(size=(12, 5)), Y), {}, ValueError, "x has shape (12, 5); the model takes (None, 4)"),
    "dimensions": ((X[:, None], Y), {}, ValueError, "x has shape (12, 1, 4); the model takes (None, 4)"),
    "targets": ((X, Y[:, :1].repeat(5, 1)), {}, ValueError, "y_true has shape (12, 5); it needs that of"),
    "objects": ((np.array([["a"] * 4] * 12), Y), {}, TypeError, "x has dtype <U1; give real numbers"),
    "ragged": (([[1, 2], [1]], Y), {}, ValueError, "x is a ragged nest of lists; pad the sequences"),
    "none": ((), {}, ValueError, "x is None; give an array, or a generator"),
    "list_of_batches": (([(X, Y)] * 2,), {}, ValueError, "x is a list of 2 tuples, which is taken for samples, and y"),
    "no_targets": ((X,), {}, ValueError, "y is None; give the targets"),
    "batch_size": ((X, Y), {"batch_size": 0}, ValueError, "batch_size is 0; give a whole number, 1 or more"),
    "epochs": ((X, Y), {"epochs": 2.5}, TypeError, "epochs is 2.5 of type float"),
    "initial_epoch": ((X, Y), {"initial_epoch": -1}, ValueError, "initial_epoch is -1"),
    "verbose": ((X, Y), {"verbose": 3}, ValueError, "verbose is 3; give 0 for nothing"),
    "verbose_array": ((X, Y), {"verbose": np.array([1, 2])}, ValueError, "verbose is array([1, 2]); give 0"),
    "verbose_list": ((X, Y), {"verbose": [1]}, ValueError, "verbose is [1]; give 0 for nothing"),
    "split": ((X, Y), {"validation_split": 1.0}, ValueError, "validation_split is 1.0; give a number, 0 or more"),
    "split_type": ((X, Y), {"validation_split": "a"}, TypeError, "validation_split is 'a' of type str"),
    "shuffle": ((X, Y), {"shuffle": "batch"}, TypeError, "shuffle is 'batch'; give True or False"),
    "dict": (({"x": X}, Y), {}, TypeError, "x is dict; give an array of real numbers"),
    "validation_type": ((X, Y), {"validation_data": 3}, TypeError, "validation_data is int; give (x, y)"),
    "split_all": ((X, Y), {"validation_split": 0.99}, ValueError, "leaves 0 to train on and 12 to validate with"),
    "validation": ((X, Y), {"validation_data": (X,)}, ValueError, "validation_data has 1 parts; give (x, y)"),
    "validation_nan": ((X, Y), {"validation_data": (X * np.nan, Y)}, ValueError, "validation_data: x has nan at [0"),
    "validation_steps": (
        (X, Y), {"validation_data": (X, Y), "validation_steps": 0}, ValueError, "validation_steps is 0"
    ),
    "validation_batch_size": (
        (X, Y), {"validation_split": 0.5, "validation_batch_size": 0}, ValueError, "validation_batch_size is 0"
    ),
    "validation_epochs": ((X, Y), {"validation_freq": [0, 2]}, ValueError, "an epoch of validation_freq is 0; give"),
    "validation_freq": ((X, Y), {"validation_freq": 0}, ValueError, "validation_freq is 0; give the epochs"),
    "steps": ((X, Y), {"steps_per_epoch": 0}, ValueError, "steps_per_epoch is 0"),
    "two_weights": (
        (X, Y), {"class_weight": {0: 1}, "sample_weight": np.ones(12)}, ValueError, "are both given; give one"
    ),
    "class_weight": ((X, Y), {"class_weight": [1, 2]}, TypeError, "class_weight is [1, 2]; give a dict from class"),
    "class_weight_nan": ((X, Y), {"class_weight": {0: np.nan}}, ValueError, "class_weight has nan at [0]; remove"),
    "class_weight_steps": (
        (X, Y[..., None]), {"class_weight": {0: 1}}, ValueError, "needs one class per row and y"
    ),
    "batches": ((iter([X]), None), {}, TypeError, "a batch is ndarray; let the iterable give (x, y)"),
    "batch_parts": ((iter([(X, Y, Y, Y)]), None), {}, TypeError, "a batch is 4 parts; let the iterable give"),
    "no_batch": ((iter([]), None), {}, ValueError, "the first epoch got no batch"),
    "batch_none": ((iter([None]), None), {}, TypeError, "a batch is NoneType; let the iterable give (x, y)"),
    "beside": ((iter([(X, Y)]), Y), {}, ValueError, "y or sample_weight is given beside an iterable of batches"),
    "split_of_iterable": ((iter([(X, Y)]),), {"validation_split": 0.1}, ValueError, "validation_split needs arrays"),
}  # fmt: skip


@pytest.mark.parametrize("case", FIT)
def test_fit(case):
    arguments, options, error, message = FIT[case]
    model = regression()
    model.test_on_batch(X, Y)
    assert model.logs()["loss"] > 0
    refused(model, error, lambda: model.fit(*arguments, **{"verbose": 0, **options}), message)


def test_weights_of_steps_have_their_shape():
    """Behind a layer for sequences there are as many as targets, or one per sequence."""
    x, y = RNG.normal(size=(6, 5, 3)), RNG.normal(size=(6, 5, 2))
    model = Sequential([Input((None, 3)), Dense(2)])
    model.compile("sgd", "mse", weighted_metrics=["mae"])
    for shape in ((6, 4), (6, 5, 2), (6, 1, 5)):
        for call in (model.fit, model.evaluate):
            given = {"sample_weight": np.ones(shape), "batch_size": 4, "verbose": 0}
            message = f"sample_weight has shape {shape}; it needs shape (6, 5) or the first dimensions of that"
            refused(model, ValueError, lambda call=call, given=given: call(x, y, **given), message)
    for shape in ((6,), (6, 1), (6, 5), (6, 5, 1)):
        model.fit(x, y, sample_weight=np.ones(shape), batch_size=4, verbose=0)


@pytest.mark.parametrize("batches", [[], [None], [(X, Y, np.ones((12, 3)))]])
def test_an_evaluation_that_is_refused_leaves_what_was_measured(batches):
    model = regression()
    measured = model.test_on_batch(X, Y, return_dict=True)
    with pytest.raises((TypeError, ValueError)):
        model.evaluate(iter(batches), verbose=0)
    assert model.logs() == measured


def test_a_model_without_parameters():
    """It can be measured, and there is nothing to train."""
    x, y = RNG.normal(size=(4, 5, 2)), np.zeros((4, 2))
    for layers in ([GlobalAveragePooling1D()], [Input((5, 2)), GlobalAveragePooling1D()]):
        model = Sequential(layers)
        model.compile("adam", "mse")
        assert model.evaluate(x, y, verbose=0) == pytest.approx((x.mean(axis=1) ** 2).mean(), rel=1e-5)
        for call in (lambda m=model: m.fit(x, y, verbose=0), lambda m=model: m.train_on_batch(x, y)):
            message_of(ValueError, call, "no layer has parameters, so there is nothing to train; add one, such as")


def test_an_optimizer_belongs_to_one_model():
    """As in Keras: its state is that of the layers with which it has taken steps."""
    adam = Adam()
    first, second = regression(adam), regression(adam)
    assert first.optimizer is second.optimizer
    first.fit(X, Y, batch_size=4, verbose=0)
    said = "the optimizer has taken 3 steps with other layers, whose state it would lose; call compile() with one of"
    for call in (second.fit, second.train_on_batch):
        refused(second, ValueError, lambda call=call: call(X, Y), said)
    first.compile(adam, "mse")
    first.train_on_batch(X, Y)
    assert adam.iterations == 4


def test_an_optimizer_belongs_to_the_layers_of_its_model():
    model = regression()
    model.train_on_batch(X, Y)
    model.add(Dense(2))
    refused(model, ValueError, lambda: model.train_on_batch(X, Y), "has taken 1 steps with other layers", "after add()")
    model.compile("adam", "mse")
    model.train_on_batch(X, Y)
    assert model.optimizer.iterations == 1


def test_labels_out_of_range_are_found_before_training():
    """The one that is wrong is in the last batch."""
    for loss, y, message in (
        ("sparse_categorical_crossentropy", with_value(LABELS, 3), "y_true contains 3; give class numbers, 0 to 2"),
        ("sparse_categorical_crossentropy", with_value(LABELS, -1), "y_true contains -1; give class numbers, 0 to 2"),
        ("categorical_crossentropy", with_value(np.eye(3)[LABELS], 2), "y_true contains 2.0; categorical_crossentropy"),
        ("categorical_crossentropy", LABELS, "for class numbers use sparse_categorical_crossentropy"),
        ("sparse_categorical_crossentropy", np.eye(3)[LABELS], "for one-hot rows use categorical_crossentropy"),
    ):
        model = classifier(loss)
        refused(model, ValueError, lambda m=model, y=y: m.fit(X, y, batch_size=5, verbose=0), message)
        good = LABELS if y.ndim == 1 and "sparse" in loss else np.eye(3)[LABELS]
        if "sparse" not in loss or y.ndim == 1:
            val = {"validation_data": (X, y)}
            refused(model, ValueError, lambda m=model, g=good, v=val: m.fit(X, g, verbose=0, epochs=2, **v), message)
    binary = classifier("binary_crossentropy", 1)
    refused(
        binary, ValueError, lambda: binary.fit(X, LABELS, batch_size=5, verbose=0), "y_true contains 2.0; binary_cross"
    )


def test_words_out_of_range_are_found_before_training():
    words = RNG.integers(0, 9, (12, 5))
    model = Sequential([Input((5,)), Embedding(9, 2), Flatten(), Dense(1)])
    model.compile("adam", "mse")
    for value in (9, -1):
        refused(
            model, ValueError, lambda v=value: model.fit(with_value(words, v), Y[:, :1], batch_size=4, verbose=0),
            f"x contains {value}; Embedding", "give whole numbers from 0 to 8",
        )  # fmt: skip


def test_masked_labels_may_be_anything():
    words = np.array([[1, 2, 0], [3, 0, 0]])
    model = Sequential([Embedding(4, 2, mask_zero=True), Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(words, np.where(words, 1, -1), verbose=0)


def test_not_compiled_and_not_built():
    model = Sequential([Dense(2)])
    for method in ("fit", "evaluate", "train_on_batch", "test_on_batch"):
        message_of(
            RuntimeError, lambda m=method: getattr(model, m)(X, Y), f"call compile(optimizer, loss) before {method}()"
        )
    for call in (model.count_params, lambda: model.set_weights([]), lambda: model.save("m")):
        message_of(ValueError, call, "the model is not built; call build((None, ...))")
    message_of(ValueError, model.build, "the model does not know its input's shape; call build((None, ...))")
    message_of(ValueError, Sequential().build, "the model has no layers; add one first")
    message_of(ValueError, lambda: Sequential().predict(X), "the model has no layers")
    message_of(ValueError, Sequential().pop, "the model has no layers")
    message_of(RuntimeError, model.state, "the model is not compiled")


def test_compile():
    model = Sequential([Dense(2)])
    message_of(ValueError, model.compile, "loss is None; give a name, such as 'mse'")
    message_of(
        ValueError, lambda: model.compile("adam", "mser"), "no loss named 'mser' (did you mean 'mse'?); give one of"
    )
    message_of(ValueError, lambda: model.compile("adamm", "mse"), "no optimizer named 'adamm' (did you mean 'adam'?)")
    message_of(ValueError, lambda: model.compile(loss="mse", metrics=["accurate"]), "no metric named 'accurate'")
    message_of(TypeError, lambda: model.compile(loss="mse", metrics="mae"), "metrics is 'mae'; give a list")
    message_of(
        ValueError, lambda: model.compile(loss="mse", loss_weights=[1]), "loss_weights is [1], which nblstm does not"
    )
    message_of(ValueError, lambda: model.compile(loss="mse", run_eagerly=True), "run_eagerly is True")
    assert not model.compiled


def test_layers():
    model = Sequential([Input((4, 3))], name="m")
    message_of(TypeError, lambda: model.add("dense"), "the layer is 'dense'; give an object of nblstm.layers")
    message_of(TypeError, lambda: Sequential(Dense(2)), "give a list of layers, such as [LSTM(32), Dense(1)]")
    message_of(TypeError, lambda: Sequential(name=3), "name is 3; give a string")
    message_of(ValueError, lambda: model.add(Input((2,))), "is an Input behind other layers; add it first")
    model.add(Dense(2, name="a"))
    message_of(ValueError, lambda: model.add(Dense(2, name="a")), "there is a layer named 'a' already")
    message_of(ValueError, lambda: model.add(Conv1D(2, 9)), "no window of (9,) fits")
    message_of(ValueError, lambda: model.add(LSTM(2, return_state=True)), "returns its states too")
    last_alone = Sequential([LSTM(2, name="l")])
    for layer in (LSTM(2, name="m"), Conv1D(2, 2, name="m"), Bidirectional(GRU(2), name="m")):
        expected = "layer 'm' needs sequences and 'l' before it gives its last output alone; make 'l' with return_seq"
        message_of(ValueError, lambda layer=layer: last_alone.add(layer), expected)
    assert [layer.name for layer in last_alone.layers] == ["l"]
    assert [layer.name for layer in model.layers] == ["a"]
    message_of(
        ValueError, lambda: model.build((None, 9, 3)), "the model takes (None, 4, 3) and input_shape is (None, 9, 3)"
    )
    message_of(ValueError, lambda: model.get_layer("b"), "there is no layer named 'b'; give one of a")
    message_of(ValueError, model.get_layer, "give one of them")
    message_of(
        ValueError, lambda: model.set_weights([np.zeros((3, 2))]), "the model has 2 parameters and weights is 1 arrays"
    )
    before = model.get_weights()
    message_of(ValueError, lambda: model.set_weights([np.ones((3, 2)), np.ones(3)]), "has shape (3,)")
    assert all(map(np.array_equal, model.get_weights(), before))
    model = Sequential([Dense(3), Masking(), Embedding(5, 2), Dense(1)])
    model.compile(Adam(), "mse")
    message_of(ValueError, lambda: model.fit(np.zeros((2, 3, 2)), np.zeros((2, 3, 3, 1)), verbose=0), "has no gradient")


def test_batches_of_stateful_layers_have_one_size():
    x = RNG.normal(size=(10, 4, 3))
    for fixed in (None, 4):
        model = Sequential([Input((4, 3), batch_size=fixed), LSTM(2, stateful=True, name="s"), Dense(2)])
        model.compile("adam", "mse")
        message = (
            f"10 samples make batches of 4 and 2, and layer 's' is stateful; give batches of {fixed or 'one size'}, "
        )
        options = {"batch_size": 4, "verbose": 0}
        refused(model, ValueError, lambda m=model, o=options: m.fit(x, Y[:10], **o), message)
        refused(
            model, ValueError, lambda m=model, o=options: m.fit(x[:8], Y[:8], validation_data=(x, Y[:10]), **o), message
        )
        message_of(ValueError, lambda m=model, o=options: m.predict(x, **o), message)
        model.fit(x[:8], Y[:8], **options)
        model.predict(x, steps=2, **options)
    message_of(
        ValueError, lambda: model.fit(x[:6], Y[:6], batch_size=3, verbose=0),
        "6 samples make batches of 3, and layer 's' is stateful; give batches of 4",
    )  # fmt: skip


def test_one_sample_without_its_batch():
    model = regression()
    given = "x has shape (4,); the model takes (None, 4), with None for any size; for one sample give x[None]"
    for call in (model, model.predict, model.predict_on_batch):
        message_of(ValueError, lambda call=call: call(X[0]), given)
    assert model.predict(X[0][None], verbose=0).shape == (1, 2)


def test_predict_and_evaluate():
    model = regression()
    message_of(ValueError, lambda: model.predict(X[:, :3]), "x has shape (12, 3); the model takes (None, 4)")
    message_of(ValueError, lambda: model.predict(X[:0, :3]), "x has shape (0, 3); the model takes (None, 4)")
    message_of(ValueError, lambda: model.predict(X, verbose=3), "verbose is 3; give 0 for nothing")
    message_of(TypeError, lambda: model.evaluate(X, Y, return_dict="no"), "return_dict is 'no'; give True or False")
    message_of(TypeError, lambda: model.train_on_batch(X, Y, return_dict=2), "return_dict is 2; give True or False")
    message_of(TypeError, lambda: model.summary(line_length="a"), "line_length is 'a' of type str")
    message_of(ValueError, lambda: model.predict(X, batch_size=0), "batch_size is 0; give a whole number, 1 or more")
    message_of(ValueError, lambda: model.predict(iter([])), "predict got no batch")
    message_of(ValueError, lambda: model.evaluate(iter([]), verbose=0), "the evaluation got no batch")
    message_of(ValueError, lambda: model.evaluate(X, Y[:3], verbose=0), "x has 12 samples and y has 3")
    steps = Sequential([Dense(2)])
    steps.build((None, None, 3))
    batches = [np.zeros((2, 4, 3)), np.zeros((2, 5, 3))]
    message_of(
        ValueError, lambda: steps.predict(iter(batches), verbose=0), "which make no array; predict such batches apart"
    )
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
        model.fit(X, Y, epoch=3)
