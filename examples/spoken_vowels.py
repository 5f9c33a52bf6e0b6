"""Say who speaks: cross-validation, a grid search and a learning curve on utterances of 7 to 29 steps."""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.model_selection import GridSearchCV, LearningCurveDisplay, ShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline

from nblstm.sklearn import RecurrentClassifier, SequenceScaler

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--cell", choices=["lstm", "gru", "simple_rnn"], default="lstm")
parser.add_argument("--quick", action="store_true", help="two networks in place of six, and a shorter curve")
options = parser.parse_args()
HERE = Path(__file__).parent

# 640 utterances of /ae/ by nine men: a list of arrays (7 to 29, 12), 12 cepstrum coefficients every 6.4 ms. The first
# 270 are to train on, 30 of each man; the others were recorded at other times, and are held out.
data = np.load(HERE / "data/japanese_vowels.npz")
X = np.split(data["frames"] / 1000, data["lengths"].cumsum()[:-1])
speaker = np.array([f"man {number}" for number in data["speaker"]])
X, X_test, y, y_test = X[:270], X[270:], speaker[:270], speaker[270:]

classifier = RecurrentClassifier(options.cell, learning_rate=0.01, max_epochs=30, random_state=0)
pipeline = make_pipeline(SequenceScaler(), classifier)
scores = cross_val_score(pipeline, X, y, cv=5)
print(f"Five folds: {scores.mean():.1%} right, from {scores.min():.1%} to {scores.max():.1%}")

grid = {"recurrentclassifier__bidirectional": [False, True]}
if not options.quick:
    grid["recurrentclassifier__hidden_size"] = [16, 32, 64]
search = GridSearchCV(pipeline, grid, cv=5, n_jobs=2).fit(X, y)
best = {name.removeprefix("recurrentclassifier__"): value for name, value in search.best_params_.items()}
print(f"Grid search, {len(search.cv_results_['params'])} networks: {search.best_score_:.1%} right with {best}")
right = search.score(X_test, y_test)
print(f"Held out: {right:.1%} of {len(X_test)} utterances are right")

figure = Figure(figsize=(10, 4.5), layout="constrained")
curve, cut = figure.subplots(1, 2)
splits = ShuffleSplit(2 if options.quick else 5, test_size=54, random_state=0)
sizes = [27, 108, 216] if options.quick else [27, 54, 108, 162, 216]
drawn = {"train_sizes": sizes, "cv": splits, "ax": curve, "score_name": "right"}
LearningCurveDisplay.from_estimator(search.best_estimator_, X, y, **drawn)
curve.axhline(right, color="gray", linestyle=":", label="held out, trained on 270")
curve.set(title="Learning curve", xlabel="utterances to train on")
curve.legend(loc="lower right")

# Any length will do, so also the beginnings of utterances, though it has learned from whole ones alone.
steps = np.arange(1, 1 + max(map(len, X_test)))
heard = [search.score([x[:T] for x in X_test], y_test) for T in steps]
cut.plot(6.4 * steps, heard, label="beginnings of those held out")
cut.hist(
    6.4 * data["lengths"][270:], 6.4 * (steps - 0.5), weights=np.full(len(X_test), 1 / len(X_test)), color="lightgray"
)
cut.axhline(1 / 9, color="gray", linestyle=":", label="chance")
cut.set(
    title="Who speaks, after so much of the utterance?", xlabel="ms heard; gray: how long they last", ylabel="right"
)
cut.legend(loc="center right")
(output := HERE / "output").mkdir(exist_ok=True)
figure.savefig(output / "spoken_vowels.png", dpi=200)
print("Picture:", output / "spoken_vowels.png")
