"""Write text, character by character, in the manner of Python's language reference, which ships with Python."""

import argparse
import pydoc_data.topics
import re
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import nblstm
from nblstm.layers import GRU, LSTM, Dense, SimpleRNN
from nblstm.models import Sequential
from nblstm.optimizers import Adam, schedules

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--cell", choices=["lstm", "gru", "simple_rnn"], default="lstm")
parser.add_argument("--quick", action="store_true", help="1 epoch instead of 10")
options = parser.parse_args()
layer, rate = {"lstm": (LSTM, 0.01), "gru": (GRU, 0.01), "simple_rnn": (SimpleRNN, 0.003)}[options.cell]
nblstm.set_random_seed(0)
random, MAXLEN, STEPS, EPOCHS = np.random.default_rng(0), 40, 500, 1 if options.quick else 10

# Each paragraph once, as topics quote each other, less tables and lines drawn. The last tenth of the text is held out.
paragraphs = "\n\n".join(topic for _, topic in sorted(pydoc_data.topics.topics.items())).split("\n\n")
words = ([word for word in p.split() if len(word) < 4 or len({*word}) > 1] for p in paragraphs if p[:3] != "+--")
text = "\n".join(dict.fromkeys(map(" ".join, words)))
chars = sorted(set(text))
train, test = np.split(np.array([chars.index(char) for char in text]), [len(text) * 9 // 10])
one_hot = np.eye(len(chars), dtype="float32")


def windows(numbers, starts):
    """MAXLEN characters from each start on, (B, MAXLEN, n_chars), and the one that comes next, (B,)."""
    return one_hot[numbers[starts[:, None] + np.arange(MAXLEN)]], numbers[starts + MAXLEN]


def batches():
    """Windows from places drawn at random, batch after batch without end."""
    while True:
        yield windows(train, random.integers(len(train) - MAXLEN, size=128))


def following(numbers, step):
    """Probabilities of the next character, after each of some; the step keeps the states from call to call."""
    return np.array([model.layers[-1](step(one_hot[k])[None])[0] for k in numbers])


x_test, y_test = windows(test, np.arange(0, len(test) - MAXLEN, 10))
model = Sequential([layer(128, input_shape=(MAXLEN, len(chars))), Dense(len(chars), activation="softmax")])
model.compile(Adam(schedules.CosineDecay(rate, STEPS * EPOCHS), clipnorm=1.0), "sparse_categorical_crossentropy")
history = model.fit(batches(), steps_per_epoch=STEPS, epochs=EPOCHS, validation_data=(x_test, y_test))
perplexity = np.exp(history.history["val_loss"][-1])
print(f"\nHeld out: perplexity {perplexity:.2f} per character, of {len(chars)} characters")
if options.quick:
    print("This was --quick, 1 epoch. All 10 take about 90 seconds, and the perplexity of an LSTM falls below 5.")

LINE = re.compile(r"\S.{0,78}(?=\s)")  # as many words as 79 columns hold
for temperature in (0.3, 0.6, 1.0):  # a low one prefers what is probable
    step, written, new = model.layers[0].stepper(), [], [chars.index(char) for char in "The "]
    while len(written) < 500:
        written += new
        p = following(new, step)[-1].astype(float) ** (1 / temperature)
        new = [random.choice(len(chars), p=p / p.sum())]
    print(f"\n--- temperature {temperature}", *LINE.findall("".join(chars[k] for k in written))[:5], sep="\n")

# How much each character of a held-out passage surprises the model, which has read all that stands before it.
surprise = -np.log2(following(test[:2_999], model.layers[0].stepper())[np.arange(2_999), test[1:3_000]])
colours, lines = np.full((20, 79), np.nan), LINE.finditer(text, text.index("\n", len(train) + 200))
ax = (figure := Figure(figsize=(10, 6), layout="constrained")).subplots()
for row, line in zip(range(20), lines, strict=False):
    colours[row, : len(line[0])] = surprise[line.start() - len(train) - 1 :][: len(line[0])]
    for column, char in enumerate(line[0]):
        ax.text(column, row, char, family="monospace", size=9, ha="center", va="center")
image = ax.imshow(colours, cmap="Oranges", vmin=0, vmax=8, alpha=0.6, aspect="auto")
ax.set(title=f"Held-out text; perplexity {perplexity:.2f}", xticks=[], yticks=[])
figure.colorbar(image, label="how much a character surprises the model (bits)", extend="max")
(output := Path(__file__).parent / "output").mkdir(exist_ok=True)
figure.savefig(output / "generate_text.png", dpi=200)
print("\nPicture:", output / "generate_text.png")
