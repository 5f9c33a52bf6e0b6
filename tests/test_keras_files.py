"""Keras's files: those of Keras 1 to 3 give its numbers and are trained on, and come back to Keras as they were."""

import io
import json
import lzma
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from messages import message_of

from nblstm import initializers
from nblstm.activations import ActivationFunction
from nblstm.constraints import CONSTRAINTS
from nblstm.initializers import INITIALIZERS
from nblstm.layers import LSTM, RNN, Activation, Dense, Input, Layer, Parameter, TimeDistributed, register
from nblstm.layers.base.layer import LAYERS
from nblstm.models import Sequential, load_model, model_from_json, save_model
from nblstm.models.keras_files import configs_written
from nblstm.regularizers import REGULARIZERS
from nblstm.training import Adam, callbacks, losses
from nblstm.training.losses.base_loss import LOSSES
from nblstm.training.metrics.metric import METRICS
from nblstm.training.optimizers import schedules
from nblstm.training.optimizers.base_optimizer import OPTIMIZERS
from nblstm.training.optimizers.schedules import SCHEDULES
from nblstm.utils import register_keras_serializable

GOLDEN = Path(__file__).parent / "golden"

#: Keras's numbers, in float32.
CLOSE = dict(rtol=0, atol=2e-6)


def opened(name):
    with lzma.open(GOLDEN / name) as file, zipfile.ZipFile(io.BytesIO(file.read())) as archive:
        return {member: archive.read(member) for member in archive.namelist()}


@pytest.fixture(scope="module")
def keras3(tmp_path_factory):
    return unpacked("keras_files.zip.xz", tmp_path_factory.mktemp("keras3"))


@pytest.fixture(scope="module")
def keras2(tmp_path_factory):
    return unpacked("keras2_files.zip.xz", tmp_path_factory.mktemp("keras2"))


def unpacked(name, folder):
    for member, data in opened(name).items():
        (folder / member).write_bytes(data)
    with np.load(folder / "arrays.npz") as arrays:
        return folder, dict(arrays), json.loads((folder / "metadata.json").read_text())["fit"] | {"verbose": 0}


CASES = [
    ("words", ".keras"), ("words", ".h5"), ("masked", ".keras"), ("masked", ".h5"), ("images", ".keras"),
    ("series", ".keras"), ("frozen", ".keras"), ("averages", ".keras"), ("resized", ".keras"), ("adamax", ".keras"),
    ("adadelta", ".keras"), ("lion", ".keras"), ("chain", ".keras"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "suffix"), CASES)
def test_files_of_keras_3_give_its_numbers_and_are_trained_on(name, suffix, keras3):
    folder, arrays, fit = keras3
    model = load_model(folder / f"{name}{suffix}")
    x, y = arrays[f"{name}/x"], arrays[f"{name}/y"]
    np.testing.assert_allclose(model.predict(x, verbose=0), arrays[f"{name}/predicted"], **CLOSE)
    measured = json.loads((folder / "metadata.json").read_text())["measured"][name]
    logs = model.evaluate(x, y, batch_size=fit["batch_size"], verbose=0, return_dict=True)
    assert sorted(logs) == sorted(measured)
    for key, value in measured.items():
        np.testing.assert_allclose(logs[key], value, rtol=1e-5, atol=1e-6)
    model.fit(x, y, **fit)
    np.testing.assert_allclose(model.predict(x, verbose=0), arrays[f"{name}/resumed"], **CLOSE)


