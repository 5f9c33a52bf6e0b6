"""What an editor and a type checker know of a program: misspelt and wrong arguments, arrays that are arrays."""

import os
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from messages import message_of

import nblstm
from nblstm import layers
from nblstm.arguments.configured import constructor_arguments

#: Behind a line stands what mypy is to say of it: the code of an error, or the type that is revealed.
PROGRAM = '''
import numpy as np
import nblstm
from nblstm import Input, Sequential, callbacks, nn
from nblstm.initializers import Zeros
from nblstm.layers import (
    GRU, LSTM, RNN, Activation, BatchNormalization, Bidirectional, Conv1D, Dense, Dropout, Embedding, Layer,
    LayerNormalization, Masking, MaxPooling1D, Normalization, PReLU, RepeatVector, Reshape, TimeDistributed,
    activations,
)
from nblstm.models import load_model
from nblstm.optimizers import Adam
from nblstm.optimizers import schedules

@nblstm.cell(gates="f g", states="h")
def minimal(f, g, h):
    """A gated unit."""
    f = nblstm.sigmoid(f)
    return f * h + (1 - f) * nblstm.tanh(g)

class Doubled(Layer):
    """A layer of the user's own."""

    def __init__(self, factor: float = 2.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

x = np.zeros((2, 3, 4), "float32")
model = Sequential([
    Input((3, 4)), LSTM(4, return_sequences=True, name="a", dtype="float32", zero_output_for_mask=True),
    Bidirectional(GRU(4, return_sequences=True), trainable=False), RNN(minimal, 3, return_sequences=True),
    TimeDistributed(Dense(2, activations.relu, kernel_initializer=Zeros(), bias_initializer=np.zeros(2))),
    Conv1D(3, (2,), padding="same", dtype=np.float32), MaxPooling1D(2, strides=1), Masking(name="m"),
    BatchNormalization(momentum=0.9), Normalization(mean=[1, 2], variance=np.ones(2)), PReLU(shared_axes=[1]),
    LayerNormalization([1, 2]), Dropout(0.5, noise_shape=(None, 1, 2), seed=3), Reshape((-1, 2)), Activation("relu"),
    Doubled(3.0, name="twice"), Embedding(3, 4, mask_zero=True, input_shape=(None,)), RepeatVector(3, input_dim=2),
], seed=0)
model.compile(Adam(schedules.ExponentialDecay(0.1, 10, 0.9)), loss="mse", metrics=["accuracy"])
history = model.fit(x, x, epochs=3, callbacks=[callbacks.EarlyStopping()], verbose=2, validation_freq=[1, 3])
loss, accuracy = model.evaluate(x, x)
y, h, c = LSTM(4, return_state=True)(x)
y, (h, c) = nn.LSTM(4, 4)(x)
y, h, tape = nn.GRU(4, 4, dtype="float64").forward(x)
model.layers[0].stepper()(x)
model.layers[0].no_such_thing

reveal_type(history.history["loss"])  # list[Any]
reveal_type(model.predict(x))  # ndarray
reveal_type(model.predict_on_batch(x))  # ndarray
reveal_type(model(x))  # ndarray
reveal_type(Dense(4)(x))  # ndarray
reveal_type(LSTM(4)(x))  # ndarray
reveal_type(Bidirectional(LSTM(4))(x))  # ndarray
reveal_type(LSTM(4).stepper()(x))  # ndarray
reveal_type(nn.LSTM(4, 4)(x))  # tuple[ndarray, Any]
reveal_type(nn.LSTM(4, 4).stepper()(x))  # ndarray
reveal_type(nn.Linear(4, 4)(x))  # ndarray
reveal_type(minimal)  # Cell
reveal_type(load_model("model"))  # Sequential

LSTM(4, return_sequence=True)  # call-arg
GRU(4, reset_befor=True)  # call-arg
RNN(minimal, 4, units_=3)  # call-arg
Dense(4, activaton="relu")  # call-arg
Conv1D(4, 2, stride=3)  # call-arg
Bidirectional(LSTM(4), mergemode="sum")  # call-arg
TimeDistributed(Dense(3), traineable=False)  # call-arg
Input(shap=(3,))  # call-arg
Layer(nme="a")  # arg-type
Embedding(3, 4, input_dim=2)  # misc
LSTM("4")  # arg-type
LSTM(4, dropout="half")  # arg-type
Dense(4, name=4)  # arg-type
Dense(4, activity_regularizer="l2")  # arg-type
model.predict(x, batchsize=3)  # call-arg
model.fit(x, x, epoch=3)  # call-arg
model.compile(optimiser="adam")  # call-arg
'''


