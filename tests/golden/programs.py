"""The models of the six example programs, for Keras and for nblstm alike, and weights that need no file."""

import numpy as np

#: The recurrent layers that each program is run with: Keras's class and the arguments in which they differ.
CELLS = {
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {"reset_after": True}),
    "gru_reset_before": ("GRU", {"reset_after": False}),
    "simple_rnn": ("SimpleRNN", {}),
}

#: Different tokens of the lines of code and prose; different characters of the text.
VOCABULARY, CHARACTERS = 400, 60

#: Of the initial weights. With some seeds (2026 was one), the input of a relu comes so near to 0 in one of the traces
#: that rounding decides its sign, and Keras's own float32 and float64 go apart by more than the tolerance.
SEED = 2027

#: Loss and metrics of each program.
MEASURED = {
    "count_digits": ("binary_crossentropy", ["accuracy"]),
    "code_or_prose": ("categorical_crossentropy", ["accuracy"]),
    "moving_digits": ("sparse_categorical_crossentropy", ["accuracy"]),
    "digits_row_by_row": ("sparse_categorical_crossentropy", ["accuracy"]),
    "generate_text": ("categorical_crossentropy", []),
    "forecast_months": ("mse", ["mae"]),
}


def model(program, cell, models, layers):
    """The compiled model of a program, from ``keras.models`` and ``keras.layers`` or nblstm's."""
    kind, arguments = CELLS[cell]

    def recurrent(units, **others):
        return getattr(layers, kind)(units, **arguments, **others)

    made = models.Sequential()
    for layer in LAYERS[program](recurrent, layers):
        made.add(layer)
    loss, metrics = MEASURED[program]
    made.compile(loss=loss, optimizer="adam", metrics=metrics)
    return made


def _count_digits(recurrent, layers):
    return [recurrent(32, input_shape=(10, 64)), layers.Dense(1, activation="sigmoid")]


def _code_or_prose(recurrent, layers):
    return [
        layers.Embedding(VOCABULARY, 32, mask_zero=True, input_shape=(20,)),
        recurrent(32),
        layers.Dense(2, activation="softmax"),
    ]


def _moving_digits(recurrent, layers):
    each_frame = layers.TimeDistributed
    return [
        each_frame(layers.Conv2D(32, (3, 3), activation="relu"), input_shape=(None, 16, 16, 1)),
        each_frame(layers.MaxPooling2D((2, 2))),
        each_frame(layers.Flatten()),
        recurrent(64),
        layers.Dense(40, activation="softmax"),
    ]


def _digits_row_by_row(recurrent, layers):
    return [
        recurrent(128, activation="relu", return_sequences=True, input_shape=(8, 8)),
        recurrent(64, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]


def _generate_text(recurrent, layers):
    return [recurrent(128, input_shape=(40, CHARACTERS)), layers.Dense(CHARACTERS, activation="softmax")]


def _forecast_months(recurrent, layers):
    return [recurrent(100, activation="relu", input_shape=(None, 1)), layers.Dense(1)]


LAYERS = {
    "count_digits": _count_digits,
    "code_or_prose": _code_or_prose,
    "moving_digits": _moving_digits,
    "digits_row_by_row": _digits_row_by_row,
    "generate_text": _generate_text,
    "forecast_months": _forecast_months,
}


def weights(shapes):
    """An array for each shape: kernels uniform as Glorot's, biases in -0.1 .. 0.1; the same in every version of NumPy.

    Of a seeded bit generator, NumPy guarantees the stream of raw integers, and no more (NEP 19).
    """
    source = np.random.PCG64(SEED)
    arrays = []
    for shape in shapes:
        size = int(np.prod(shape))
        unit = (source.random_raw(size) >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1.0  # in -1 .. 1
        bound = np.sqrt(6.0 / (np.prod(shape[:-1]) + shape[-1])) if len(shape) > 1 else 0.1
        arrays.append((bound * unit).reshape(shape).astype(np.float32))
    return arrays


def inputs(program, x):
    """What a model takes, from what the file holds: pixels of 0 .. 16 become 0 .. 1, characters one-hot."""
    if program == "generate_text":
        return np.eye(CHARACTERS, dtype=np.float32)[x]
    if program == "code_or_prose":
        return x.astype(np.int32)
    return x.astype(np.float32) / np.float32(16) if x.dtype == np.uint8 else x


def targets(program, y):
    """What a loss takes, from what the file holds."""
    if program == "generate_text":
        return np.eye(CHARACTERS, dtype=np.float32)[y]
    return y.astype(np.int32) if program in ("moving_digits", "digits_row_by_row") else y.astype(np.float32)
