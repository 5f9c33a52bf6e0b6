"""Handwritten digits read row by row, as a sequence of 8 rows of 8 pixels, by two recurrent layers."""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import nblstm
from nblstm.callbacks import LambdaCallback
from nblstm.layers import GRU, LSTM, RNN, Dense, SimpleRNN
from nblstm.models import Sequential

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--cell", choices=["lstm", "gru", "simple_rnn", "own"], default="lstm")
parser.add_argument("--quick", action="store_true", help="few epochs: a few seconds, and a worse result")
options = parser.parse_args()
nblstm.set_random_seed(0)


@nblstm.cell(gates="u g", states="h")
def update_gate(u, g, h):
    """A cell of one's own: an update gate between the old state and the new (Collins et al. 2017)."""
    u = nblstm.sigmoid(u + 1)
    return u * h + (1 - u) * nblstm.relu(g)


def layer(units, **options_of_layer):
    """The recurrent layer that was asked for."""
    if options.cell == "own":
        return RNN(update_gate, units, **options_of_layer)
    kind = {"lstm": LSTM, "gru": GRU, "simple_rnn": SimpleRNN}[options.cell]
    return kind(units, activation="relu", **options_of_layer)


images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8).astype("float32") / 16
x, x_test, y, y_test = train_test_split(images, labels, test_size=360, stratify=labels, random_state=0)

model = Sequential()
model.add(layer(128, return_sequences=True, input_shape=(8, 8)))
model.add(layer(64))
model.add(Dense(10, activation="softmax"))
model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
model.summary()
with tqdm(total=3 if options.quick else 80, desc="training", unit="epoch") as progress:
    advance = LambdaCallback(on_epoch_end=lambda epoch, logs: (progress.set_postfix(logs), progress.update()))
    history = model.fit(x, y, epochs=progress.total, validation_data=(x_test, y_test), verbose=0, callbacks=[advance])

loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
predicted = model.predict(x_test, verbose=0).argmax(axis=1)
print(f"\nHeld out: {accuracy:.1%} of {len(y_test)} digits are right, cross-entropy {loss:.3f}")
if not options.quick:
    assert accuracy >= 0.96, "fewer than 96 % of the digits are right"

figure = Figure(figsize=(9, 4), layout="constrained")
left, right = figure.subfigures(1, 2)
ax = left.subplots()
history.plot("accuracy", ax=ax)
ax.set(title=f"{accuracy:.1%} of the held-out digits are right", ylim=(0 if options.quick else 0.8, 1))
right.suptitle("Most wrong: what it is, what it was taken for")
doubtful = np.argsort(model.predict(x_test, verbose=0)[np.arange(len(y_test)), y_test])[:12]
for ax, k in zip(right.subplots(3, 4).flat, doubtful, strict=True):
    ax.imshow(x_test[k], cmap="gray_r")
    ax.set_title(f"{y_test[k]}: {predicted[k]}", color="C3" if predicted[k] != y_test[k] else "k", fontsize=9)
    ax.axis("off")
output = Path(__file__).parent / "output"
output.mkdir(exist_ok=True)
figure.savefig(output / "digits_row_by_row.png", dpi=100)
print("Picture:", output / "digits_row_by_row.png")
