"""Tell code from prose: lines of the standard library's sources, against those of its comments and docstrings."""

import argparse
import collections
import re
import sysconfig
import tokenize
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import nblstm
from nblstm.layers import GRU, LSTM, Dense, Embedding, SimpleRNN
from nblstm.models import Sequential

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--cell", choices=["lstm", "gru", "simple_rnn"], default="lstm")
parser.add_argument("--quick", action="store_true", help="every fourth file: 3 seconds instead of 10")
options = parser.parse_args()
layer = {"lstm": LSTM, "gru": GRU, "simple_rnn": SimpleRNN}[options.cell]
nblstm.set_random_seed(0)
LENGTH, VOCABULARY = 20, 4_000  # of a line, in words and signs; how many of these are told apart
words = re.compile(r"\w+|[^\w\s]").findall


def lines(path):
    """The lines of a file: as they stand, less what marks comments and docstrings, and 1 for prose or 0 for code."""
    source, kinds, before = path.read_text("utf-8").split("\n"), collections.defaultdict(set), tokenize.NEWLINE
    for token in tokenize.generate_tokens((f"{line}\n" for line in source).__next__):
        alone = before in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)  # a string that is all of a statement
        prose = token.type == tokenize.COMMENT or (token.type == tokenize.STRING and alone)
        for line in range(token.start[0], token.end[0] + 1) if token.string.strip() else ():
            kinds[line].add(int(prose))
        before = before if token.type in (tokenize.NL, tokenize.COMMENT) else token.type
    for line, text in enumerate(source, 1):
        if len(kinds[line]) == 1 and re.search(r"\w", text):
            yield text, text.strip(' #"'), *kinds[line]


def encoded(texts):
    """(N, LENGTH) numbers: 0 is padding behind a line, 1 a word or sign that is not in the vocabulary."""
    numbers = [[vocabulary.get(word, 1) for word in words(text)[:LENGTH]] for text in texts]
    return np.array([line + [0] * (LENGTH - len(line)) for line in numbers])


# Every fifth file is held out, so that no line is judged by its neighbours.
files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:: 4 if options.quick else 1]
_, text, kind = zip(*(line for k, file in enumerate(files) if k % 5 for line in lines(file)), strict=True)
test_line, test_text, test_kind = zip(*(line for file in files[::5] for line in lines(file)), strict=True)
counts = collections.Counter(word for line in text for word in words(line))
vocabulary = {word: k for k, (word, _) in enumerate(counts.most_common(VOCABULARY - 2), 2)}
x, y = encoded(text), np.eye(2)[list(kind)]  # one column for code, one for prose
x_test, y_test = encoded(test_text), np.eye(2)[list(test_kind)]
embedding = Embedding(VOCABULARY, 32, input_length=LENGTH, mask_zero=True)
model = Sequential([embedding, layer(32), Dense(2, activation="softmax")])
model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
model.fit(x, y, epochs=3, batch_size=64)
loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
p = model.predict(x_test, verbose=0)[:, 1]
right = f"{accuracy:.1%} of {len(p):,} held-out lines are right"
print(f"\n{right} ({1 - np.mean(test_kind):.1%} are code); cross-entropy {loss:.3f}")
wrong = np.bincount(np.array(test_kind)[(p > 0.5) != test_kind], minlength=2)
print(f"Taken for prose: {wrong[0]} lines of code; for code: {wrong[1]} of prose. Most wrong, four of each:")
for k in np.argsort(p - test_kind)[[-1, -2, -3, -4, 3, 2, 1, 0]]:
    print(f"  p(prose) {p[k]:.3f}, it is {('code', 'prose')[test_kind[k]]}: {test_text[k]:.80}")

# A picture of the thirty lines in which code and prose alternate the most within functions.
inside = np.array([line.startswith(8 * " ") for line in test_line])
shown = np.arange(30) + np.convolve(inside[1:] * np.diff(test_kind) != 0, np.ones(29), "valid").argmax()
ax = (figure := Figure(figsize=(8, 6), layout="constrained")).subplots()
image = ax.pcolormesh([0, 80], np.arange(31), p[shown, None], cmap="coolwarm", vmin=0, vmax=1, alpha=0.5)
for row, k in enumerate(shown):
    ax.text(0.5, row + 0.5, test_line[k], family="monospace", size=8.5, va="center", clip_on=True)
    ax.text(-1, row + 0.5, "" if (p[k] > 0.5) == test_kind[k] else "wrong", ha="right", va="center")
ax.set(title=right, xticks=[], yticks=[], ylim=(30, 0))
figure.colorbar(image, label="p(prose), from its words alone: no # and no indentation")
(output := Path(__file__).parent / "output").mkdir(exist_ok=True)
figure.savefig(output / "code_or_prose.png", dpi=200)
print("\nPicture:", output / "code_or_prose.png")
