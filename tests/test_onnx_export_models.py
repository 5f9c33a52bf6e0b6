"""Sequential models as ONNX: onnxruntime predicts what the model does, layer by layer and whole."""

import json

import numpy as np
import pytest
from tolerances import EXPORTED

import nblstm
from nblstm import activations, cells
from nblstm.layers import (
    ELU,
    GRU,
    LSTM,
    RNN,
    Activation,
    AveragePooling1D,
    AveragePooling2D,
    BatchNormalization,
    Bidirectional,
    Conv1D,
    Conv2D,
    Cropping1D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GaussianDropout,
    GaussianNoise,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Input,
    Layer,
    LayerNormalization,
    LeakyReLU,
    Masking,
    MaxPooling1D,
    MaxPooling2D,
    Normalization,
    Permute,
    PReLU,
    ReLU,
    RepeatVector,
    Reshape,
    SimpleRNN,
    Softmax,
    SpatialDropout1D,
    TimeDistributed,
    UpSampling1D,
    ZeroPadding1D,
)
from nblstm.models import Sequential

sessions = pytest.importorskip("onnx_sessions", reason="needs onnx and onnxruntime")
import nblstm.onnx  # noqa: E402

RNG = np.random.default_rng(0)
B, T = 3, 6
ALL = {"return_sequences": True}
GAPS = np.array([[0, 1, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]], bool)


def model_of(*layers, shape=(None, 3)):
    """A built model whose parameters are 0 nowhere."""
    model = Sequential(layers, seed=0)
    model.build((None, *shape))
    for view in model.weights:
        view += RNG.normal(size=view.shape) * 0.3
    return model


def sample(shape, dtype="float32"):
    """A batch; whole numbers are below 5, and gaps are 0."""
    shape = [B, *(T if n is None else n for n in shape)]
    if dtype.startswith("int"):
        return RNG.integers(0, 5, shape).astype(dtype)
    x = RNG.normal(size=shape).astype(dtype)
    if len(shape) > 2 and shape[1] == T:
        x[~GAPS] = 0
    return x


def compare(*layers, shape=(None, 3), dtype="float32", **options):
    """Export a model, and compare with its predictions."""
    model = model_of(*layers, shape=shape)
    x = sample(shape, dtype)
    made = nblstm.onnx.export(model, **options)
    expected = model.predict(x)
    found = sessions.outputs(made, x=x)
    assert found.keys() == {"y"}
    np.testing.assert_allclose(found["y"], expected, rtol=EXPORTED, atol=EXPORTED)
    assert found["y"].dtype == expected.dtype
    return made


def own_cells(units, **options):
    return RNN(cells.lstm_coupled, units, **options)


READING = [{}, ALL, {"go_backwards": True}, {"go_backwards": True, **ALL}, {"zero_output_for_mask": True, **ALL}]
READING += [{"use_bias": False}, {"learn_initial_state": True}]


@pytest.mark.parametrize("options", READING, ids=str)
@pytest.mark.parametrize("kind", [LSTM, GRU, SimpleRNN, own_cells], ids=lambda kind: kind.__name__)
def test_recurrent_layers_and_masks(kind, options):
    compare(kind(4, **options))
    made = compare(Masking(), kind(4, **options))
    assert sessions.operators(made) == [{LSTM: "LSTM", GRU: "GRU", SimpleRNN: "RNN"}.get(kind, "Scan")]


@pytest.mark.parametrize("options", READING, ids=str)
@pytest.mark.parametrize("kind", [LSTM, own_cells], ids=lambda kind: kind.__name__)
def test_lengths_are_a_mask(kind, options):
    model = model_of(kind(4, **options))
    x, lengths = sample((None, 3)), np.array([6, 0, 2])
    found = sessions.outputs(nblstm.onnx.export(model, lengths=True), x=x, lengths=lengths)["y"]
    np.testing.assert_allclose(found, model(x, mask=np.arange(T) < lengths[:, None]), atol=EXPORTED)


@pytest.mark.parametrize("options", [{}, ALL], ids=str)
@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave"])
def test_bidirectional(mode, options):
    compare(Bidirectional(LSTM(4, **options), mode))
    compare(Masking(), Bidirectional(GRU(4, **options), mode))
    backwards = own_cells(4, go_backwards=True, **options)
    compare(Masking(), Bidirectional(LSTM(4, **options), mode, backward_layer=backwards))