@pytest.mark.parametrize("name", [name for name, suffix in CASES if suffix == ".keras"])
def test_what_is_written_back_is_the_same_model(name, keras3, tmp_path):
    folder, arrays, fit = keras3
    x, y = arrays[f"{name}/x"], arrays[f"{name}/y"]
    model = load_model(folder / f"{name}.keras")
    pytest.importorskip("h5py", reason="Keras's files are written by h5py")
    for suffix in (".keras", ".h5", ".hdf5", ".nblstm"):
        model.save(tmp_path / f"m{suffix}")
    for suffix in (".weights.h5", "_w.h5"):
        model.save_weights(tmp_path / f"m{suffix}")
    model.fit(x, y, **fit)
    expected = model.predict(x, verbose=0)
    for suffix in (".keras", ".h5", ".hdf5", ".nblstm"):
        other = load_model(tmp_path / f"m{suffix}")
        assert other.to_json() == load_model(folder / f"{name}.keras").to_json()
        other.fit(x, y, **fit)
        assert np.array_equal(other.predict(x, verbose=0), expected)
    for suffix in (".weights.h5", "_w.h5", ".keras", ".h5"):
        other.load_weights(tmp_path / f"m{suffix}")
        np.testing.assert_allclose(other.predict(x, verbose=0), arrays[f"{name}/predicted"], **CLOSE)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("rate", [1e-3, 0.3])
def test_training_goes_on_with_the_same_bits(suffix, rate, tmp_path):
    """A learning rate such as 1e-3 is a variable of float32 in the file, and has all digits in the configuration."""
    pytest.importorskip("h5py", reason="Keras's files are written by h5py")
    x = np.random.default_rng(0).normal(size=(37, 6, 3))
    y = x.sum(axis=(1, 2))[:, None]
    model = Sequential([Input((6, 3)), LSTM(5), Dense(1)], seed=0)
    model.compile(Adam(learning_rate=rate), "mse")
    options = dict(shuffle=False, batch_size=8, verbose=0)
    model.fit(x, y, epochs=2, **options)
    model.optimizer.learning_rate = rate / 3
    model.save(tmp_path / f"m{suffix}")
    again = load_model(tmp_path / f"m{suffix}")
    assert again.optimizer.learning_rate == rate / 3
    losses = [each.fit(x, y, epochs=3, **options).history["loss"] for each in (model, again)]
    assert losses[0] == losses[1]


def test_weights_and_json_of_keras_3(keras3):
    folder, arrays, _ = keras3
    model = model_from_json((folder / "masked.json").read_text())
    for name in ("masked.weights.h5", "masked.h5", "masked.keras"):
        model.set_weights([0 * w for w in model.get_weights()])
        model.load_weights(folder / name)
        np.testing.assert_allclose(model.predict(arrays["masked/x"], verbose=0), arrays["masked/predicted"], **CLOSE)
    model = model_from_json((folder / "words.json").read_text())
    model.load_weights(folder / "words.h5")  # by its lists of weights, in which an RNN of several cells has one
    assert [type(layer).__name__ for layer in model.layers][4:7] == ["LSTM", "GRU", "SimpleRNN"]
    before = model.get_weights()
    other = Sequential([Input((3,)), Dense(2)])
    message_of(ValueError, lambda: other.load_weights(folder / "masked.weights.h5"), "cannot be loaded", "needs {")
    message_of(ValueError, lambda: other.load_weights(folder / "masked.h5"), "cannot be loaded", "of 3 layers")
    assert all(map(np.array_equal, model.get_weights(), before))


@pytest.mark.parametrize("name", ["words", "series", "chain"])
def test_files_of_keras_2(name, keras2):
    folder, arrays, fit = keras2
    x, y, predicted = (arrays[f"{name}/{part}"] for part in ("x", "y", "predicted"))
    suffixes = (".h5",) if name == "chain" else (".keras", ".h5")
    for suffix in suffixes:
        model = load_model(folder / f"{name}{suffix}")
        np.testing.assert_allclose(model.predict(x, verbose=0), predicted, **CLOSE)
        model.fit(x, y, **fit)
        np.testing.assert_allclose(model.predict(x, verbose=0), arrays[f"{name}/resumed"], **CLOSE)
    model.load_weights(folder / f"{name}_weights.h5")
    np.testing.assert_allclose(model.predict(x, verbose=0), predicted, **CLOSE)
    if name != "words":
        made = model_from_json((folder / f"{name}.json").read_text())
        made.set_weights(model.get_weights())
        np.testing.assert_allclose(made.predict(x, verbose=0), predicted, **CLOSE)


