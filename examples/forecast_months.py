"""Forecast next month's CO2 over Mauna Loa from the changes of some months before it: 12, 24, 36 or 48 of them."""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import nblstm
from nblstm.callbacks import LambdaCallback
from nblstm.layers import GRU, LSTM, Dense, SimpleRNN
from nblstm.models import Sequential
from nblstm.optimizers import Adam, schedules

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--cell", choices=["lstm", "gru", "simple_rnn"], default="lstm")
parser.add_argument("--quick", action="store_true", help="few epochs: a few seconds, and a worse result")
options = parser.parse_args()
layer = {"lstm": LSTM, "gru": GRU, "simple_rnn": SimpleRNN}[options.cell]
nblstm.set_random_seed(0)
HERE, LENGTHS, random = Path(__file__).parent, (12, 24, 36, 48), np.random.default_rng(0)
EPOCHS, STEPS = (10, 4) if options.quick else (200, 12)

# The record: one value a week, with gaps. Its monthly means; five months without any are interpolated.
weeks, co2 = np.genfromtxt(HERE / "data/co2_weekly.csv", "M8[D], f8", delimiter=",", skip_header=10, unpack=True)
month = (weeks.astype("M8[M]") - np.datetime64("1958-03")).astype(int)[~np.isnan(co2)]
measured, k, count = np.unique(month, return_inverse=True, return_counts=True)
mean = np.interp(np.arange(month[-1] + 1), measured, np.bincount(k, co2[~np.isnan(co2)]) / count)
year = 1958 + (2 + np.arange(len(mean))) / 12

# What is forecast is the change until the next month. The last fifth is held out, and not used for the scale.
change = np.diff(mean)
split = len(change) * 4 // 5
scale, held_out = change[:split].std(), np.arange(split, len(change))
scaled = (change / scale).astype("float32")[:, None]


def windows(length, ends):
    """The changes before each of some places, (B, length, 1), and the one there, (B, 1)."""
    return scaled[ends[:, None] + np.arange(-length, 0)], scaled[ends]


def batches():
    """Batches without end; the windows of a batch have one length, drawn at random."""
    while True:
        length = random.choice(LENGTHS)
        yield windows(length, random.integers(length, split, size=32))


model = Sequential([layer(100, activation="relu", input_shape=(None, 1)), Dense(1)])
model.compile(loss="mse", optimizer=Adam(schedules.CosineDecay(0.003, EPOCHS * STEPS), clipnorm=1.0))
with tqdm(total=EPOCHS, desc="training", unit="epoch") as progress:
    advance = LambdaCallback(on_epoch_end=lambda epoch, logs: progress.update())
    model.fit(batches(), steps_per_epoch=STEPS, epochs=EPOCHS, verbose=0, callbacks=[advance])

before = [change[held_out - 12 * k] for k in (1, 2, 3, 4)]
forecasts = {"no change": 0, "the change a year before": before[0], "the mean of four such": np.mean(before, axis=0)}
for length in LENGTHS:
    predicted = model.predict(windows(length, held_out)[0], verbose=0)
    forecasts[f"{options.cell}, seeing {length} months"] = scale * predicted[:, 0]
print("\nOne month ahead, held out      RMSE in ppm")
for name, forecast in forecasts.items():
    print(f"{name:31}{np.sqrt(np.mean((forecast - change[held_out]) ** 2)):.3f}")

known = list(scaled[split - 24 : split, 0])  # the years held out once more, from forecasts in place of measurements
for _ in held_out:
    known.append(model.predict(np.array(known)[None, :, None], verbose=0)[0, 0])

top, bottom = (figure := Figure(figsize=(8, 5.6), layout="constrained")).subplots(2, 1)
for style, name in (("C0-", "the change a year before"), ("C1-", f"{options.cell}, seeing 24 months")):
    top.plot(year[-36:], (mean[held_out] + forecasts[name])[-36:], style, label=name)
bottom.plot(year[split + 1 :], mean[split] + scale * np.cumsum(known[24:]), "C1-", label="on its own from here on")
for ax, n, title in ((top, 36, "One month ahead"), (bottom, 216, f"No measurement after {year[split]:.0f}")):
    ax.plot(year[-n:], mean[-n:], "k.", markersize=4, label="measured")
    ax.set(title=title, ylabel="CO$_2$ (ppm)")
    ax.legend(frameon=False, loc="upper left")
(output := HERE / "output").mkdir(exist_ok=True)
figure.savefig(output / "forecast_months.png", dpi=100)
print("\nPicture:", output / "forecast_months.png")
