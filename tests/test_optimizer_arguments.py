"""Arguments, names and learning rates of optimizers and schedules: what is taken, and what is said of what is not."""

import copy
import json
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from golden import keras_training
from tolerances import OUTPUT

from nblstm import nn
from nblstm.training import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Lion, Nadam, RMSprop, optimizers
from nblstm.training.optimizers import schedules


def gradients_of(*arrays):
    return [nn.Gradients({}, array, np.zeros(0)) for array in arrays]


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "error", "said"),
    [
        (Adam, dict(learning_rate=-1.0), ValueError, "learning_rate is -1.0; give a number, 0 or more"),
        (Adam, dict(learning_rate=np.nan), ValueError, "learning_rate is nan"),
        (Adam, dict(learning_rate="0.1"), TypeError, "learning_rate is '0.1'"),
        (
            Adam, dict(learning_rate=schedules.CosineDecay), TypeError,
            r"learning_rate is the class CosineDecay; give an object of it, CosineDecay\(...\)",
        ),
        (Adam, dict(beta_1=1.0), ValueError, "beta_1 is 1.0; give a number, 0 or more and below 1"),
        (Adam, dict(beta_2=-0.1), ValueError, "beta_2 is -0.1"),
        (Adam, dict(epsilon=np.inf), ValueError, "epsilon is inf"),
        (Adam, dict(amsgrad="yes"), TypeError, "amsgrad is 'yes'"),
        (Adam, dict(modules=[]), TypeError, "modules has nothing"),
        (Adam, dict(modules=[np.ones(3)]), TypeError, "modules has ndarray"),
        (Adam, dict(modules=0.01, learning_rate=0.9), TypeError, "Adam got modules and learning_rate, of which the fi"),
        (Adam, dict(modules="0.1"), TypeError, "learning_rate is '0.1' of type str; give a number"),
        (SGD, dict(modules=[0.1]), TypeError, r"learning_rate is \[0.1\] of type list; give a number"),
        (Adam, dict(clipnorm=0), ValueError, "clipnorm is 0; give a number above 0"),
        (Adam, dict(clipnorm=1.0, clipvalue=1.0), ValueError, "clipnorm and clipvalue are given"),
        (Adam, dict(weight_decay=-1), ValueError, "weight_decay is -1"),
        (AdamW, dict(weight_decay=None), TypeError, "weight_decay is None"),
        (SGD, dict(momentum=1.5), ValueError, "momentum is 1.5; give a number, 0 or more and at most 1"),
        (SGD, dict(nesterov=3), TypeError, "nesterov is 3"),
        (RMSprop, dict(rho=2), ValueError, "rho is 2"),
        (Lion, dict(beta_1=0), ValueError, "beta_1 is 0; give a number above 0"),
        (Adagrad, dict(initial_accumulator_value=-1), ValueError, "initial_accumulator_value is -1"),
        (Nadam, dict(beta_2=1), ValueError, "beta_2 is 1; give a number, 0 or more and below 1"),
        (Adadelta, dict(rho="a"), TypeError, "rho is 'a'"),
        (Adamax, dict(epsilon=-1), ValueError, "epsilon is -1"),
    ],
)  # fmt: skip
def test_arguments(kind, options, error, said):
    with pytest.raises(error, match=said):
        kind(**{"modules": [nn.Linear(2, 2)], **options})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SGD(0.1, 0.9), r"SGD got 0.1, 0.9, .* by its name, as in SGD\(0.1, momentum=0.9\)"),
        (lambda: SGD(0.1, 0.01), "SGD got 0.1, 0.01"),  # the default of what has the second place
        (lambda: RMSprop(schedules.CosineDecay(0.1, 5), 0.9), r"by its name, as in RMSprop\(0.1, rho=0.9\)"),
        (lambda: Adam(1e-3, 0.9, 0.99), r"by its name, as in Adam\(0.1, beta_1=0.9\)"),
        (lambda: AdamW(1e-3, learning_rate=1e-3), "AdamW got modules and learning_rate|AdamW got 0.001"),
    ],
)
def test_what_stands_behind_a_learning_rate_needs_its_name(make, said):
    with pytest.raises(TypeError, match=said):
        make()