def test_two_layers_of_other_sizes_in_one_bidirectional():
    made = compare(Bidirectional(LSTM(4), backward_layer=GRU(2, go_backwards=True), name="both"), Dense(2))
    assert sessions.operators(made) == ["LSTM", "GRU"]


@pytest.mark.parametrize("activation", list(activations.FUNCTIONS))
def test_activations(activation):
    compare(Dense(5, activation), shape=(4,))
    compare(Activation(activation), Dense(2), shape=(None, 3))
    known = activations.FUNCTIONS[activation]
    if known.scalar is not None and activation != "exponential":
        compare(LSTM(4, activation=activation))
        compare(GRU(4, recurrent_activation="hard_sigmoid", activation=activation, reset_after=False))


def test_an_activation_of_ones_own():
    cube = activations.ActivationFunction("cube of x", scalar=lambda x: x**3)
    made = compare(Dense(4, cube), Activation(cube), Dense(2), shape=(3,))
    assert [function.name for function in made.functions] == ["cube of x"]
    arrays = activations.ActivationFunction("arrays", lambda x: x, lambda y, dy: dy)
    with pytest.raises(ValueError, match="has the activation 'arrays', which is given as functions of arrays"):
        nblstm.onnx.export(model_of(Dense(4, arrays), shape=(3,)))


LAYERS = {
    "embedding": (lambda: [Embedding(5, 3), GRU(2)], (None,), "int64"),
    "embedding int32": (lambda: [Input((None,), dtype="int32"), Embedding(5, 3, mask_zero=True), GRU(2)], (None,),
                        "int32"),
    "embedding of floats": (lambda: [Input((None,), dtype="float32"), Embedding(5, 3, mask_zero=True)], (4,), None),
    "mask of zeros": (lambda: [Embedding(5, 3, mask_zero=True), Dropout(0.5), LSTM(4, **ALL), LSTM(2)], (None,),
                      "int64"),
    "mean of masked": (lambda: [Masking(), SpatialDropout1D(0.2), LSTM(4, **ALL), GlobalAveragePooling1D()],
                       (None, 3), "float32"),
    "mean": (lambda: [GlobalAveragePooling1D(keepdims=True)], (None, 3), "float32"),
    "masked mean": (lambda: [Masking(), GlobalAveragePooling1D(keepdims=True)], (None, 3), "float32"),
    "largest": (lambda: [GlobalMaxPooling1D()], (None, 3), "float32"),
    "largest, kept": (lambda: [GlobalMaxPooling1D(keepdims=True)], (None, 3), "float32"),
    "other mask": (lambda: [Masking(0.5), LayerNormalization(), GRU(2)], (None, 3), "float32"),
    "normalized steps": (lambda: [LayerNormalization(scale=False)], (None, 3), "float32"),
    "normalized": (lambda: [LayerNormalization((1, 2))], (4, 3), "float32"),
    "normalized over time": (lambda: [LayerNormalization(1, center=False)], (4, 3), "float32"),
    "flatten": (lambda: [Flatten(), Dense(2)], (4, 3), "float32"),
    "reshape": (lambda: [Reshape((2, -1))], (4, 3), "float32"),
    "repeat": (lambda: [GRU(4), RepeatVector(3), LSTM(2, **ALL), TimeDistributed(Dense(2, "softmax"))], (None, 3),
               "float32"),
    "films": (lambda: [TimeDistributed(Conv2D(4, 3, padding="same", activation="relu")),
                       TimeDistributed(MaxPooling2D()), TimeDistributed(Flatten()), LSTM(4)], (None, 6, 8, 1),
              "float32"),
    "sentences": (lambda: [TimeDistributed(Embedding(5, 3, mask_zero=True)), TimeDistributed(GRU(4)), LSTM(2)],
                  (None, 4), "int64"),
    "moving averages": (lambda: [BatchNormalization(), GaussianNoise(0.1), GRU(2)], (None, 3), "float32"),
    "moving averages of steps": (lambda: [BatchNormalization(1, scale=False)], (4, 3), "float32"),
    "scaled": (lambda: [Normalization(mean=[1, 2, 3], variance=[4, 5, 0]), GaussianDropout(0.1)], (None, 3), "float32"),
    "scaled back": (lambda: [Normalization(mean=1, variance=4, invert=True, axis=None), LSTM(2)], (None, 3), "float32"),
    "slopes": (lambda: [PReLU(shared_axes=1), LeakyReLU(), ELU(0.5), ReLU(), ReLU(1.5, 0.1, 0.2)], (None, 3),
               "float32"),
    "weights of steps": (lambda: [Masking(), LSTM(4, **ALL), Softmax(1)], (None, 3), "float32"),
    "weights of features": (lambda: [Masking(), TimeDistributed(Softmax()), GRU(2)], (None, 3), "float32"),
    "softmax": (lambda: [Softmax(), Softmax((1, 2))], (4, 3), "float32"),
    "order": (lambda: [Permute((2, 1)), Softmax(1)], (4, 3), "float32"),
    "steps": (lambda: [ZeroPadding1D((2, 0)), UpSampling1D(3), Cropping1D((1, 0)), Cropping1D(2), GRU(2)], (None, 3),
              "float32"),
    "stack": (lambda: [LSTM(4, "elu", **ALL), LSTM(4, "gelu", **ALL), RNN(cells.lstm_coupled, 3, **ALL),
                       RNN(cells.lstm_coupled, 2)], (None, 3), "float32"),
    "float64": (lambda: [LSTM(4, dtype="float64", **ALL), LayerNormalization(dtype="float64"),
                         GRU(3, "elu", dtype="float64"), Dense(2, "silu", dtype="float64")], (None, 3), "float64"),
    "float64, then float32": (lambda: [LSTM(4, dtype="float64", **ALL), Dense(2), LSTM(4, dtype="float64", **ALL),
                                       Activation("relu"), Dense(2)], (None, 3), "float64"),
    "two dtypes": (lambda: [Dense(4), Dense(2, "softplus", dtype="float64"), GRU(2)], (None, 3), "float32"),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYERS)
