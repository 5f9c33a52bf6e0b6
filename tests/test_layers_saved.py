"""Layers as plain values: a config makes the layer again, whatever its arguments were."""

import json

import numpy as np
import pytest
from processes import run_python
from recurrent_layers import SEQUENCES, registered

import nblstm
from nblstm import cells, layers
from nblstm.layers import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Bidirectional,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    Input,
    Layer,
    LayerNormalization,
    Masking,
    MaxPooling2D,
    SimpleRNN,
    TimeDistributed,
    constraints,
    initializers,
    register_cell,
    regularizers,
)  # fmt: skip

LAYERS = [
    Dense(3, "relu", False, "he_normal", kernel_regularizer=regularizers.l1_l2(0.1, 0.2), trainable=False),
    Dense(3, kernel_constraint=constraints.max_norm(3, axis=[0, 1]), input_shape=(None, 4), dtype="float64"),
    Activation("swish"),
    Conv2D(3, (2, 3), padding="same", dilation_rate=2, kernel_initializer=initializers.he_uniform(seed=np.int64(3))),
    MaxPooling2D((2, 3), 1),
    GlobalAveragePooling1D(keepdims=True),
    layers.GlobalMaxPooling1D(),
    layers.SpatialDropout1D(0.3, seed=4),
    Dropout(0.3, noise_shape=(None, 1), seed=4),
    Embedding(5, 3, mask_zero=True, input_length=4, embeddings_regularizer="l2"),
    Embedding(5, 3, weights=np.ones((5, 3)), batch_input_shape=(2, 4)),
    LayerNormalization([1, 2], scale=False),
    layers.BatchNormalization(1, 0.9, 1e-5, False, moving_mean_initializer=initializers.Constant(2)),
    layers.Normalization([1, 2], mean=np.float32([1, 2]), variance=(3, 4), invert=True),
    layers.Normalization(None),
    layers.GaussianNoise(0.3, seed=4),
    layers.GaussianDropout(0.3),
    layers.AveragePooling1D(3, 2, "same"),
    layers.AveragePooling2D((2, 3)),
    layers.Permute([2, 1]),
    layers.ZeroPadding1D((0, 2)),
    layers.Cropping1D(2),
    layers.UpSampling1D(np.int64(3)),
    layers.ReLU(6, 0.1, 2),
    layers.LeakyReLU(0.2),
    layers.ELU(0.5),
    layers.PReLU("ones", "l2", "non_neg", shared_axes=[2, 1]),
    layers.Softmax([1, -1]),
    TimeDistributed(layers.BatchNormalization(momentum=0.5, trainable=False)),
    Masking(-1),
    Flatten(),
    layers.Reshape((-1, 2)),
    layers.RepeatVector(3),
    layers.Conv1D(2, 3, 2, "causal"),
    layers.MaxPooling1D(),
    Input((3, None), batch_size=2, dtype="int32", name="words"),
    TimeDistributed(TimeDistributed(Dense(3, dtype="float64")), input_shape=(None, 2, 3)),
]

RECURRENT = [
    LSTM(3),
    LSTM(
        3, "relu", "hard_sigmoid", dropout=0.1, recurrent_dropout=0.2, seed=4, unit_forget_bias=False, use_cudnn=False
    ),
    GRU(3, reset_after=False, **SEQUENCES, zero_output_for_mask=True, kernel_regularizer="l2", input_shape=(None, 2)),
    SimpleRNN(3, None, return_state=True, stateful=True, batch_input_shape=(4, 5, 2), dtype="float64", name="simple"),
    RNN("gru", 3, learn_initial_state=True),
    RNN(registered, 3, go_backwards=True, vectors_initializer="ones", trainable=False),
    Bidirectional(LSTM(3, seed=1, **SEQUENCES), merge_mode="mul", input_shape=(6, 2)),
    Bidirectional(RNN(registered, 3), None, backward_layer=GRU(3, go_backwards=True)),
]