def test_the_learning_rate_may_come_first():
    class Halving(SGD):
        def __init__(self, rate, momentum):
            super().__init__(None, rate, momentum)

    layer = nn.Linear(1, 1)
    assert Adam(0.25).learning_rate == Adam([layer], 0.25).learning_rate == 0.25
    assert SGD(lambda step: 0.5 + step, momentum=0.9).learning_rate == 0.5
    assert Halving(0.25, 0.5).learning_rate == 0.25
    assert RMSprop(layer, 0.25, 0.5).rho == 0.5


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: schedules.ExponentialDecay(0.1, 0, 0.5), ValueError, "decay_steps is 0; give a number above 0"),
        (lambda: schedules.ExponentialDecay(-1, 1, 0.5), ValueError, "initial_learning_rate is -1"),
        (lambda: schedules.PiecewiseConstantDecay([5, 3], [1, 2, 3]), ValueError, "increasing"),
        (lambda: schedules.PiecewiseConstantDecay([5], [1]), ValueError, "1 values for 1 boundaries"),
        (lambda: schedules.PiecewiseConstantDecay([0.5], [1, 2]), TypeError, "whole numbers"),
        (lambda: schedules.CosineDecay(0.1, 5, warmup_steps=3), ValueError, "warmup_target"),
        (lambda: schedules.get({"class_name": "Nothing"}), ValueError, "named 'Nothing'.*; give one of Exp"),
        (lambda: optimizers.get("adamm"), ValueError, r"no optimizer named 'adamm' .did you mean 'adam'\?.; give"),
        (lambda: optimizers.get(None), TypeError, "None is no optimizer"),
        (lambda: optimizers.get({"class_name": "Adam", "lr": 1}), ValueError, "class_name"),
    ],
)
def test_names_and_arguments_of_schedules(make, error, said):
    with pytest.raises(error, match=said):
        make()


# --- learning rate --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", keras_training.cases("schedules"))
def test_keras_schedules(case):
    name, options = keras_training.CASES[case]
    schedule, given = getattr(schedules, name)(**options), keras_training.arrays(case)
    rates = [schedule(int(step)) for step in given["steps"]]
    np.testing.assert_allclose(rates, given["rates"], rtol=OUTPUT["float64"])
    again = schedules.get(schedule.record())
    assert [again(int(step)) for step in given["steps"]] == rates


def test_a_schedule_is_a_function_of_the_steps_taken():
    asked = []
    optimizer = SGD(nn.Linear(1, 1, dtype="float64"), lambda step: asked.append(step) or 0.1)
    for _ in range(3):
        optimizer.step(gradients_of(np.ones(2)))
    assert asked == [0, 1, 2]
    assert optimizer.learning_rate == 0.1
    with pytest.raises(TypeError, match="follows a schedule"):
        optimizer.learning_rate = 0.5
    optimizer.learning_rate = schedules.InverseTimeDecay(0.8, 3, 1.0)
    assert optimizer.learning_rate == 0.4


@pytest.mark.parametrize("given", ["a", None, [0.1], np.array([0.1]), np.nan, -1.0])
def test_what_a_schedule_may_not_give(given):
    """Nothing has been changed by the step that asked for it."""
    linear = nn.Linear(1, 1, dtype="float64")
    optimizer = SGD(linear, lambda step: given)
    before = linear.flat_parameters().copy()
    with pytest.raises((TypeError, ValueError), match=r"the learning rate of step 0 is .*; give a number, 0 or more"):
        optimizer.step(gradients_of(np.ones(2)))
    assert (linear.flat_parameters() == before).all()
    assert optimizer.iterations == 0


@pytest.mark.parametrize("given", [np.float32(0.5), np.array(0.5), Fraction(1, 2)])
def test_other_numbers_that_a_schedule_may_give(given):
    assert SGD(nn.Linear(1, 1), lambda step: given).learning_rate == 0.5


def test_restarts_of_a_cosine():
    """Figures of Keras 3.15."""
    schedule = schedules.CosineDecayRestarts(0.1, 10, t_mul=2.0, m_mul=0.5, alpha=0.1)
    steps = {0: 0.1, 5: 0.055, 9: 0.01220246, 10: 0.055, 11: 0.05472299, 29: 0.01027701, 30: 0.0325, 100: 0.0177776}
    assert [schedule(step) for step in steps] == pytest.approx(list(steps.values()), rel=1e-5)
    equal = schedules.CosineDecayRestarts(0.1, 4, t_mul=1.0)
    assert [equal(step) for step in range(4, 8)] == [equal(step) for step in range(4)]
    assert equal(10**12) == equal(0) == 0.1
    assert schedules.get(schedule.record())(17) == schedule(17)


