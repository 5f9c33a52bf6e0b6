"""Forecast the CO2 in the air over Mauna Loa, 1 and 26 weeks ahead, with an LSTM."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from nblstm import nn, training

HERE, YEAR, HORIZONS = Path(__file__).parent, 52, np.array([1, 26])  # weeks
HIDDEN, STEPS, BATCH, WINDOW = 64, 300, 32, 104

# The record: one value a week, NaN where none was measured. The last fifth is held out.
dates, co2 = np.genfromtxt(HERE / "data/co2_weekly.csv", "M8[D], f8", delimiter=",", skip_header=10, unpack=True)
year = 1970 + dates.astype(float) / 365.2425
split = len(co2) * 4 // 5

# Known in week t: how far the last value measured is above those of 1, 4, 26 and 52 weeks before, and the season.
# A gap is filled with the value before it, so no input looks ahead. Wanted: the change until t + 1 and t + 26.
last = co2[np.maximum.accumulate(np.where(np.isnan(co2), 0, np.arange(len(co2))))]
t = np.arange(YEAR, len(co2))[:, None]
x = np.hstack([last[t] - last[t - [1, 4, 26, YEAR]], np.sin(2 * np.pi * year[t]), np.cos(2 * np.pi * year[t])])
change = np.append(co2, np.full(max(HORIZONS), np.nan))[t + HORIZONS] - last[t]
change[t + HORIZONS >= split] = np.nan  # from here on nothing held out is used, for the scales neither
x, scale = x / x[: split - YEAR].std(axis=0), np.nanstd(change, axis=0)

# Training on windows of two years drawn at random: (T, B, features) -> (T, B, HIDDEN) -> (T, B, horizons).
lstm, readout = nn.LSTM(x.shape[1], HIDDEN, seed=1), nn.Linear(HIDDEN, len(HORIZONS), seed=2)
optimizer, random = training.Adam([lstm, readout]), np.random.default_rng(3)
for _ in (progress := tqdm(range(STEPS), desc="training", unit="step")):
    window = random.integers(split - YEAR - WINDOW, size=BATCH) + np.arange(WINDOW)[:, None]
    y, _, lstm_tape = lstm.forward(x[window])
    predicted, readout_tape = readout.forward(y)
    target = np.where(np.isnan(change[window]), predicted, change[window] / scale)  # not measured: no error
    loss, d_predicted = training.losses.MeanSquaredError().value_and_gradient(target, predicted)
    d_readout = readout.backward(readout_tape, d_predicted)
    d_lstm = lstm.backward(lstm_tape, d_readout.x)
    training.clip_by_global_norm([d_lstm, d_readout], 1.0)
    optimizer.step([d_lstm, d_readout])
    progress.set_postfix(loss=f"{loss:.3f}", refresh=False)

# Scored are the weeks held out and measured; each is forecast from what was known 1 and 26 weeks before it.
weeks = split + np.flatnonzero(~np.isnan(co2[split:]))[:, None]
made, year_before = weeks - HORIZONS, last[weeks - [YEAR, YEAR]]
outputs = readout(lstm(x)[0])  # one pass over the whole record
forecasts = {
    "last value": last[made],
    "same week a year before": year_before,
    "a year before + a year's growth": year_before + last[made] - last[made - YEAR],
    "LSTM": (last[t] + scale * outputs)[made - YEAR, [0, 1]],
}
print(f"\nRMSE in ppm, {dates[split]} to {dates[-1]}    1 week ahead  26 weeks ahead")
error = {name: np.sqrt(np.mean((values - co2[weeks]) ** 2, axis=0)) for name, values in forecasts.items()}
for name, (week, half_year) in error.items():
    print(f"{name:35}{week:16.2f}{half_year:16.2f}")
    assert name == "LSTM" or all(error["LSTM"] < error[name]), f"the LSTM did not beat: {name}"

# The weights, saved and loaded into new models.
(output := HERE / "output").mkdir(exist_ok=True)
np.savez(output / "forecast_co2.npz", **lstm.state_dict(), **readout.state_dict())
saved, new = np.load(output / "forecast_co2.npz"), (nn.LSTM(x.shape[1], HIDDEN), nn.Linear(HIDDEN, len(HORIZONS)))
for module in new:
    module.load_state_dict({name: saved[name] for name in module.state_dict()})
assert np.array_equal(new[1](new[0](x)[0]), outputs), "the loaded weights forecast something else"
print("\nThe saved weights, loaded into new models, give identical forecasts. Plot and weights are in", output)

figure = Figure(figsize=(12, 8), layout="constrained")
figure.suptitle("Weekly CO$_2$ over Mauna Loa (Keeling and Whorf 2004); RMSE of the forecasts over all weeks held out")
axes = list(figure.subplot_mosaic("AA;BC").values())
axes[0].plot(year[:split], co2[:split], color="0.65", label="measured, trained on")
for ax, k, start in zip(axes, (1, 0, 1), (0, -3 * YEAR, -3 * YEAR), strict=True):
    when = year[weeks[start:, 0]]
    ax.plot(when, co2[weeks[start:]], "k.", markersize=4, label="measured, held out")
    for name, style in ((list(forecasts)[2 * k], "C0--"), ("LSTM", "C1-")):  # the best naive forecast, and the LSTM
        ax.plot(when, forecasts[name][start:, k], style, label=f"{name}: RMSE {error[name][k]:.2f} ppm")
    ax.set(title=f"{HORIZONS[k]} week{'s'[:k]} ahead, from {when[0]:.0f} on", ylabel="CO$_2$ (ppm)", ymargin=0.25)
    ax.locator_params("x", integer=True)
    ax.legend(frameon=False, loc="upper left")
figure.savefig(output / "forecast_co2.png", dpi=200)
