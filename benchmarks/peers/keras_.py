"""Keras 3 as a contender, compiled by its backend (see `worker.pin`)."""

from __future__ import annotations

from importlib import import_module

import keras
import numpy as np

from benchmarks.peers.work import Data, Work, trained
from benchmarks.shapes import GATES

BACKEND = keras.backend.backend()
LAYERS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "rnn": keras.layers.SimpleRNN}
#: The place, among torch's gates, of each of Keras's; this order is its own inverse.
ORDER = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2), "rnn": (0,)}


def start(threads: int) -> dict[str, str]:
    """Set the number of threads; versions of what will compute."""
    if BACKEND == "tensorflow":
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        return {f"keras on tensorflow {tensorflow.__version__}": keras.__version__}
    if BACKEND == "torch":
        import torch

        torch.set_num_threads(threads)
    return {f"keras on {BACKEND} {import_module(BACKEND).__version__}": keras.__version__}


def _compiled(layer):
    """The backend's compiled ``inference(x)`` and ``training(x, state, dy, dstate)``."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        def training(x, state, dy, dstate):
            with tf.GradientTape() as tape:
                tape.watch([x, *state])
                y, *final = layer(x, initial_state=state)
            d_params, dx, d_state = tape.gradient(
                [y, *final], [[v.value for v in layer.trainable_variables], x, state], output_gradients=[dy, *dstate]
            )
            return (y, *final), d_params, dx, d_state

        return tf.function(layer), tf.function(training)
    if BACKEND == "jax":
        import jax

        own, other = ([v.value for v in vs] for vs in (layer.trainable_variables, layer.non_trainable_variables))

        def forward(own, x, state):
            return tuple(layer.stateless_call(own, other, x, initial_state=state)[0])

        def training(own, x, state, dy, dstate):
            result, pull = jax.vjp(forward, own, x, state)
            return result, *pull((dy, *dstate))

        fast_forward, fast_training = jax.jit(forward), jax.jit(training)
        return (
            lambda x: jax.block_until_ready(fast_forward(own, x, None)),
            lambda *arguments: jax.block_until_ready(fast_training(own, *arguments)),
        )
    import torch

    def inference(x):
        with torch.no_grad():
            return layer(x)

    def training(x, state, dy, dstate):
        x, state = x.requires_grad_(), [s.requires_grad_() for s in state]
        y, *final = layer(x, initial_state=state)
        own = [variable.value for variable in layer.trainable_variables]
        d = torch.autograd.grad([y, *final], [*own, x, *state], [dy, *dstate])
        return (y, *final), d[: len(own)], d[len(own)], d[len(own) + 1 :]

    return inference, training


class Contender:
    """Each method is one piece of work, timed as it stands; batches are (B, T, features), as is Keras's custom."""

    def __init__(self, work: Work, data: Data, training: bool):
        self.work = work
        layer = LAYERS[work.cell](work.H, return_sequences=True, return_state=True)
        layer.build((work.B, work.T, work.I))
        layer.set_weights(self._converted(data.weights))

        def tensor(array):
            return keras.ops.convert_to_tensor(np.ascontiguousarray(array))

        self.x, self.dy = tensor(data.x.swapaxes(0, 1)), tensor(data.dy.swapaxes(0, 1))
        self.state, self.dstate = ([tensor(s[0]) for s in states] for states in (data.state, data.dstate))
        self._inference, self._training = _compiled(layer)

    def _gates(self, value):
        """From torch's order of gates to Keras's, or back."""
        return value.reshape(GATES[self.work.cell], self.work.H, -1)[list(ORDER[self.work.cell])].reshape(value.shape)

    def _converted(self, weights):
        w, r, b, b_h = (self._gates(weights[f"{n}_l0"]) for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        return [w.T, r.T, np.stack([b, b_h]) if self.work.cell == "gru" else b + b_h]

    def inference(self):
        return self._inference(self.x)

    def training(self):
        return self._training(self.x, self.state, self.dy, self.dstate)

    def arrays(self, method: str, result) -> dict[str, np.ndarray]:
        """A result as named arrays, for comparison."""
        array = keras.ops.convert_to_numpy
        (y, *final), *gradients = (result,) if method == "inference" else result
        states = [array(s)[None] for s in final]
        y = array(y).swapaxes(0, 1)
        if not gradients:
            return {"y": y} | {f"final state {k}": value for k, value in enumerate(states)}
        (d_w, d_r, d_b), dx, d_state = gradients
        d_biases = array(d_b) if self.work.cell == "gru" else [array(d_b)] * 2
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        values = (np.ascontiguousarray(value) for value in (array(d_w).T, array(d_r).T, *d_biases))
        d_params = dict(zip(names, map(self._gates, values), strict=True))
        return trained(y, states, d_params, array(dx).swapaxes(0, 1), [array(s)[None] for s in d_state])
