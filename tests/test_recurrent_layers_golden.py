"""Recurrent layers against Keras's, kept in golden/keras_recurrent.npz by golden/make_keras_recurrent.py."""

import inspect
import json
from itertools import count, takewhile
from pathlib import Path

import numpy as np
import pytest
from tolerances import DTYPES, GRADIENT, OUTPUT, assert_close

from nblstm import layers
from nblstm.arguments.configured import constructor_arguments

with np.load(Path(__file__).with_name("golden") / "keras_recurrent.npz") as archive:
    GOLDEN = {name: archive[name] for name in archive.files}
METADATA = json.loads(str(GOLDEN["metadata"]))
CASES = METADATA["cases"]


class Drawn:
    """In place of a generator: dropout draws, in this order, what Keras dropped."""

    def __init__(self, *factors):
        self._left = [factor for factor in factors if factor is not None]

    def random(self, shape, dtype):
        factor = self._left.pop(0)
        assert factor.size == np.prod(shape)
        return (factor > 0).reshape(shape).astype(dtype)  # 0 where it is dropped, 1 where it is kept


def layer_of(kind, arguments, dtype):
    arguments = {k: layer_of(*v, dtype) if k.endswith("layer") else v for k, v in arguments.items()}
    if kind != "Bidirectional":
        arguments = {"units": 5} | arguments
    return getattr(layers, kind)(**arguments, dtype=dtype)


def arrays(case, prefix):
    """case/prefix/0, 1, ... as a list."""
    names = takewhile(GOLDEN.__contains__, (f"{case}/{prefix}/{k}" for k in count()))
    return [GOLDEN[name] for name in names]


def golden_layer(case, dtype):
    """The layer with the case's weights; the options of its passes."""
    layer = layer_of(CASES[case]["class"], CASES[case]["arguments"], dtype)
    layer.build(GOLDEN[f"{case}/x"].shape)
    layer.set_weights(arrays(case, "weights"))
    return layer, {"mask": GOLDEN.get(f"{case}/mask"), "initial_state": arrays(case, "initial") or None}


def as_list(y):
    return y if isinstance(y, list) else [y]


def check(results, expected, tolerance, dtype):
    assert len(results) == len(expected)
    for result, right in zip(results, expected, strict=True):
        assert result.dtype == dtype
        assert_close(result, right, tolerance[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [case for case in CASES if "dropout" not in case])
def test_inference(case, dtype):
    layer, options = golden_layer(case, dtype)
    x = GOLDEN[f"{case}/x"]
    check(as_list(layer(x, **options)), arrays(case, "y"), OUTPUT, dtype)
    if "stateful" in case:
        check(as_list(layer(x, **options)), arrays(case, "y2"), OUTPUT, dtype)
        layer.reset_states()
        check(as_list(layer(x, **options)), arrays(case, "y"), OUTPUT, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [case for case in CASES if "stateful" not in case])
def test_training(case, dtype):
    layer, options = golden_layer(case, dtype)
    generator = Drawn(GOLDEN.get(f"{case}/dropout"), GOLDEN.get(f"{case}/recurrent_dropout"))
    y, tape = layer.forward(GOLDEN[f"{case}/x"], training=True, generator=generator, **options)
    check(as_list(y), arrays(case, "y"), OUTPUT, dtype)
    dy = arrays(case, "dy")
    dx, gradients = layer.backward(tape, dy if isinstance(y, list) else dy[0])
    check([dx], [GOLDEN[f"{case}/grads/x"]], GRADIENT, dtype)
    check(list(gradients.params.values()), arrays(case, "grads"), GRADIENT, dtype)
    if options["initial_state"]:
        check(list(gradients.state), arrays(case, "grads/initial"), GRADIENT, dtype)


@pytest.mark.parametrize("case", CASES)
def test_shapes(case):
    layer, _ = golden_layer(case, "float64")
    B, *steps = GOLDEN[f"{case}/x"].shape
    shapes = layer.compute_output_shape((B, *steps))
    shapes = list(shapes) if isinstance(shapes[0], tuple) else [shapes]
    assert shapes == [y.shape for y in arrays(case, "y")]
    assert [w.shape for w in layer.get_weights()] == [w.shape for w in arrays(case, "weights")]


@pytest.mark.parametrize("kind", METADATA["signatures"])
def test_arguments_and_defaults_are_those_of_keras(kind):
    signature = METADATA["signatures"][kind]
    cls = getattr(layers, kind)
    assert constructor_arguments(cls)[: len(signature)] == list(signature)
    own = inspect.signature(cls).parameters
    for name, expected in signature.items():
        assert own[name].default == (inspect.Parameter.empty if expected == "required" else expected), name
