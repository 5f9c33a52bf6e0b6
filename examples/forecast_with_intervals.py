"""Forecast the CO2 over Mauna Loa for a year, week by week, with intervals; test it on 100 origins of eight years."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.linear_model import RidgeCV

from nblstm.sklearn import RecurrentForecaster

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--cell", choices=["lstm", "gru", "simple_rnn"], default="lstm")
parser.add_argument("--quick", action="store_true", help="train less")
options = parser.parse_args()
HERE, YEAR, ORIGINS, STRIDE = Path(__file__).parent, 52, 100, 4

# The record: one value a week. A gap is filled with the value before it, so that nothing is known too early.
co2 = pd.read_csv(HERE / "data/co2_weekly.csv", comment="#", index_col="date", parse_dates=True)["co2"]
co2 = co2.asfreq("W-SAT").ffill()

# The network reads the changes of 52 weeks and gives 52 weeks ahead, five quantiles of each. It is fitted once, on what
# was known at the first origin; its intervals are widened by what they miss in the last part of that.
forecaster = RecurrentForecaster(
    lags=YEAR, horizon=YEAR, difference=1, quantiles=(0.05, 0.1, 0.5, 0.9, 0.95), cell=options.cell,
    max_epochs=10 if options.quick else 200, random_state=0,
)  # fmt: skip
result = forecaster.backtest(co2, origins=ORIGINS, stride=STRIDE, season=YEAR)

# Two more forecasts to beat: the year before with its growth, and linear regression on the same windows.
values, known = co2.to_numpy(), result.known
last, year = values[known - 1][:, None], known[:, None] + np.arange(-YEAR, 0)
result.baselines["year before + growth"] = values[year] + last - values[known - 1 - YEAR][:, None]
t = np.arange(YEAR, known[0] - YEAR)[:, None]
past, ahead = np.diff(values[t + np.arange(-YEAR, 1)]), values[t + np.arange(1, YEAR + 1)] - values[t]
linear = RidgeCV(np.logspace(-3, 3, 13)).fit(past, ahead)
result.baselines["linear regression"] = last + linear.predict(np.diff(values[known[:, None] + np.arange(-YEAR - 1, 0)]))
print(result)
errors, shares = ({name: each.mean() for name, each in of.items()} for of in (result.errors(), result.coverage()))
print(f"\nHeld out: {errors['forecast']:.3f} ppm (linear regression: {errors['linear regression']:.3f}), "
      f"{shares[0.8]:.0%} of weeks in the 80 % interval")  # fmt: skip

# Beyond the record, by a network that knows all of it: the index goes on.
forecaster.fit(co2)
median, interval = forecaster.predict(), forecaster.predict_interval(coverage=0.9)
for week in median.index[[0, -1]]:
    print(f"{week:%Y-%m-%d}: {median[week]:.1f} ppm, in 90 % of cases {interval.loc[week].round(1).tolist()}")

figure = Figure(figsize=(11, 8), layout="constrained")
axes = figure.subplot_mosaic("AA;BC", height_ratios=[3, 2])
shown = [o for o in range(ORIGINS) if (ORIGINS - 1 - o) % (YEAR // STRIDE) == 0][-4:]
forecasts = [(co2.index[known[o] : known[o] + YEAR], result.quantiles[o].T) for o in shown]
forecasts.append((median.index, forecaster.predict_quantiles().to_numpy().T))
for k, (when, (low, lower, middle, upper, high)) in enumerate(forecasts):
    axes["A"].fill_between(when, low, high, color="C1", alpha=0.25, lw=0, label="90 %" * (k == 0))
    axes["A"].fill_between(when, lower, upper, color="C1", alpha=0.35, lw=0, label="80 %" * (k == 0))
    axes["A"].plot(when, middle, "C1", label="median" * (k == 0))
    axes["A"].axvline(when[0], color="0.8", lw=0.8)
axes["A"].plot(co2[known[shown[0]] - YEAR :], "k.", markersize=3, label="measured")
axes["A"].set(title="Five forecasts of a year, each from what was known at the line", ylabel="CO$_2$ (ppm)")
axes["A"].legend(frameon=False, loc="upper left", ncols=4)
weeks = np.arange(1, YEAR + 1)
for name, each in result.errors().items():
    axes["B"].plot(weeks, each, label=options.cell.upper() if name == "forecast" else name)
axes["B"].set(title=f"Mean absolute error from {ORIGINS} origins (ppm)", xlabel="weeks ahead", ylim=(0, 3.2))
axes["B"].legend(frameon=False, loc="upper center", ncols=2)
for share, each in result.coverage().items():
    axes["C"].plot(weeks, 100 * each, label=f"of {100 * share:.0f} %")
    axes["C"].axhline(100 * share, color="0.6", ls=":")
axes["C"].set(title="Weeks measured inside the intervals (%)", xlabel="weeks ahead", ylim=(40, 101))
axes["C"].legend(frameon=False, loc="lower right")
(output := HERE / "output").mkdir(exist_ok=True)
figure.savefig(output / "forecast_with_intervals.png", dpi=200)
print("\nPicture:", output / "forecast_with_intervals.png")
