"""Forecast how the CO2 over Mauna Loa will be distributed, week by week, by likelihoods that are equations."""

import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import nblstm
from nblstm.callbacks import EarlyStopping
from nblstm.layers import LSTM, Dense, Dropout, Input
from nblstm.optimizers import Adam


@nblstm.loss(outputs="mean log_scale")
def normal(y_true, mean, log_scale):
    """-log p of a normal distribution."""
    return ((y_true - mean) * nblstm.exp(-log_scale)) ** 2 / 2 + log_scale + math.log(2 * math.pi) / 2


@nblstm.loss(outputs="mean log_scale")
def student(y_true, mean, log_scale, freedom=5.0):
    """The same of Student's t, whose tails are heavier."""
    constant = math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2) + math.log(freedom * math.pi) / 2
    square = ((y_true - mean) * nblstm.exp(-log_scale)) ** 2
    return (freedom + 1) / 2 * nblstm.log(1 + square / freedom) + log_scale + constant


@nblstm.loss(outputs="logit mean log_scale other_mean other_log_scale")
def mixture(y_true, logit, mean, log_scale, other_mean, other_log_scale):
    """The same of two normal distributions, of which the first has the weight sigmoid(logit)."""
    one = normal.value(y_true, mean, log_scale) + nblstm.softplus(-logit)
    other = normal.value(y_true, other_mean, other_log_scale) + nblstm.softplus(logit)
    return -nblstm.softplus(other - one) + other


# One value a week. A gap is filled with the value before it, so that nothing is known too early.
HERE, YEAR, AHEAD = Path(__file__).parent, 52, 26  # weeks
dates, co2 = np.genfromtxt(HERE / "data/co2_weekly.csv", "M8[D], f8", delimiter=",", skip_header=10, unpack=True)
last = co2[np.maximum.accumulate(np.where(np.isnan(co2), 0, np.arange(len(co2))))]

# Read are the changes of a year, (N, 52, 1), and forecast those until each of 26 weeks, (N, 26). Held out: a fifth.
t, weeks = np.arange(YEAR + 1, len(co2) - AHEAD)[:, None], np.arange(1, AHEAD + 1)
x, y = np.diff(last[t + np.arange(-YEAR, 1)])[..., None], last[t + weeks] - last[t]
known, held_out = (t + AHEAD < len(co2) * 4 // 5)[:, 0], (t >= len(co2) * 4 // 5)[:, 0]
unit, measured = y[known].std(axis=0), np.where(np.isnan(co2[t[held_out] + weeks]), np.nan, 1)
x, y = x / x[known].std(), y / unit

# To beat: the change of the year before, with its errors until then taken for normal.
before = (last[t + weeks - YEAR] - last[t - YEAR]) / unit
spread = np.log((y - before)[known].std(axis=0)) + 0 * y
losses = {"year before": normal.values(y[..., None], np.stack([before, spread], -1))[held_out]}
for loss in (normal, mixture, student):
    nblstm.set_random_seed(0)
    n = len(loss.outputs)
    model = nblstm.Sequential([Input((YEAR, 1)), LSTM(48), Dropout(0.2), Dense(AHEAD * n)])
    model.compile(Adam(0.003, clipnorm=1.0), loss)
    stop = EarlyStopping(patience=8, restore_best_weights=True)
    model.fit(x[known], y[known], epochs=80, validation_split=0.15, callbacks=[stop], verbose=0)
    predicted = model.predict(x[held_out], verbose=0).reshape(-1, AHEAD, n)
    losses[loss.name] = loss.values(y[held_out][..., None], predicted)
by_week = {name: np.nanmean(measured * each, axis=0) + np.log(unit) for name, each in losses.items()}
print("Held out: -log p(ppm)", ", ".join(f"{name} {each.mean():.3f}" for name, each in by_week.items()))

figure, ppm = Figure(figsize=(11, 7), layout="constrained"), np.linspace(-6, 6, 600)[:, None]
forecasts, errors = figure.subplots(2, height_ratios=[3, 2])
for k in range(len(predicted))[-1 - 4 * AHEAD :: AHEAD]:  # exp(-loss) is the density, of any value
    at, p = t[held_out][k], np.broadcast_to(predicted[k], (len(ppm), *predicted[k].shape))
    density = np.exp(-student.values((ppm / unit)[..., None], p)) / unit
    density[density < 0.01] = np.nan
    forecasts.pcolormesh(dates[at + weeks], last[at] + ppm[:, 0], density, cmap="Oranges", vmin=-0.2, vmax=1)
forecasts.plot(dates[-6 * AHEAD :], co2[-6 * AHEAD :], "k.", markersize=4)
forecasts.set(title="Five forecasts of half a year (Student's t), and what was measured", ylabel="CO$_2$ (ppm)")
for name, each in by_week.items():
    errors.plot(weeks, each, label=name)
errors.set(title="$-$log p of what was measured", xlabel="weeks ahead", ylabel="nats")
errors.legend(frameon=False)
(picture := HERE / "output/forecast_distribution.png").parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=200)
print("Picture:", picture)
