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
parser.add_argument("--quick", action="store_true", help="20 epochs instead of 80")
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
with tqdm(total=20 if options.quick else 80, desc="training", unit="epoch") as progress:
    advance = LambdaCallback(on_epoch_end=lambda epoch, logs: (progress.set_postfix(logs), progress.update()))
    history = model.fit(x, y, epochs=progress.total, validation_data=(x_test, y_test), verbose=0, callbacks=[advance])

loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
p = model.predict(x_test, verbose=0)
said = p.argmax(axis=1)
print(f"\nHeld out: {accuracy:.1%} of {len(y_test)} digits are right, cross-entropy {loss:.3f}")
if options.quick:
    print("This was --quick, 20 epochs. All 80 take about 10 seconds and get 97 to 98 % right.")
else:
    assert accuracy >= 0.96, "fewer than 96 % of the digits are right"

figure = Figure(figsize=(10, 4.8), layout="constrained")
left, right = figure.subfigures(1, 2)
ax = left.subplots()
history.plot("accuracy", ax=ax)
ax.set(title=f"{accuracy:.1%} of the held-out digits are right", ylim=(0.5, 1), ylabel="fraction right")
ax.legend(["training", "held out"], frameon=False, loc="lower right")
right.suptitle("The twelve held-out digits that it doubts most")
doubted = np.argsort(p[np.arange(len(y_test)), y_test])[:12]
for ax, k in zip(right.subplots(3, 4).flat, doubted, strict=True):
    ax.imshow(x_test[k], cmap="gray_r")
    ax.set_title(f"{y_test[k]}, read as {said[k]}", color="C3" if said[k] != y_test[k] else "k", fontsize=10)
    ax.axis("off")
output = Path(__file__).parent / "output"
output.mkdir(exist_ok=True)
figure.savefig(output / "digits_row_by_row.png", dpi=200)
print("Picture:", output / "digits_row_by_row.png")
