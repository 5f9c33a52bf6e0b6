"""The oracle of BPTT: one sequence, one step, one layer after another, as float64 NumPy with derivatives by hand.

It has what users may ask of `backward`: gradients into every state at each step, clipping of what comes back through a
state, an end of that after every k steps, norms at each step, gradients for each sequence. Nothing of nblstm is
imported. Sequences are (T, B, I).
"""

import numpy as np
from reference import sigmoid


class Lstm:
    """h, c; gates i f g o."""

    states = "h", "c"

    @staticmethod
    def forward(a_x, a_h, states):
        _, c = states
        i, f, g, o = np.split(a_x + a_h, 4)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        new = f * c + i * g
        return (o * np.tanh(new), new), (i, f, g, o, c, np.tanh(new))

    @staticmethod
    def backward(d_new, kept):
        """Gradients of a_x and a_h, and of the previous states but for the product."""
        (d_h, d_c), (i, f, g, o, c, tanh_c) = d_new, kept
        d_c = d_c + d_h * o * (1 - tanh_c**2)
        gates = d_c * g * i * (1 - i), d_c * c * f * (1 - f), d_c * i * (1 - g**2), d_h * tanh_c * o * (1 - o)
        d_a = np.concatenate(gates)
        return d_a, d_a, (np.zeros_like(d_h), d_c * f)


class Gru:
    """h; gates r z n, the reset after the product."""

    states = ("h",)

    @staticmethod
    def forward(a_x, a_h, states):
        [h] = states
        (r_x, z_x, n_x), (r_h, z_h, n_h) = np.split(a_x, 3), np.split(a_h, 3)
        r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
        n = np.tanh(n_x + r * n_h)
        return ((1 - z) * n + z * h,), (r, z, n, n_h, h)

    @staticmethod
    def backward(d_new, kept):
        [d_h], (r, z, n, n_h, h) = d_new, kept
        d_n = d_h * (1 - z) * (1 - n**2)
        d_r, d_z = d_n * n_h * r * (1 - r), d_h * (h - n) * z * (1 - z)
        return np.concatenate([d_r, d_z, d_n]), np.concatenate([d_r, d_z, d_n * r]), (d_h * z,)


class Rnn:
    """h = tanh(a)."""

    states = ("h",)

    @staticmethod
    def forward(a_x, a_h, states):
        h = np.tanh(a_x + a_h)
        return (h,), h

    @staticmethod
    def backward(d_new, h):
        d_a = d_new[0] * (1 - h**2)
        return d_a, d_a, (np.zeros_like(h),)


CELLS = {"LSTM": Lstm, "GRU": Gru, "RNN": Rnn}


def clipped(d, clip):
    """A clip in one of its forms, of one state."""
    if clip is None:
        return d
    if isinstance(clip, tuple) and clip[0] == "norm":
        norm = np.sqrt((d**2).sum())
        return d * (clip[1] / norm) if norm > clip[1] else d
    limit = clip[1] if isinstance(clip, tuple) else clip
    return np.minimum(np.maximum(d, -np.asarray(limit)), limit)


def network(
    name, params, x, dy=None, dstate=None, dstates=None, state=None, lengths=None, layers=1, directions=(False,),
    clip=None, truncate=None, masks=None,
):  # fmt: skip
    """Every result: all states of the last layer, gradients, those of each sequence, and norms.

    ``clip`` is one for all states, or a dict; ``masks`` (layers D, B, H) is what recurrent dropout multiplies h by.
    """
    cell, D, (T, B, _) = CELLS[name], len(directions), x.shape
    S, H = len(cell.states), params["weight_hh_l0"].shape[1]
    lengths = [T] * B if lengths is None else lengths
    zeros = [np.zeros((layers * D, B, H))] * S
    state, dstate = state or zeros, [z if d is None else d for z, d in zip(zeros, dstate or zeros, strict=True)]
    dstates = dstates or [None] * S
    samples = {key: np.zeros((B, *value.shape)) for key, value in params.items()}
    every = [np.zeros((T, B, D * H)) for _ in range(S)]
    steps = [np.zeros((layers * D, T, B)) for _ in range(S)]
    d_x, d_initial = np.zeros_like(x), [np.zeros((layers * D, B, H)) for _ in range(S)]
    for b in range(B):
        n = lengths[b]
        rows, walks = x[:n, b], []  # of each layer: its input, and for each direction the steps and what is kept
        for layer in range(layers):
            outputs, walk = [np.zeros((n, D * H)) for _ in range(S)], []
            for d, reverse in enumerate(directions):
                place, end = layer * D + d, f"_l{layer}" + "_reverse" * d
                now, kept = [own[place, b] for own in state], []
                mask = 1.0 if masks is None else masks[place, b]
                order = range(n)[::-1] if reverse else range(n)
                for t in order:
                    a_x = params["weight_ih" + end] @ rows[t] + params["bias_ih" + end]
                    a_h = params["weight_hh" + end] @ (mask * now[0]) + params["bias_hh" + end]
                    before = now[0]
                    now, own = cell.forward(a_x, a_h, now)
                    kept.append((t, before, own))
                    for k in range(S):
                        outputs[k][t, d * H : (d + 1) * H] = now[k]
                walk.append(kept)
            walks.append((rows, walk))
            rows = outputs[0]
        for k in range(S):
            every[k][:n, b] = outputs[k]
        given = [np.zeros((n, D * H)) if one is None else one[:n, b].copy() for one in dstates]
        if dy is not None:
            given[0] += dy[:n, b]
        for layer in reversed(range(layers)):
            rows, walk = walks[layer]
            d_rows = np.zeros_like(rows)
            for d in range(D):
                place, end, units = layer * D + d, f"_l{layer}" + "_reverse" * d, slice(d * H, (d + 1) * H)
                back = [own[place, b] for own in dstate]
                mask = 1.0 if masks is None else masks[place, b]
                for number in reversed(range(n)):
                    t, before, kept = walk[d][number]
                    for k, state_name in enumerate(cell.states):
                        if truncate and (number + 1) % truncate == 0 and number + 1 < n:
                            back[k] = np.zeros(H)
                        back[k] = clipped(back[k], clip.get(state_name) if isinstance(clip, dict) else clip)
                        back[k] = back[k] + given[k][t, units]
                        steps[k][place, t, b] = np.sqrt((back[k] ** 2).sum())
                    d_ax, d_ah, back = cell.backward(back, kept)
                    back = [back[0] + mask * (params["weight_hh" + end].T @ d_ah), *back[1:]]
                    samples["weight_ih" + end][b] += np.outer(d_ax, rows[t])
                    samples["weight_hh" + end][b] += np.outer(d_ah, mask * before)
                    samples["bias_ih" + end][b] += d_ax
                    samples["bias_hh" + end][b] += d_ah
                    d_rows[t] += params["weight_ih" + end].T @ d_ax
                for k in range(S):
                    d_initial[k][place, b] = back[k]
            given = [d_rows, *(np.zeros((n, D * H)) for _ in range(S - 1))]
        d_x[:n, b] = d_rows if layers else 0
    return {"all": every, "x": d_x, "state": d_initial, "steps": steps, "samples": samples,
            "params": {key: value.sum(axis=0) for key, value in samples.items()}}  # fmt: skip
