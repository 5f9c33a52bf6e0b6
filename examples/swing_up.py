"""Swing a pendulum up by an LSTM that learned it from noisy angles: 20 times a second, look at 625 of its futures."""

from pathlib import Path
from timeit import repeat

import numpy as np
from matplotlib.figure import Figure
from numba import njit, prange
from onnx_lstm import LEFT_OUT, OnnxNetwork

from nblstm import layers, models, optimizers

random = np.random.default_rng(0)


def swing(angle, speed, torque):
    """0.05 s later. The angle is from hanging, and the largest torque, 2, too weak to hold the pendulum above 24°."""
    speed = np.clip(speed + 0.05 * (3 * torque - 15 * np.sin(angle)), -8, 8) + random.normal(0, 0.02, np.shape(angle))
    return angle + 0.05 * speed, speed


@njit(parallel=True, cache=True, nogil=True)
def imagine(net, past, angle, torques, angles):
    """Angles (K, T) by torques (K, T), with predictions for measurements. A thread steps B of the K futures at once."""
    B = net.batch_size
    for k in prange(len(torques) // B):
        own, s, x, now = slice(k * B, k * B + B), past.copy(), np.empty((B, 3), net.dtype), np.full(B, angle)
        for t in range(torques.shape[1]):
            x[:, 0], x[:, 1], x[:, 2] = np.sin(now), np.cos(now), torques[own, t]
            now += net.step(x, s)[:, 0]
            angles[own, t] = now


# 4,000 records of 3 seconds, under random torques. The LSTM learns the next change of the angle as measured.
torques = random.uniform(-2, 2, (15, 4000)).repeat(4, axis=0)
states = [random.uniform([[-np.pi], [-8]], [[np.pi], [8]], (2, 4000))]
for torque in torques:
    states.append(swing(*states[-1], torque))
angles = np.array(states)[:, 0].T + random.normal(0, 0.05, (4000, 61))
x = np.stack([np.sin(angles[:, :-1]), np.cos(angles[:, :-1]), torques.T], axis=-1)
model = models.Sequential([layers.LSTM(32, return_sequences=True, input_shape=(None, 3)), layers.Dense(1)], seed=0)
model.compile(optimizers.Adam(optimizers.schedules.CosineDecay(0.01, 1250), clipnorm=1.0), "mse")
model.fit(x, np.diff(angles)[..., None], batch_size=32, epochs=10, verbose=2)

# Ten times 6 seconds of control by the mean of 625 plans, each weighted by how high its future is (MPPI).
net, angles, futures = model.compiled(batch_size=25), np.empty((10, 120)), np.empty((120, 625, 32))
for run in range(10):
    angle, speed, s, plan = 0.0, 0.0, net.zero_state(), np.zeros(32)
    for t in range(120):
        angles[run, t], measured = angle, angle + random.normal(0, 0.05)
        torques = np.clip(plan + random.normal(0, 2, (625, 8)).repeat(4, axis=1), -2, 2)
        imagine(net, s, measured, torques, futures[t])
        plan = np.average(torques, axis=0, weights=np.exp(-np.cos(futures[t]).sum(axis=1)))
        net.step(np.full((25, 3), [np.sin(measured), np.cos(measured), plan[0]]), s)
        (angle, speed), plan = swing(angle, speed, plan[0]), np.append(plan[1:], 0)
print(f"\nHeld out: {np.sum(np.cos(angles[:, -40:]).max(axis=1) < -0.9)} of 10 swing-ups end upright, for 2 seconds")

# A million steps, 50 decisions. The loop in Python is the same function; one future at once there: 8,000 steps, scaled.
python, torques, ms, results = imagine.py_func, random.uniform(-2, 2, (31_250, 8)).repeat(4, axis=1), {}, []
ways = [("nblstm, compiled loop", imagine, model.compiled, 25), ("nblstm, Python loop", python, model.compiled, 625)]
ways += [("onnxruntime, Python loop", python, lambda B: OnnxNetwork(model, B), 625)] * (not LEFT_OUT)
for name, loop, network, many in ways:
    for B, K in (1, 250 if loop is python else 31_250), (many, 31_250):
        given = (net := network(B)), net.zero_state(), 0.0, torques[:K], np.empty((K, 32))
        ms[f"{name}, {B} at once"] = 625_000 / K * min(repeat(lambda: loop(*given), number=1, repeat=3))  # noqa: B023
        results.append(given[-1][:250])
assert np.allclose(results[0], results, atol=1e-3), "the angles are not the same"

above, below = (figure := Figure(figsize=(10, 7), layout="constrained")).subplots(2, 1, height_ratios=(5, 2))
for t in (4, 24, 48, 90):
    above.plot(0.05 * np.arange(t + 1, t + 33), np.degrees(futures[t, :40].T), "C0", linewidth=0.6, alpha=0.4)
above.plot(0.05 * np.arange(120), np.degrees(angles.T), "0.7")[-1].set(color="k", linewidth=2.5)
above.set(title="Ten swing-ups; blue: 40 of 625 futures in four decisions of the black one", xlabel="seconds")
above.set(xlim=(0, 6), ylim=(-225, 400), yticks=[-180, 0, 180], yticklabels=["upright", "hanging", "upright"])
below.bar_label(below.barh(list(ms), list(ms.values())), fmt="%.1f ms ", padding=3)
below.set(title="Time of a decision; the next is due after 50 ms", xscale="log", xlim=(1, 1500), ylim=(5.6, -0.6))
below.axvline(50, color="C1")
(picture := Path(__file__).parent / "output/swing_up.png").parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=200)
print(*(f"Million steps, {k:38}{v / 20:6.2f} s" for k, v in ms.items()), *LEFT_OUT, f"Picture: {picture}", sep="\n")