def test_the_schedules_are_a_module():
    from nblstm.optimizers.schedules import ExponentialDecay, LearningRateSchedule

    assert ExponentialDecay is schedules.ExponentialDecay
    assert issubclass(ExponentialDecay, LearningRateSchedule)

    class Halved(LearningRateSchedule):
        def __call__(self, step):
            return 0.5 ** (step + 1)

    assert Adam(Halved()).learning_rate == 0.5


def test_the_learning_rate_is_a_number_and_can_be_assigned():
    optimizer = SGD(nn.Linear(1, 1, dtype="float64", seed=0), 0.5)
    before = optimizer.modules[0].flat_parameters().copy()
    optimizer.learning_rate.assign(0.25)
    optimizer.step(gradients_of(np.ones(2)))
    np.testing.assert_array_equal(optimizer.modules[0].flat_parameters(), before - 0.25)
    rate = optimizer.learning_rate
    assert rate == float(rate) == rate.numpy() == 0.25
    assert (f"{rate:g}", repr(rate), json.dumps([rate])) == ("0.25", "0.25", "[0.25]")
    assert type(pickle.loads(pickle.dumps(rate))) is type(copy.deepcopy(rate)) is float
    with pytest.raises(ValueError, match="learning_rate is -1"):
        rate.assign(-1)
    with pytest.raises(TypeError, match="follows a schedule"):
        SGD(learning_rate=schedules.CosineDecay(0.1, 5)).learning_rate.assign(0.5)


def test_a_schedule_that_gives_nonsense_changes_nothing():
    layer = nn.Linear(1, 1, dtype="float64", seed=0)
    before = layer.flat_parameters().copy()
    optimizer = SGD(layer, lambda step: math.nan)
    with pytest.raises((TypeError, ValueError), match=r"the learning rate of step 0 is nan"):
        optimizer.step(gradients_of(np.ones(2)))
    np.testing.assert_array_equal(layer.flat_parameters(), before)


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SGD, RMSprop, Adam, AdamW, Nadam, Adagrad, Adadelta, Adamax, Lion])
def test_an_optimizer_has_a_name(kind):
    assert kind().name == kind.__name__
    assert optimizers.get(kind(name="mine").record()).name == "mine"
    with pytest.raises(TypeError, match="name is 3; give a string"):
        kind(name=3)


@pytest.mark.parametrize(
    ("identifier", "kind"),
    [("adam", Adam), ("Adam", Adam), ("SGD", SGD), ("rmsprop", RMSprop), ("RMSprop", RMSprop), ("AdamW", AdamW),
     ("nadam", Nadam), ("Adagrad", Adagrad), ("adadelta", Adadelta), ("adamax", Adamax), ("Lion", Lion),
     (SGD, SGD), (Adam(0.1), Adam), ({"class_name": "adamw"}, AdamW)],
)  # fmt: skip
def test_names(identifier, kind):
    assert type(optimizers.get(identifier)) is kind


def half(step):
    return 0.5


def test_a_function_is_configured_by_its_name():
    assert SGD(learning_rate=half).get_config()["learning_rate"] == "Custom>half"
    with pytest.raises(TypeError, match="learning_rate is <lambda>, which cannot be saved"):
        SGD(learning_rate=lambda step: 0.5).get_config()


def test_a_network_is_trained_once():
    net = nn.Linear(2, 3, seed=0)
    with pytest.raises(ValueError, match="modules has a network twice, which would take each step twice"):
        Adam([net, nn.Linear(2, 3, seed=1), net])


def test_the_old_name_of_the_learning_rate():
    """To set what does nothing would be silent."""
    optimizer = Adam(learning_rate=0.25)
    for use in (lambda: optimizer.lr, lambda: setattr(optimizer, "lr", 0.5)):
        with pytest.raises(AttributeError, match=r"lr is now called learning_rate; set optimizer\.learning_rate"):
            use()
    assert optimizer.learning_rate == 0.25