def test_the_first_files_of_the_new_format(tmp_path):
    """Those of tf.keras 2.12, where each layer with weights takes two numbers."""
    data = lzma.decompress((GOLDEN / "keras212.keras.xz").read_bytes())
    (tmp_path / "m.keras").write_bytes(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        x, predicted = (np.load(io.BytesIO(archive.read(f"{name}.npy"))) for name in ("x", "predicted"))
    model = load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(model.predict(x, verbose=0), predicted, **CLOSE)
    assert model.optimizer.iterations == 2
    model.set_weights([0 * w for w in model.get_weights()])
    model.load_weights(tmp_path / "m.keras")
    np.testing.assert_allclose(model.predict(x, verbose=0), predicted, **CLOSE)


def test_hdf5_under_the_name_of_the_new_format(keras2, tmp_path):
    """As tf.keras wrote it until 2.12."""
    (tmp_path / "m.keras").write_bytes((keras2[0] / "series.h5").read_bytes())
    assert load_model(tmp_path / "m.keras").to_json() == load_model(keras2[0] / "series.h5").to_json()


@pytest.mark.parametrize("name", ["one", "cudnn"])
def test_files_of_keras_1_and_of_cudnn(name, keras2):
    folder, arrays, _ = keras2
    model = load_model(folder / f"{name}_old.h5")
    np.testing.assert_allclose(
        model.predict(arrays[f"{name}/x"], verbose=0), arrays[f"{name}/predicted"], rtol=0, atol=2e-6
    )
    rate = model.optimizer._learning_rate
    assert isinstance(rate, schedules.InverseTimeDecay)
    assert rate(0), rate(100) == (0.001, 0.0005)
    assert [metric.name for metric in model.metrics] == ["acc"]


def test_hard_sigmoid_of_keras_2_is_another(keras2, tmp_path):
    """It is kept in nblstm's own files; Keras 3 has none such."""
    model = load_model(keras2[0] / "words.h5")
    assert model.layers[1].forward_layer.recurrent_activation.name == "hard_sigmoid_keras2"
    model.save(tmp_path / "m.nblstm")
    assert load_model(tmp_path / "m.nblstm").to_json() == model.to_json()
    message_of(ValueError, lambda: model.save(tmp_path / "m.keras"), "the hard_sigmoid of Keras 1 and 2", ".nblstm")


cube = register_keras_serializable(name="cube_of_files")(ActivationFunction("cube_of_files", scalar=lambda x: x**3))


@register_keras_serializable()
def own_loss(y, p):
    return np.square(p - y).mean(-1), 2 * (p - y) / p.shape[-1]


@register_keras_serializable()
def own_metric(y, p):
    return np.abs(p - y).mean(-1)


def compiled(*layers, **options):
    model = Sequential([Input((3,)), *(layers or [Dense(2)])], seed=0)
    model.compile("sgd", "mse", **options)
    return model


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_what_is_your_own_is_found_by_name(suffix, tmp_path):
    pytest.importorskip("h5py", reason="Keras's files are written by h5py")
    model = Sequential([Input((3,)), Dense(2, cube), Activation("tanh")], seed=0)
    model.compile(Adam(0.01), own_loss, metrics=["accuracy", own_metric, losses.MeanAbsoluteError()])
    x = np.random.default_rng(0).normal(size=(6, 3))
    model.fit(x, x[:, :2], verbose=0)
    model.save(tmp_path / f"m{suffix}")
    loaded = load_model(tmp_path / f"m{suffix}")
    first, second = (m.fit(x, x[:, :2], verbose=0, shuffle=False) for m in (model, loaded))
    assert first.history.keys() == second.history.keys()
    for name, values in first.history.items():
        np.testing.assert_allclose(second.history[name], values, rtol=1e-6)
    assert not load_model(tmp_path / f"m{suffix}", compile=False).compiled
    model.save(tmp_path / f"n{suffix}", include_optimizer=False)
    assert not Sequential.load(tmp_path / f"n{suffix}").compiled
    message_of(FileExistsError, lambda: save_model(model, tmp_path / f"n{suffix}", overwrite=False), "already")


def test_what_keras_has_not_is_refused(tmp_path):
    cases = {
        "learn_initial_state=True": [LSTM(2, learn_initial_state=True)],
        "of the class RNN": [RNN("lstm", 2)],
    }
    for fragment, layers in cases.items():
        model = Sequential([Input((4, 3)), *layers], seed=0)
        for name in ("m.keras", "m.h5"):
            message = message_of(ValueError, lambda name=name: model.save(tmp_path / name), fragment, ".nblstm")  # noqa: B023
            assert layers[0].name in message
            model.compile("sgd", "mse")
            checkpoint = callbacks.ModelCheckpoint(tmp_path / name)
            x = np.zeros((2, 4, 3))
            message_of(
                ValueError, lambda c=checkpoint: model.fit(x, x[:, 0, :2], callbacks=[c], verbose=0),  # noqa: B023
                fragment, "save_weights_only=True",
            )  # fmt: skip
    model = Sequential([Input((4, 3)), LSTM(2, return_sequences=True)], seed=0)
    model.compile("sgd", "mse", bptt_steps=2)
    message_of(ValueError, lambda: model.save(tmp_path / "m.keras"), "bptt_steps", ".nblstm")
    model.compile(Adam(lambda step: 0.1), "mse")
    message_of(ValueError, lambda: model.save(tmp_path / "m.h5"), "the learning rate is a function", ".nblstm")
    assert not list(tmp_path.iterdir())


def test_checkpoints_under_keras_s_names(tmp_path):
    pytest.importorskip("h5py", reason="Keras's files are written by h5py")
    model, x = compiled(), np.random.default_rng(0).normal(size=(8, 3))
    model.fit(
        x, x[:, :2], epochs=2, verbose=0,
        callbacks=[
            callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="loss", save_best_only=True),
            callbacks.ModelCheckpoint(tmp_path / "{epoch}-{loss:.2f}.weights.h5", save_weights_only=True),
            callbacks.ModelCheckpoint(tmp_path / "{epoch}-{loss:.2f}", save_weights_only=True),
        ],
    )  # fmt: skip
    loaded = load_model(tmp_path / "best.keras")
    assert all(map(np.array_equal, loaded.get_weights(), model.get_weights()))
    assert len(list(tmp_path.glob("*.weights.h5"))) == 2
    assert len(list(tmp_path.iterdir())) == 5


