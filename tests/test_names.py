"""Names that are nearly right: each registry and each constructor says which one was probably meant."""

import inspect

import pytest
from messages import message_of

from nblstm import activations, callbacks, initializers, layers, losses, metrics, nn, optimizers, regularizers
from nblstm.layers import LSTM, Bidirectional, Conv1D, Dense
from nblstm.models import Sequential

NEARLY = {
    "loss": (ValueError, lambda: losses.get("mean_square_error"), "'mean_squared_error'"),
    "loss_class": (ValueError, lambda: losses.get("BinaryCrossEntropy"), "'binary_crossentropy'"),
    "reduction": (ValueError, lambda: losses.Huber(reduction="means"), "'mean'"),
    "metric": (ValueError, lambda: metrics.get("binary_acuracy"), "'binary_accuracy'"),
    "optimizer": (ValueError, lambda: optimizers.get("Adamm"), "'adam'"),
    "schedule": (ValueError, lambda: optimizers.schedules.get({"class_name": "CosineDeca"}), "'CosineDecay'"),
    "activation": (ValueError, lambda: activations.get("ReLU"), "'relu'"),
    "activation_of_a_layer": (ValueError, lambda: Dense(2, "sigmod"), "'sigmoid'"),
    "initializer": (ValueError, lambda: initializers.get("glorot_unifrom"), "'glorot_uniform'"),
    "regularizer": (ValueError, lambda: regularizers.get("l1l2"), "'l1_l2'"),
    "constraint": (ValueError, lambda: Dense(2, kernel_constraint="maxnorm"), "'max_norm'"),
    "layer": (ValueError, lambda: layers.deserialize({"class_name": "Lstm", "config": {}}), "'LSTM'"),
    "cell": (ValueError, lambda: layers.RNN("lstm_peepholes", 2), "'lstm_peephole'"),
    "layer_by_name": (ValueError, lambda: Sequential([Dense(2, name="head")]).get_layer("haed"), "'head'"),
    "choice": (ValueError, lambda: Conv1D(2, 2, padding="sames"), "'same'"),
    "merge_mode": (ValueError, lambda: Bidirectional(LSTM(2), "concatenate"), "'concat'"),
    "lr": (TypeError, lambda: optimizers.Adam(lr=0.1), "'learning_rate'"),
    "lr_of_a_schedule": (TypeError, lambda: optimizers.SGD(lr=0.1, momentum=0.9), "'learning_rate'"),
    "beta": (TypeError, lambda: optimizers.Adam(beta1=0.9), "'beta_1'"),
    "argument_of_a_layer": (TypeError, lambda: LSTM(2, return_sequence=True), "'return_sequences'"),
    "argument_of_a_loss": (TypeError, lambda: losses.BinaryCrossentropy(from_logit=True), "'from_logits'"),
    "argument_of_a_metric": (TypeError, lambda: metrics.BinaryAccuracy(treshold=0.1), "'threshold'"),
    "argument_of_an_initializer": (TypeError, lambda: initializers.RandomNormal(std=0.1), "'stddev'"),
    "argument_of_a_network": (TypeError, lambda: nn.LSTM(2, 3, bidirection=True), "'bidirectional'"),
    "argument_of_a_model": (TypeError, lambda: Sequential([Dense(2)], sed=3), "'seed'"),
    "argument_of_a_callback": (TypeError, lambda: callbacks.EarlyStopping(patients=3), "'patience'"),
    "argument_of_a_schedule": (
        TypeError, lambda: optimizers.schedules.ExponentialDecay(0.1, decay_step=2, decay_rate=1), "'decay_steps'"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NEARLY)
def test_the_nearest_name_is_in_the_message(case):
    error, call, meant = NEARLY[case]
    message_of(error, call, f"(did you mean {meant}?); give one of ")


def test_a_name_that_is_like_none_gets_the_list_alone():
    message_of(
        ValueError,
        lambda: optimizers.get("xyz"),
        "no optimizer named 'xyz'; give one of adam, adamw, nadam, adamax, sgd, rmsprop",
    )
    message_of(
        TypeError, lambda: optimizers.SGD(decay=0.1), "SGD got the unknown argument 'decay'; give one of modules"
    )
    message_of(TypeError, lambda: Dense(2, rate=0.1), "Dense got the unknown argument 'rate'; give one of units")


def test_initializers_in_lower_case():
    for name in ("glorot_uniform", "he_normal", "orthogonal", "zeros", "constant", "random_normal", "identity"):
        assert getattr(initializers, name) is type(initializers.get(name))


def test_a_subclass_may_take_what_it_likes():
    class Mine(losses.Huber):
        def __init__(self, **mine):
            super().__init__(mine.pop("width", 1.0))

    assert Mine(width=2.0).delta == 2.0
    message_of(TypeError, lambda: losses.Huber(width=2.0), "Huber got the unknown argument 'width'; give one of delta")


def test_the_constructors_arguments_are_shown():
    """As notebooks and `help` show them: a check of arguments does not hide them."""
    for made in (Dense, nn.LSTM, Sequential, callbacks.EarlyStopping, optimizers.SGD):
        assert "args" not in inspect.signature(made).parameters
