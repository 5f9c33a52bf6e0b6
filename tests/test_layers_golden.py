"""Layers against Keras's, kept in golden/keras_layers.npz by golden/make_keras_layers.py: outputs, gradients, names."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from tolerances import DTYPES, GRADIENT, OUTPUT, assert_close

from nblstm import layers
from nblstm.arguments.configured import constructor_arguments

with np.load(Path(__file__).with_name("golden") / "keras_layers.npz") as archive:
    GOLDEN = {name: archive[name] for name in archive.files}
METADATA = json.loads(str(GOLDEN["metadata"]))
CASES = METADATA["cases"]

#: Arguments of Keras's that nblstm lacks: low-rank adaptation, quantization, sparse input, axes named one by one.
LACKING = {
    "lora_rank", "lora_alpha", "quantization_config", "sparse", "ragged", "input_tensor", "optional",
    "input_axes", "output_axes",
}  # fmt: skip


def layer_of(kind, arguments, dtype):
    arguments = {k: layer_of(*v, dtype) if k == "layer" else v for k, v in arguments.items()}
    return getattr(layers, kind)(**arguments, dtype=dtype)


def golden_layer(case, dtype):
    """The layer with the case's weights; its mask; a function that gives the case's arrays."""
    layer = layer_of(CASES[case]["class"], CASES[case]["arguments"], dtype)
    layer.build(GOLDEN[f"{case}/x"].shape)
    layer.set_weights([GOLDEN[f"{case}/weights/{k}"] for k in range(len(layer.get_weights()))])
    return layer, GOLDEN.get(f"{case}/mask"), lambda name: GOLDEN[f"{case}/{name}"]


def test_there_are_golden_vectors():
    assert {case["class"] for case in CASES.values()} >= {
        "Activation", "AveragePooling1D", "AveragePooling2D", "BatchNormalization", "Conv1D", "Conv2D", "Cropping1D",
        "Dense", "Dropout", "ELU", "Embedding", "Flatten", "GaussianDropout", "GaussianNoise", "GlobalAveragePooling1D",
        "GlobalMaxPooling1D", "LayerNormalization", "LeakyReLU", "Masking", "MaxPooling1D", "MaxPooling2D",
        "Normalization", "PReLU", "Permute", "ReLU", "RepeatVector", "Reshape", "Softmax", "SpatialDropout1D",
        "TimeDistributed", "UpSampling1D", "ZeroPadding1D",
    }  # fmt: skip
    of_keras_3 = set(layers.activations.FUNCTIONS) - {"hard_sigmoid_keras2"}
    assert {case["arguments"].get("activation") for case in CASES.values()} >= of_keras_3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_outputs(case, dtype):
    layer, mask, golden = golden_layer(case, dtype)
    y = layer.forward(golden("x"), mask=mask, training=True)[0] if "training" in case else layer(golden("x"), mask)
    assert y.dtype == dtype
    assert_close(y, golden("y"), OUTPUT[dtype])
    if "training" in case:
        layer.after_step()
    for k, w in enumerate(layer.get_weights()):
        after = GOLDEN.get(f"{case}/after/{k}", golden(f"weights/{k}"))
        assert np.abs(w - after).max() <= OUTPUT[dtype] * np.abs(after).max()
    if f"{case}/output_mask" in GOLDEN:
        assert np.array_equal(layer.compute_mask(golden("x")), golden("output_mask"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_gradients(case, dtype):
    layer, mask, golden = golden_layer(case, dtype)
    y, tape = layer.forward(golden("x"), mask=mask, training="training" in case)
    assert_close(y, golden("y"), OUTPUT[dtype])
    dx, gradients = layer.backward(tape, golden("dy"))
    if f"{case}/grads/x" in GOLDEN:
        assert dx.dtype == dtype
        assert_close(dx, golden("grads/x"), GRADIENT[dtype])
    elif CASES[case]["class"] == "Embedding":
        assert dx is None
    for k, gradient in enumerate(gradients.params.values() if gradients else ()):
        assert gradient.dtype == dtype
        if f"{case}/grads/{k}" in GOLDEN:
            assert_close(gradient, golden(f"grads/{k}"), GRADIENT[dtype])
        elif layer.trainable:
            assert not gradient.any()


@pytest.mark.parametrize("case", CASES)
def test_shapes(case):
    layer, _, golden = golden_layer(case, "float64")
    x, y = golden("x"), golden("y")
    shape = tuple(CASES[case]["output_shape"])
    assert layer.compute_output_shape((None, *x.shape[1:])) == shape
    assert layer.compute_output_shape(x.shape) == layer.output_shape == y.shape
    assert len(layer.compute_output_shape((None,) * x.ndim)) == y.ndim or "reshape" in case
    weights = layer.get_weights()
    assert [w.shape for w in weights] == [w.shape for w in layer.weights]
    assert layer.count_params() == sum(w.size for w in weights)


@pytest.mark.parametrize("name", METADATA["penalties"])
def test_regularizers(name):
    kind, arguments = METADATA["penalties"][name]
    penalty, w = getattr(layers.regularizers, kind)(**arguments), GOLDEN[f"regularizers/{name}/w"]
    assert penalty(w) == pytest.approx(float(GOLDEN[f"regularizers/{name}/value"]), rel=OUTPUT["float64"])
    assert penalty.gradient(w.astype("float32")).dtype == "float32"
    if w.any() and any(penalty.gradient(w).ravel()):
        assert_close(penalty.gradient(w), GOLDEN[f"regularizers/{name}/gradient"], GRADIENT["float64"])
    else:
        assert not GOLDEN[f"regularizers/{name}/gradient"].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", METADATA["projections"])
def test_constraints(name, dtype):
    kind, arguments = METADATA["projections"][name]
    projected = getattr(layers.constraints, kind)(**arguments)(GOLDEN[f"constraints/{name}/w"].astype(dtype))
    assert projected.dtype == dtype
    assert_close(projected, GOLDEN[f"constraints/{name}/value"], OUTPUT[dtype])


@pytest.mark.parametrize(
    ("part", "kind"), [(part, kind) for part, kinds in METADATA["signatures"].items() for kind in kinds]
)
def test_arguments_and_defaults_are_those_of_keras(part, kind):
    cls = getattr(layers if part == "layers" else getattr(layers, part), kind)
    names = [name for name in METADATA["signatures"][part][kind] if name not in LACKING]
    assert [name for name in constructor_arguments(cls) if name in names] == names  # positions too
    defaults = {}
    for base in reversed(cls.__mro__):
        for parameter in inspect.signature(vars(base).get("__init__", lambda: None)).parameters.values():
            defaults[parameter.name] = parameter.default
    for name in names:
        expected, own = METADATA["signatures"][part][kind][name], defaults[name]
        expected = inspect.Parameter.empty if expected == "required" else expected
        both = expected == [1, 1] and own == 1  # Conv2D's strides and dilation
        assert both or (list(own) if isinstance(own, tuple) else own) == expected, name