def test_without_h5py(keras3, tmp_path, monkeypatch):
    """Reading needs none; writing says which extra has it, and a checkpoint when a fit begins."""
    monkeypatch.setitem(sys.modules, "h5py", None)
    model = load_model(keras3[0] / "images.keras")
    x, y = keras3[1]["images/x"], keras3[1]["images/y"]
    for name, weights in (("m.keras", False), ("m.h5", False), ("m.weights.h5", True)):
        write = model.save_weights if weights else model.save
        message_of(ImportError, lambda n=name, write=write: write(tmp_path / n), "by h5py", "'.[files]'")
        checkpoint = callbacks.ModelCheckpoint(tmp_path / name, save_weights_only=weights)
        message_of(ImportError, lambda c=checkpoint: model.fit(x, y, callbacks=[c], verbose=0), "by h5py")
    assert not list(tmp_path.iterdir())


@register()
class Scaled(Layer):
    """A Dense and a factor."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.inner = self.hold(Dense(units, dtype=self.dtype), prefix="inner_")

    def _output_shape(self, shape):
        return (*shape[:-1], self.units)

    def _parameters_for(self, shape):
        return {"factor": Parameter((self.units,), initializers.get("ones"))}

    def _forward(self, x, training, mask, generator):
        y, tape = self.inner.forward(x, training=training)
        return y * self._own["factor"], (y, tape)

    def _backward(self, saved, dy, gradients, input_gradient):
        y, tape = saved
        gradients["factor"][...] = (dy * y).sum(axis=0)
        return self.inner.backward(
            tape, dy * self._own["factor"], into=gradients[self.inner], input_gradient=input_gradient
        )[0]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_layers_of_your_own(suffix, tmp_path):
    pytest.importorskip("h5py", reason="Keras's files are written by h5py")
    model, x = compiled(Scaled(2), Scaled(2, name="last")), np.random.default_rng(0).normal(size=(6, 3))
    model.fit(x, x[:, :2], verbose=0)
    model.save(tmp_path / f"m{suffix}")
    loaded = load_model(tmp_path / f"m{suffix}")
    assert np.array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert [layer.get_config() for layer in loaded.layers] == [layer.get_config() for layer in model.layers]
    message = message_of(
        ValueError, lambda: load_model(tmp_path / f"m{suffix}", {"Scaled": 3}), "the layer", "stands for 3"
    )  # fmt: skip
    assert "cannot be loaded" in message


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
def test_names_of_layers(suffix, tmp_path):
    """Whatever a layer is called, it is found again; what HDF5 cannot have is refused."""
    pytest.importorskip("h5py", reason="Keras's files are written by h5py")
    path = tmp_path / f"m{suffix}"
    for name in ("größe", "层 'q'\n", "a/b", "..", "vars", "model_weights", "x" * 3000):
        model = Sequential([Input((3,)), Dense(4, name=name), Dense(2)], seed=0)
        if suffix == ".weights.h5":
            model.save_weights(path)
            again = Sequential([Input((3,)), Dense(4), Dense(2)], seed=1)
            again.load_weights(path)
        else:
            model.save(path)
            again = load_model(path)
            assert again.layers[0].name == name
        assert all(map(np.array_equal, again.get_weights(), model.get_weights()))
    if suffix == ".weights.h5":
        message_of(ValueError, lambda: load_model(path), "it has weights alone; make the model, and give its load_weig")
    for name in ("a\0b", *["."] * (suffix == ".h5")):
        model = Sequential([Input((3,)), Dense(4, name=name)], seed=0)
        write = model.save_weights if suffix == ".weights.h5" else model.save
        message_of(ValueError, lambda write=write: write(path), "cannot be a name in an HDF5 file", repr(name)[1:-1])


@pytest.mark.parametrize("suffix", [".nblstm", ".keras", ".h5", ".weights.h5", ".safetensors"])
def test_parts_of_the_weights(suffix, tmp_path):
    """``skip_mismatch`` as in Keras: a new head on layers that were trained."""
    pytest.importorskip("h5py", reason="Keras's files are written by h5py")
    path = tmp_path / f"m{suffix}"

    def model_of(*heads, seed):
        return Sequential([Input((4, 3)), LSTM(3, name="lstm"), Dense(2, name="middle"), *heads], seed=seed)

    source = model_of(Dense(1, name="head"), seed=0)
    (source.save if suffix == ".keras" else source.save_weights)(path)
    for head in (Dense(3, name="head"), Dense(1, use_bias=False, name="head")):
        model = model_of(head, seed=1)
        before, trained = model.get_weights(), source.get_weights()
        message_of(ValueError, lambda m=model: m.load_weights(path), "m" + suffix)
        with pytest.warns(UserWarning, match="keep their parameters, .*: head$"):
            model.load_weights(path, skip_mismatch=True)
        expected = trained[:5] + before[5:]
        assert all(map(np.array_equal, model.get_weights(), expected))
    other = model_of(Dense(1, name="head"), Dense(5, name="new"), seed=1)
    if suffix in (".keras", ".weights.h5", ".safetensors"):  # which have names, or numbers for each class
        with pytest.warns(UserWarning, match=": new$"):
            other.load_weights(path, skip_mismatch=True)
        assert all(map(np.array_equal, other.get_weights(), source.get_weights()))
    else:
        message_of(ValueError, lambda: other.load_weights(path, skip_mismatch=True), "layers, and the model has")
    if suffix == ".h5":
        before = other.get_weights()
        other.load_weights(path, by_name=True)
        assert all(map(np.array_equal, other.get_weights(), source.get_weights() + before[7:]))
        shuffled = Sequential([Input((4, 3)), Dense(2), Dense(3, name="middle"), LSTM(3, name="lstm")], seed=1)
        message_of(ValueError, lambda: shuffled.load_weights(path, by_name=True), "layer 'middle' have shapes")
        with pytest.warns(UserWarning, match=": middle$"):
            shuffled.load_weights(path, by_name=True, skip_mismatch=True)
        assert np.array_equal(shuffled.get_weights()[5], source.get_weights()[1])
    else:
        message_of(
            ValueError,
            lambda: other.load_weights(path, by_name=True),
            "leave" if suffix == ".weights.h5" else "by_name is for files of Keras's older kind",
        )


def test_suffixes_that_stand_for_nothing(tmp_path):
    model = compiled()
    message_of(ValueError, lambda: model.save(tmp_path / "m.dat"), "'.dat' stands for no format", ".keras, .hdf5, .h5")
    message_of(ValueError, lambda: model.save(tmp_path / "m.safetensors"), "a name for a file of safetensors")
    message_of(ValueError, lambda: model.save_weights(tmp_path / "m.keras"), "a file of Keras's", ".weights.h5")
    (tmp_path / "m.weights.json").write_text("{}")
    message_of(ValueError, lambda: model.load_weights(tmp_path / "m.weights.json"), "weights in several files")
    model.save(tmp_path / "best-0.25")
    assert load_model(tmp_path / "best-0.25").to_json() == model.to_json()


def keras_json(*layers, **config):
    records = [{"module": "keras.layers", "class_name": name, "config": each} for name, each in layers]
    shape = {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 4, 3]}}
    made = {"name": "m", "trainable": True, "dtype": "float32", "layers": [shape, *records], **config}
    return json.dumps({"module": "keras", "class_name": "Sequential", "config": made, "registered_name": None})


REFUSED = {
    "there is no layer named 'ConvLSTM2D'": ("ConvLSTM2D", {"filters": 3}),
    "'d' has activity_regularizer='L2'": (
        "Dense", {"name": "d", "units": 2, "activity_regularizer": {"class_name": "L2", "config": {"l2": 0.1}}},
    ),
    "'d' has lora_rank=4, which nblstm has not": ("Dense", {"name": "d", "units": 2, "lora_rank": 4}),
    "computes in 'mixed_float16'": (
        "Dense", {"units": 2, "dtype": {"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}},
    ),
    "'c' is a Lambda, whose code": ("Lambda", {"name": "c", "function": "os.system"}),
    "a lambda, whose code": (
        "Dense", {"units": 2, "kernel_initializer": {"class_name": "__lambda__", "config": {"value": "x"}}},
    ),
    "models of nblstm's are not nested": ("Sequential", {"name": "s", "layers": []}),
    "is an RNN of ConvLSTMCell": ("RNN", {"cell": {"class_name": "ConvLSTMCell", "config": {}}}),
    "has the activation 'PReLU'": ("Dense", {"units": 2, "activation": {"class_name": "PReLU", "config": {}}}),
    "custom_objects={'mine': ...}": (
        "Dense", {"units": 2, "activation": {"module": "builtins", "class_name": "function", "config": "mine"}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("fragment", REFUSED)
def test_what_nblstm_has_not_is_named(fragment):
    message_of(ValueError, lambda: model_from_json(keras_json(REFUSED[fragment])), fragment)


def test_defaults_of_keras_are_left_out():
    given = {"units": 2, "activity_regularizer": None, "quantization_config": None, "lora_rank": None, "unroll": True}
    model = model_from_json(keras_json(("LSTM", given), build_input_shape=[None, 4, 3]))
    assert (model.layers[0].units, model.layers[0].unroll) == (2, False)
    frozen = model_from_json(
        keras_json(("TimeDistributed", {"layer": {"class_name": "Dense", "config": {"units": 2}}, "trainable": False}))
    )
    assert isinstance(frozen.layers[0], TimeDistributed)
    assert not frozen.layers[0].trainable


def functional(*layers, outputs):
    records = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 3], "name": "i"}, "name": "i",
         "inbound_nodes": []},
        *({"class_name": "Dense", "config": {"units": 3, "name": name}, "name": name,
           "inbound_nodes": [[[source, 0, 0, {}] for source in sources]]} for name, *sources in layers),
    ]  # fmt: skip
    config = {"name": "f", "layers": records, "input_layers": [["i", 0, 0]], "output_layers": outputs}
    return json.dumps({"class_name": "Functional", "config": config, "keras_version": "2.15.0"})


def test_graphs_that_are_no_chains():
    branches = "a functional graph with branches"
    ends = [["c", 0, 0]]
    assert len(model_from_json(functional(("a", "i"), ("c", "a"), outputs=ends)).layers) == 2
    message_of(ValueError, lambda: model_from_json(functional(("a", "i"), ("c", "i"), outputs=ends)), branches)
    message_of(ValueError, lambda: model_from_json(functional(("a", "i"), ("c", "a", "i"), outputs=ends)), branches)
    message_of(ValueError, lambda: model_from_json(functional(("c", "i"), ("d", "c"), outputs=ends)), branches)
    two = [["a", 0, 0], ["c", 0, 0]]
    message_of(ValueError, lambda: model_from_json(functional(("a", "i"), ("c", "a"), outputs=two)), branches)


def test_an_optimizer_of_other_parameters_begins_anew(keras3, tmp_path):
    """As in Keras, with a warning."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "m.h5"
    path.write_bytes((keras3[0] / "masked.h5").read_bytes())
    with h5py.File(path, "a") as file:
        names = file["optimizer_weights"].attrs["weight_names"]
        file["optimizer_weights"].attrs["weight_names"] = names[:-1]
    with pytest.warns(UserWarning, match="are not those of its parameters; it begins anew"):
        assert load_model(path).optimizer.iterations == 0


