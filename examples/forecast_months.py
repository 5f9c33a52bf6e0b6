"""Forecast next month's CO2 over Mauna Loa from the changes of some months before it: 12, 24, 36 or 48 of them."""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import nblstm
from nblstm.layers import GRU, LSTM, Dense, SimpleRNN
from nblstm.models import Sequential
from nblstm.optimizers import Adam, schedules

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--cell", choices=["lstm", "gru", "simple_rnn"], default="lstm")
layer = {"lstm": LSTM, "gru": GRU, "simple_rnn": SimpleRNN}[parser.parse_args().cell]
nblstm.set_random_seed(0)
HERE, random = Path(__file__).parent, np.random.default_rng(0)
LENGTHS, STEPS, EPOCHS = (12, 24, 36, 48), 240, 10

# The record: one value a week, with gaps. Its monthly means; five months without any are interpolated.
weeks, co2 = np.genfromtxt(HERE / "data/co2_weekly.csv", "M8[D], f8", delimiter=",", skip_header=10, unpack=True)
month = (weeks.astype("M8[M]") - np.datetime64("1958-03")).astype(int)[~np.isnan(co2)]
measured, k, count = np.unique(month, return_inverse=True, return_counts=True)
mean = np.interp(np.arange(month[-1] + 1), measured, np.bincount(k, co2[~np.isnan(co2)]) / count)
year = 1958 + (2.5 + np.arange(len(mean))) / 12  # the middle of each month

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


model = Sequential([layer(100, input_shape=(None, 1)), Dense(1)])
model.compile(loss="mse", optimizer=Adam(schedules.CosineDecay(0.003, STEPS * EPOCHS), clipnorm=1.0))
model.fit(batches(), steps_per_epoch=STEPS, epochs=EPOCHS)

naive, own = "mean of four years", f"{layer.__name__}, from 24 months"
before = [change[held_out - 12 * k] for k in (1, 2, 3, 4)]
changes = {"no change": 0, "as a year before": before[0], naive: np.mean(before, axis=0)}
for length in LENGTHS:
    predicted = model.predict(windows(length, held_out)[0], verbose=0)
    changes[f"{layer.__name__}, from {length} months"] = scale * predicted[:, 0]
ahead = {name: mean[held_out] + values for name, values in changes.items()}

# The same years as if nothing of them had been measured: each forecast goes on from those before it.
known, years = list(scaled[split - 24 : split, 0]), change[split - 48 : split].reshape(4, 12)
for _ in held_out:
    known.append(model.predict(np.array(known)[None, :, None], verbose=0)[0, 0])
changes = {naive: np.resize(years.mean(axis=0), len(held_out)), own: scale * np.array(known[24:])}
alone = {name: mean[split] + np.cumsum(values) for name, values in changes.items()}

figure, month = Figure(figsize=(9, 7), layout="constrained"), np.datetime64("1958-03") + split
panels = ("One month ahead", ahead, 37), (f"No measurement after {month.item():%B %Y}", alone, 217)
for ax, (title, forecasts, shown) in zip(figure.subplots(2, 1), panels, strict=True):
    print(f"\n{title:36}RMSE in ppm")
    for name, values in forecasts.items():
        print(f"  {name:34}{np.sqrt(np.mean((values - mean[split + 1 :]) ** 2)):.3f}")
    ax.plot(year[-shown:], mean[-shown:], "k.", markersize=5, label="measured")
    for name, style in zip((naive, own), ("C0--", "C1-"), strict=True):
        ax.plot(year[split + 1 :][-shown:], forecasts[name][-shown:], style, label=name)
    ax.set(title=title, ylabel="CO$_2$ (ppm)", xmargin=0.01)
    ax.locator_params("x", integer=True)
figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
(output := HERE / "output").mkdir(exist_ok=True)
figure.savefig(output / "forecast_months.png", dpi=200)
print("\nPicture:", output / "forecast_months.png")