@pytest.mark.parametrize(
    "layer", [*LAYERS, TimeDistributed(LSTM(3)), *RECURRENT], ids=lambda layer: type(layer).__name__
)
def test_a_config_makes_the_layer_again(layer):
    record = layers.serialize(layer)
    text = json.dumps(record, allow_nan=False)
    assert json.loads(text) == record  # no tuples, no NumPy numbers
    again = layers.deserialize(json.loads(text))
    assert type(again) is type(layer)
    assert layers.serialize(again) == record
    assert (again.name, again.dtype, again.trainable) == (layer.name, layer.dtype, layer.trainable)
    assert again.batch_input_shape == layer.batch_input_shape
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize("layer", RECURRENT, ids=lambda layer: type(layer).__name__)
def test_a_recurrent_layer_that_is_made_again_computes_the_same(layer):
    again = layers.deserialize(layers.serialize(layer))
    layer.build((4, None, 2))
    again.build((4, None, 2))
    again.set_weights(layer.get_weights())
    x = np.random.default_rng(0).normal(size=(4, 5, 2))
    for one, other in zip(_list(layer(x)), _list(again(x)), strict=True):
        assert np.array_equal(one, other)


def _list(y):
    return y if isinstance(y, list) else [y]


def test_a_layer_of_your_own():
    @layers.register()
    class Scale(Layer):
        def __init__(self, start=1.0, **kwargs):
            super().__init__(**kwargs)
            self.start = start

        def _parameters_for(self, shape):
            return {"scale": layers.Parameter((shape[-1],), initializers.constant(self.start))}

        def _forward(self, x, training, mask, generator):
            return x * self._own["scale"], x

        def _backward(self, saved, dy, gradients, input_gradient):
            gradients["scale"][...] = (dy * saved).sum(axis=0)
            return dy * self._own["scale"]

    layer = layers.deserialize(layers.serialize(Scale(2.0, name="mine")))
    y, tape = layer.forward(np.ones((3, 2)))
    dx, gradients = layer.backward(tape, np.ones_like(y))
    assert y.tolist() == dx.tolist() == [[2, 2]] * 3
    assert gradients.params["scale"].tolist() == [3, 3]


def test_a_cell_may_be_defined_again_and_be_registered_under_another_name():
    def define(slope):
        @register_cell
        @nblstm.cell(gates="a", states="h")
        def defined_again(a, h):
            return slope * h + nblstm.tanh(a)

        return defined_again

    define(0.5)
    second = define(0.25)
    assert RNN("defined_again", 2).cell is second
    third = nblstm.cells.lstm_with("softsign")
    assert register_cell(third, "soft") is third
    assert RNN(third, 2).get_config()["cell"] == "soft"
    assert RNN("soft", 2).cell is third


def test_names_of_both_directions():
    layer = Bidirectional(LSTM(2, name="inner"))
    assert (layer.forward_layer.name, layer.backward_layer.name) == ("forward_inner", "backward_inner")
    again = layers.deserialize(layers.serialize(layer))
    assert (again.forward_layer.name, again.backward_layer.name) == ("forward_inner", "backward_inner")
    assert Bidirectional(LSTM(2, input_shape=(5, 3))).batch_input_shape == (None, 5, 3)
    kernels = [np.ones((3, 8)), np.ones((2, 8)), np.ones(8)] * 2
    layer = Bidirectional(LSTM(2), weights=kernels)
    layer.build((None, 5, 3))
    assert all(np.array_equal(w, right) for w, right in zip(layer.get_weights(), kernels, strict=True))


def test_cells_of_the_literature_go_by_their_names():
    ready = {name: made for name in cells.__all__ if isinstance(made := getattr(cells, name), nblstm.cells.Cell)}
    assert len(ready) > 60
    for name, made in ready.items():
        signals = dict.fromkeys(made.signals, 0) or None
        config = RNN(made, 2, signals=signals).get_config()
        assert config["cell"] == made.name
        assert RNN.from_config(config).cell is made
        assert RNN(name, 2, signals=signals).cell is made
    with pytest.raises(ValueError, match="'mgu' is registered already"):
        register_cell(nblstm.cell(gates="a", states="h")(lambda a, h: nblstm.tanh(a)), "mgu")
    with pytest.raises(ValueError, match=r"'mguu' \(did you mean 'mgu'\?\); give one of gru, .*, or register your own"):
        RNN("mguu", 2)


def test_a_cell_of_the_literature_is_imported_when_it_is_named():
    code = """
import sys
from nblstm.layers import RNN

assert not [name for name in sys.modules if name.endswith("cells.minimal")]
print(RNN("mgu", 2).cell.name, RNN.from_config({"cell": "ugrnn", "units": 3}).cell.name)
"""
    assert run_python(code).split() == ["mgu", "ugrnn"]