def test_layers(case):
    layers, shape, dtype = LAYERS[case]
    if dtype is None:
        model = Sequential(layers(), seed=0)
        x = sample(shape, "int32").astype("float32")
        found = sessions.outputs(nblstm.onnx.export(model), x=x)["y"]
        np.testing.assert_allclose(found, model.predict(x), atol=EXPORTED)
    else:
        compare(*layers(), shape=shape, dtype=dtype)


@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
@pytest.mark.parametrize(("strides", "dilation"), [(1, 1), (2, 1), (3, 1), (1, 2)])
@pytest.mark.parametrize("size", [3, 4])
def test_windows_over_time(size, strides, dilation, padding):
    for steps in (10, 11):
        compare(Conv1D(2, size, strides, padding, dilation_rate=dilation, activation="tanh"), shape=(steps, 3))
        if dilation == 1 and padding != "causal":
            compare(MaxPooling1D(size, strides, padding), shape=(steps, 3))
            compare(AveragePooling1D(size, strides, padding), shape=(steps, 3))
    compare(Conv1D(2, 2, strides, padding, dilation_rate=dilation, use_bias=False), shape=(None, 3))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_windows_over_images(padding):
    compare(Conv2D(2, (3, 2), (2, 1), padding), shape=(9, None, 2))
    compare(Conv2D(2, (3, 2), 1, padding, dilation_rate=(2, 1)), shape=(9, 8, 2))
    compare(AveragePooling2D((2, 3), (1, 2), padding), AveragePooling2D(3, 1, padding), shape=(9, 8, 2))
    compare(MaxPooling2D((2, 3), (1, 2), padding), MaxPooling2D(padding=padding), shape=(9, 8, 2))


@pytest.mark.parametrize("opset", [15, 16, 18, 21])
def test_versions_of_the_operators(opset):
    compare(Masking(), LayerNormalization(), LSTM(4, "mish", **ALL), GlobalAveragePooling1D(), opset=opset)
    compare(Conv1D(2, 2), GlobalMaxPooling1D(), Dense(2, "softmax"), opset=opset)


def test_a_classifier_has_no_states_unless_they_are_wanted():
    model = model_of(LSTM(4, name="one", **ALL), GRU(3, name="two"), Dense(2))
    x = sample((None, 3))
    assert [value.name for value in nblstm.onnx.export(model).graph.input] == ["x"]
    made = nblstm.onnx.export(model, states=True)
    assert [value.name for value in made.graph.input] == ["x", "one.h_0", "one.c_0", "two.h_0"]
    zeros = {"one__h_0": np.zeros((1, B, 4), "f4"), "one__c_0": np.zeros((1, B, 4), "f4"),
             "two__h_0": np.zeros((1, B, 3), "f4")}  # fmt: skip
    first = sessions.outputs(made, x=x[:, :2], **zeros)
    states = {name.replace(".", "__").replace("_n", "_0"): value for name, value in first.items() if name != "y"}
    np.testing.assert_allclose(sessions.outputs(made, x=x[:, 2:], **states)["y"], model.predict(x), atol=EXPORTED)


