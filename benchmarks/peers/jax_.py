"""JAX as a contender: the cell's equations in `lax.scan` under `jit`, the input's product taken out of the loop."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import sigmoid

from benchmarks.peers.work import Data, Work, trained


def start(threads: int) -> dict[str, str]:
    """Versions of what will compute; the number of threads is that of the cores which this process may use."""
    return {"jax": jax.__version__}


def lstm(w, from_input, from_recurrence, state):
    c = state[1]
    i, f, g, o = jnp.split(from_input + from_recurrence, 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(c), c


def gru(w, from_input, from_recurrence, state):
    (h,) = state
    (r_x, z_x, n_x), (r_h, z_h, n_h) = jnp.split(from_input, 3, -1), jnp.split(from_recurrence, 3, -1)
    z = sigmoid(z_x + z_h)
    n = jnp.tanh(n_x + sigmoid(r_x + r_h) * n_h)
    return ((1 - z) * n + z * h,)


def rnn(w, from_input, from_recurrence, state):
    return (jnp.tanh(from_input + from_recurrence),)


def peephole(w, from_input, from_recurrence, state):
    """The user's own cell: an LSTM with peepholes."""
    c = state[1]
    i, f, g, o = jnp.split(from_input + from_recurrence, 4, -1)
    i = sigmoid(i + w["p_i_l0"] * c)
    f = sigmoid(f + w["p_f_l0"] * c)
    c = f * c + i * jnp.tanh(g)
    return sigmoid(o + w["p_o_l0"] * c) * jnp.tanh(c), c


CELLS = {"lstm": lstm, "gru": gru, "rnn": rnn, "peephole": peephole}


def one_step(cell, w, from_input, state):
    return CELLS[cell](w, from_input, state[0] @ w["weight_hh_l0"].T + w["bias_hh_l0"], state)


def forward(cell, w, x, state):
    def body(state, from_input):
        new = one_step(cell, w, from_input, state)
        return new, new[0]

    state, y = jax.lax.scan(body, state, x @ w["weight_ih_l0"].T + w["bias_ih_l0"])
    return y, state


@partial(jax.jit, static_argnums=0)
def inference(cell, w, x, state):
    return forward(cell, w, x, state)


@partial(jax.jit, static_argnums=0)
def training(cell, w, x, state, dy, dstate):
    (y, final), pull = jax.vjp(partial(forward, cell), w, x, state)
    return y, final, *pull((dy, dstate))


@partial(jax.jit, static_argnums=0)
def step(cell, w, x_t, state):
    return one_step(cell, w, x_t @ w["weight_ih_l0"].T + w["bias_ih_l0"], state)


class Contender:
    """Each method is one piece of work, timed as it stands, until its results are there."""

    def __init__(self, work: Work, data: Data, training: bool):
        self.cell = work.cell
        self.w, self.x, self.dy = jax.device_put((data.weights, data.x, data.dy))
        # States have no dimension of layers here.
        self.state, self.dstate = (jax.device_put(tuple(s[0] for s in states)) for states in (data.state, data.dstate))
        self.zeros = jax.device_put(tuple(np.zeros_like(s[0]) for s in data.state))
        self.x_t, self.now = self.x[0], self.zeros

    def inference(self):
        return jax.block_until_ready(inference(self.cell, self.w, self.x, self.zeros))

    def training(self):
        return jax.block_until_ready(training(self.cell, self.w, self.x, self.state, self.dy, self.dstate))

    def step(self):
        self.now = jax.block_until_ready(step(self.cell, self.w, self.x_t, self.now))
        return self.now

    def arrays(self, method: str, result) -> dict[str, np.ndarray]:
        """A result as named arrays, for comparison."""
        if method == "step":
            return {"y": np.asarray(result[0])}
        y, final, *gradients = jax.tree.map(np.asarray, result)
        states = [value[None] for value in final]
        if not gradients:
            return {"y": y} | {f"final state {k}": value for k, value in enumerate(states)}
        d_params, dx, d_state = gradients
        return trained(y, states, d_params, dx, [value[None] for value in d_state])
