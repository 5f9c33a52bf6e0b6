"""Say whether ten handwritten digits, one after the other, count up or down."""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import nblstm
from nblstm.layers import GRU, LSTM, Dense, SimpleRNN
from nblstm.models import Sequential

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--cell", choices=["lstm", "gru", "simple_rnn"], default="lstm")
layer = {"lstm": LSTM, "gru": GRU, "simple_rnn": SimpleRNN}[parser.parse_args().cell]
nblstm.set_random_seed(0)
random = np.random.default_rng(0)

# 1,797 images of 8 x 8 = 64 pixels. The last 360, by other writers, are held out.
images, labels = load_digits(return_X_y=True)
images /= images.max()


def sequences(count, rows):
    """Sequences (count, 10, 64) of images drawn from some rows, and what they show: 1 counts up, 0 down."""
    up = random.integers(2, size=count)
    digits = (random.integers(10, size=(count, 1)) + np.outer(2 * up - 1, np.arange(10))) % 10
    chosen = np.empty_like(digits)
    for digit in range(10):
        here = digits == digit
        chosen[here] = random.choice(rows[labels[rows] == digit], here.sum())
    return images[chosen].astype("float32"), up


rows = np.arange(len(images))
x, y = sequences(10_000, rows[:-360])
x_test, y_test = sequences(2_000, rows[-360:])

model = Sequential()
model.add(layer(32, input_shape=(10, 64)))
model.add(Dense(1, activation="sigmoid"))
model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
model.summary()
model.fit(x, y, epochs=5)

loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"\nHeld out, of digits that training never saw: {accuracy:.1%} right, binary cross-entropy {loss:.3f}")

# The first three, and the three that it gets most wrong.
p = model.predict(x_test, verbose=0)[:, 0]
error = np.abs(p - y_test)
figure = Figure(figsize=(8, 6), layout="constrained")
figure.suptitle(f"Counting up or down, modulo 10? {accuracy:.1%} of {len(x_test):,} held-out sequences are right")
groups = {"The first three held-out sequences": range(3), "The three most wrong": np.argsort(error)[:-4:-1]}
for part, (title, shown) in zip(figure.subfigures(2, 1), groups.items(), strict=True):
    part.suptitle(title, fontsize="medium", color="0.4")
    for ax, k in zip(part.subplots(3, 1), shown, strict=True):
        ax.imshow(np.hstack(x_test[k].reshape(10, 8, 8)), cmap="gray_r")
        verdict, colour = ("wrong", "C3") if error[k] > 0.5 else ("right", "k")
        said = f"counts {('down', 'up')[y_test[k]]}\nthe model: p(up) = {p[k]:.3f}\n{verdict}"
        ax.text(-3, 3.5, said, ha="right", va="center", color=colour)
        ax.axis("off")
output = Path(__file__).parent / "output"
output.mkdir(exist_ok=True)
figure.savefig(output / "count_digits.png", dpi=200)
print("Picture:", output / "count_digits.png")