def test_keras_has_the_classes_that_are_written():
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    tables = {
        keras.layers: LAYERS, keras.losses: LOSSES, keras.metrics: METRICS, keras.optimizers: OPTIMIZERS,
        keras.optimizers.schedules: SCHEDULES, keras.initializers: INITIALIZERS, keras.regularizers: REGULARIZERS,
        keras.constraints: CONSTRAINTS,
    }  # fmt: skip
    for module, registry in tables.items():
        names = {cls.__name__ for cls in registry.classes.values()}
        missing = {name for name in names if not hasattr(module, name)}
        assert missing <= {*configs_written.ONLY_HERE, "LossFunction", "MetricFunction", "LossMetric"}


@pytest.mark.filterwarnings("ignore")  # Keras's and its backend's
def test_keras_reads_what_is_written(keras3, tmp_path):
    """Where Keras is installed: predictions, and a fit with the optimizer's state."""
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    folder, arrays, fit = keras3
    for name in (name for name, suffix in CASES if suffix == ".keras" and name != "chain"):
        x, y = arrays[f"{name}/x"], arrays[f"{name}/y"]
        model = load_model(folder / f"{name}.keras")
        model.fit(x, y, **fit)
        for suffix in (".keras", ".h5"):
            model.save(tmp_path / f"m{suffix}")
        model.save_weights(tmp_path / "m.weights.h5")
        model.save_weights(tmp_path / "w.h5")
        expected = model.predict(x, verbose=0)
        model.fit(x, y, **fit)
        later = model.predict(x, verbose=0)
        for suffix in (".h5", ".keras"):
            other = keras.models.load_model(tmp_path / f"m{suffix}")
            np.testing.assert_allclose(other.predict(x, verbose=0), expected, **CLOSE)
            for weights in ("m.weights.h5", "w.h5"):
                other.load_weights(tmp_path / weights)
                np.testing.assert_allclose(other.predict(x, verbose=0), expected, **CLOSE)
        other.fit(x, y, **fit)
        np.testing.assert_allclose(other.predict(x, verbose=0), later, **CLOSE)
