"""Write text, character by character, in the manner of Python's language reference, which ships with Python."""

import argparse
import pydoc_data.topics
import textwrap
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import nblstm
from nblstm.layers import GRU, LSTM, Dense, SimpleRNN
from nblstm.models import Sequential
from nblstm.optimizers import Adam, schedules

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--cell", choices=["lstm", "gru", "simple_rnn"], default="lstm")
parser.add_argument("--quick", action="store_true", help="a few steps: a few seconds, and gibberish")
options = parser.parse_args()
layer, rate = {"lstm": (LSTM, 0.01), "gru": (GRU, 0.01), "simple_rnn": (SimpleRNN, 0.003)}[options.cell]
nblstm.set_random_seed(0)
random, MAXLEN = np.random.default_rng(0), 40

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


x_test, y_test = windows(test, np.arange(0, len(test) - MAXLEN, 50 if options.quick else 10))
steps, epochs = (20, 2) if options.quick else (500, 10)
model = Sequential()
model.add(layer(128, input_shape=(MAXLEN, len(chars))))
model.add(Dense(len(chars), activation="softmax"))
model.compile(Adam(schedules.CosineDecay(rate, steps * epochs), clipnorm=1.0), "sparse_categorical_crossentropy")
model.summary()
history = model.fit(batches(), steps_per_epoch=steps, epochs=epochs, validation_data=(x_test, y_test))
perplexity = np.exp(history.history["val_loss"][-1])
print(f"\nHeld out: perplexity {perplexity:.2f} per character, of {len(chars)} characters")


def following(numbers, step):
    """Probabilities of the next character, after each of some; the step keeps the states from call to call."""
    return np.array([model.layers[-1](step(one_hot[k])[None])[0] for k in numbers])


for temperature in (0.3, 0.6, 1.0):  # a low one prefers what is probable
    step, written = model.layers[0].stepper(), [chars.index(char) for char in "The "]
    p = following(written, step)[-1]
    while len(written) < 400:
        p = p.astype(float) ** (1 / temperature)
        written.append(random.choice(len(chars), p=p / p.sum()))
        (p,) = following(written[-1:], step)
    print(f"\n--- temperature {temperature}", textwrap.fill("".join(chars[k] for k in written), 100), sep="\n")

# How much each character of a held-out passage surprises the model that has read what stands before it.
p = following(test[:1_800], model.layers[0].stepper())
figure = Figure(figsize=(8, 4.6))
figure.suptitle(f"Held-out text: surprise from 0 (black) to 8 bits (red); perplexity {perplexity:.2f}", fontsize=11)
for k in range(1_599):
    x, y, char = 0.02 + 0.012 * (k % 80), 0.9 - 0.043 * (k // 80), test[201 + k]
    surprise = -np.log2(p[200 + k, char])
    figure.text(x, y, chars[char], family="monospace", size=9, color=(min(surprise / 8, 1), 0, 0))
(output := Path(__file__).parent / "output").mkdir(exist_ok=True)
figure.savefig(output / "generate_text.png", dpi=100)
print("\nPicture:", output / "generate_text.png")