def test_a_stateful_layer_has_its_states_as_inputs_and_outputs():
    model = model_of(Bidirectional(LSTM(4, stateful=True, **ALL), backward_layer=GRU(2, stateful=True,
                     go_backwards=True, **ALL)), Dense(2))  # fmt: skip
    made = nblstm.onnx.export(model)
    x, names = sample((None, 3)), ["forward_h", "forward_c", "backward_h"]
    assert [value.name for value in made.graph.input] == ["x", *(f"{name}_0" for name in names)]
    states = {f"{name}_0": np.zeros((1, B, 2 if name.startswith("b") else 4), "float32") for name in names}
    for _ in range(2):
        found = sessions.outputs(made, x=x, **states)
        np.testing.assert_allclose(found["y"], model(x), atol=EXPORTED)
        states = {f"{name}_0": found[f"{name}_n"] for name in names}
    with pytest.raises(ValueError, match=r"Bidirectional .* is stateful, and its states would be neither inputs"):
        nblstm.onnx.export(model, states=False)


def test_odd_names():
    model = model_of(LSTM(4, name="a/b 'é'", **ALL), Dense(2, name="\ud800"))
    x = sample((None, 3))
    found = sessions.outputs(nblstm.onnx.export(model), x=x)["y"]
    np.testing.assert_allclose(found, model.predict(x), atol=EXPORTED)


def test_metadata():
    model = model_of(LSTM(4), Dense(2))
    made = nblstm.onnx.export(model)
    described = json.loads(made.metadata_props[0].value)
    assert described == {"class_name": "Sequential", "config": json.loads(json.dumps(model.get_config()))}

    unnamed = Dense(2, kernel_initializer=lambda shape, dtype: np.ones(shape, dtype))
    assert not nblstm.onnx.export(model_of(unnamed)).metadata_props  # get_config() raises a TypeError


class Doubled(Layer):
    """A layer whose equation nobody but Python knows."""

    def _forward(self, x, training, mask, generator):
        return 2 * x, None

    def _backward(self, saved, dy, gradients, input_gradient):
        return 2 * dy


class Renamed(Dense):
    """A layer that computes what Dense does."""


class Slow(nblstm.layers.Recurrent):
    """A recurrent layer with a cell of its own."""

    def __init__(self, units):
        others = ("kernel", "recurrent", "bias")
        super().__init__(
            units=units, use_bias=True, dropout=0.0, recurrent_dropout=0.0, seed=None, return_sequences=False,
            return_state=False, go_backwards=False, stateful=False, unroll=False, activity_regularizer=None,
            **{f"{name}_initializer": "uniform" for name in others},
            **{f"{name}_{kind}": None for name in others for kind in ("regularizer", "constraint")},
        )  # fmt: skip

    def _make_cell(self):
        return cells.lstm_complement


class Louder(Dense):
    """A layer that computes something else."""

    def _forward(self, x, training, mask, generator):
        y, saved = super()._forward(x, training, mask, generator)
        return 2 * y, saved


def test_layers_of_ones_own():
    compare(Renamed(2))
    compare(Slow(2))
    for layer in (Doubled(name="d"), Louder(2, name="d"), TimeDistributed(Louder(2, name="d"))):
        with pytest.raises(ValueError, match="'d' is of a class of your own, whose equation ONNX cannot be given"):
            nblstm.onnx.export(model_of(layer))


def test_lengths_that_nobody_reads():
    with pytest.raises(ValueError, match="no layer uses a mask of the input"):
        nblstm.onnx.export(model_of(Conv1D(2, 2), LSTM(2)), lengths=True)
    with pytest.raises(ValueError, match="no layer uses a mask of the input"):  # the Embedding's takes its place
        nblstm.onnx.export(model_of(Embedding(5, 2, mask_zero=True), LSTM(2), shape=(None,)), lengths=True)
    with pytest.raises(ValueError, match="no steps"):
        nblstm.onnx.export(model_of(Reshape((1,)), shape=()), lengths=True)


def test_every_layer_is_tried():
    """Every layer class has a function, so that none is forgotten when one is added."""
    from nblstm.onnx.exporting.layer_table import WRITERS

    classes = {value for value in vars(nblstm.layers).values() if isinstance(value, type) and issubclass(value, Layer)}
    abstract = {Layer, nblstm.layers.InputLayer}
    assert not {kind for kind in classes - abstract if not {*kind.__mro__} & {*WRITERS}}