#: Checked strictly: classes of the user's own call constructors and functions that have types.
STRICT = """
import nblstm
from nblstm import callbacks, initializers, layers, losses, metrics, models, nn, optimizers

class Own(callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()

class OwnHistory(callbacks.History):
    def __init__(self) -> None:
        super().__init__()

class OwnMetric(metrics.Metric):
    def __init__(self) -> None:
        super().__init__("own")

class OwnLoss(losses.MeanSquaredError):
    def __init__(self) -> None:
        super().__init__(name="own")

class OwnModel(models.Sequential):
    def __init__(self) -> None:
        super().__init__([layers.Dense(1)])

class OwnOptimizer(optimizers.Adam):
    def __init__(self) -> None:
        super().__init__(None, 0.1)

callbacks.LambdaCallback(on_epoch_end=print)
optimizers.schedules.PiecewiseConstantDecay([3], [0.1, 0.2])
initializers.Constant([1.0, 2.0])
nn.Linear(2, 3)
nblstm.clip(nblstm.where(True, nblstm.sigmoid(1.0), nblstm.relu(2.0)), 0, nblstm.maximum(1, 2))
"""


@pytest.mark.parametrize(("source", "options"), [(PROGRAM, []), (STRICT, ["--strict"])])
def test_what_mypy_says_of_a_program(source, options, tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed")
    program = tmp_path / "program.py"
    program.write_text(source)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--config-file=", "--follow-imports=silent", f"--cache-dir={tmp_path}",
         "--python-version=3.12", "--no-error-summary", "program.py"],  # 3.10 has no Unpack, and checks less
        env=os.environ | {"MYPYPATH": str(Path(nblstm.__file__).parents[1])}, cwd=tmp_path, text=True,
        capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert not done.stderr
    said = [re.sub(r"\[tuple\[Any, \.\.\.\], numpy\.dtype\[Any\]\]", "", line) for line in done.stdout.splitlines()]
    found = {int(line.split(":")[1]): _short(line) for line in said if "error:" in line or "Revealed" in line}
    lines = enumerate(source.splitlines(), 1)
    assert found == {number: line.split("  # ")[1] for number, line in lines if "  # " in line}


def _short(line):
    """The code of an error, or the revealed type without the modules."""
    if "error:" in line:
        return line.rsplit("[", 1)[1].rstrip("]")
    return re.sub(r"[a-z_.]+\.(?=\w)", "", re.search('"(.*)"', line).group(1))


def test_type_checkers_are_told_to_look():
    assert (Path(nblstm.__file__).parent / "py.typed").is_file()


PUBLIC = [getattr(layers, name) for name in layers.__all__]
LAYERS = {made for made in PUBLIC if isinstance(made, type) and issubclass(made, layers.Layer)}


@pytest.mark.parametrize("kind", sorted(LAYERS, key=lambda kind: kind.__name__))
def test_all_options_are_typed(kind):
    """What a constructor's ``**kwargs`` say is what it takes, also where a program reads the annotations."""
    hints = typing.get_type_hints(kind.__init__)
    named = set(hints) - {"kwargs", "unknown", "return"}
    if "kwargs" in hints:
        (options,) = typing.get_args(hints["kwargs"]) or (hints["kwargs"],)  # the latter with Python 3.10
        named |= set(typing.get_type_hints(options))
    untyped = {"weights"}  # of an Embedding or a Bidirectional: an array or a list
    assert set(constructor_arguments(kind)) - untyped == named


@pytest.mark.parametrize(
    ("make", "came", "meant"),
    [
        (lambda: layers.LSTM(4, return_sequence=True), "LSTM got the unknown argument 'return_sequence'",
         "return_sequences"),
        (lambda: layers.Dense(4, activaton="relu"), "Dense got the unknown argument 'activaton'", "activation"),
        (lambda: layers.Input((3,)).__class__(shap=(3,), shape=(3,)), "'shap'", "shape"),
        (lambda: layers.TimeDistributed(layers.Dense(4), Trainable=0), "'Trainable'", "trainable"),
        (lambda: layers.GRU(4, zero_output_for_masks=True), "'zero_output_for_masks'", "zero_output_for_mask"),
    ],
)  # fmt: skip
def test_the_nearest_argument_is_named(make, came, meant):
    message_of(TypeError, make, came, f"did you mean {meant!r}?")
