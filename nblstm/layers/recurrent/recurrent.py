"""Passes of a recurrent layer over batches of sequences, and the states between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nblstm.arguments import seeds, validate
from nblstm.buffers import memory
from nblstm.engine import stack
from nblstm.engine.replay import TrainingReplay, replayed, training_replay
from nblstm.layers.base.passes import Tape, check_tape, checked_input, checked_mask, gradients_into
from nblstm.layers.dropout import dropout_factors
from nblstm.layers.recurrent.states import CellStates
from nblstm.layers.recurrent.stepper import Stepper
from nblstm.layers.recurrent.steps import AllSteps, MaskedSteps, steps_of
from nblstm.nn import Gradients


@dataclass(slots=True, eq=False)
class _Pass:
    """What a forward pass leaves for BPTT.

    Attributes
    ----------
    steps : AllSteps or MaskedSteps
    tape : stack.Tape
    factors : ndarray, shape (B, 1, I), or None
        Of dropout.
    recurrent_factors : ndarray, shape (B, H), or None
        Of recurrent dropout, in the order of the packed batch.
    learned : bool
        Whether it started with the learned states.
    """

    steps: AllSteps | MaskedSteps
    tape: stack.Tape
    factors: np.ndarray | None
    recurrent_factors: np.ndarray | None
    learned: bool


class Recurrent(CellStates):
    """A cell over the steps of a batch of sequences: (B, T, I) to (B, H), or (B, T, H) with ``return_sequences``.

    Calling the layer is inference, and keeps nothing; `forward` keeps what `backward` needs. Masked steps leave the
    states as they are and repeat the output before them, which is 0 before the first valid step; with
    ``zero_output_for_mask`` it is 0 at all of them. For parameters see `CellLayer`.

    Attributes
    ----------
    states : list of ndarray or None
        With ``stateful``, the states (B, H) that the next batch starts with; None are the initial ones.
    """

    _carried: np.ndarray | None = None  # (S, 1, B, H), never written to

    def compute_mask(self, x, mask=None) -> np.ndarray | None:
        """The mask of the input, if the output has steps; else None."""
        return mask if self.return_sequences else None

    def __call__(self, x, mask=None, initial_state=None) -> np.ndarray:
        """Inference.

        Parameters
        ----------
        x : array_like, shape (B, T, I)
        mask : array_like of bool, shape (B, T), optional
            False where a step is to be skipped.
        initial_state : list of array_like, optional
            The states before the first step, (B, H) each, in the cell's order; bare, if it has only one.

        Returns
        -------
        ndarray, shape (B, H) or (B, T, H), or with ``return_state`` a list of it and the final states (B, H)

        Raises
        ------
        TypeError, ValueError
            If something does not fit.
        """
        x, steps = self._checked(x, mask)
        if steps.all and self._starts_from_zero(initial_state):
            again = replayed(self, x.swapaxes(0, 1), self.return_sequences)
            if again is not None:
                rows, states = again
                return self._finished(steps, rows.reshape(-1, self.units) if self.return_sequences else rows, states)
        states = steps.batch.sort(self._initial_states(len(x), initial_state))
        rows = stack.infer(self._network, self._weights(False), steps.batch, steps.rows(x), states)
        return self._finished(steps, rows, steps.batch.unsort(states))

    def forward(
        self, x, *, training: bool = False, mask=None, generator: np.random.Generator | None = None, initial_state=None
    ) -> tuple[Any, Tape]:
        """As calling the layer, with dropout if ``training``, and with what `backward` needs.

        Parameters
        ----------
        x, mask, initial_state
            As for calling the layer.
        training : bool, default False
        generator : Generator, optional
            Source of dropout for a layer without a seed; a fresh one if not given.

        Returns
        -------
        y : ndarray or list of ndarray
            As from calling the layer.
        tape : Tape
        """
        x, steps = self._checked(x, mask)
        if self._starts_from_zero(initial_state) and not (training and (self.dropout or self.recurrent_dropout)):
            replay = training_replay(self, self._parameter_views(), *x.shape[1::-1]) if steps.all else None
            if replay is not None:
                return self._forward_again(replay, steps, x)
        B, S = len(x), len(self.cell.states)
        learned = initial_state is None and self._carried is None and self.learn_initial_state
        states = self._initial_states(B, initial_state)
        network, factors, recurrent_factors = self._network, None, None
        source: Any = self.generator or generator
        if training and source is None and (self.dropout or self.recurrent_dropout):
            source = seeds.generator()
        if training and self.dropout:
            factors = dropout_factors(source, self.dropout, (B, 1, x.shape[2]), self.dtype)
            x = x * factors
        if training and self.recurrent_dropout:
            recurrent_factors = dropout_factors(source, self.recurrent_dropout, (B, self.units), self.dtype)
            network = self._dropout_network
            states = np.stack([recurrent_factors * states[0], *states, recurrent_factors[None]])
        states = steps.batch.sort(states)
        rows, tape = stack.forward(network, self._weights(True), steps.batch, steps.rows(x), states)
        rows.flags.writeable = False  # the tape reads it
        states = steps.batch.unsort(states)
        if recurrent_factors is not None:
            states = states[1 : 1 + S]
        y = self._finished(steps, rows, states)
        shape = (y[0] if self.return_state else y).shape
        return y, Tape(self, shape, _Pass(steps, tape, factors, recurrent_factors, learned))

    def backward(
        self, tape: Tape, dy, *, input_gradient: bool = True, into: Gradients | None = None
    ) -> tuple[np.ndarray | None, Gradients]:  # fmt: skip
        """BPTT.

        Parameters
        ----------
        tape : Tape
            From `forward`.
        dy : array_like, or list of array_like and None
            Gradient of the loss with respect to what `forward` returned; None for zeros.
        input_gradient : bool, default True
            False leaves the input's gradient out, where nothing needs it.
        into : Gradients, optional
            From an earlier call, to be overwritten.

        Returns
        -------
        dx : ndarray or None
        gradients : Gradients
            With those of the initial states (B, H) in ``state``.

        Raises
        ------
        TypeError, ValueError
            If a shape does not fit, or the tape is another layer's.
        """
        check_tape(self, tape)
        if isinstance(tape.saved, TrainingReplay):
            return self._backward_again(tape, dy, input_gradient, into)
        done: _Pass = tape.saved
        steps, S = done.steps, len(self.cell.states)
        d_states = memory.zeros((S, 1, tape.y_shape[0], self.units), self.dtype)
        dy = self._checked_gradients(tape, dy, d_states)
        if not self.return_sequences:
            d_states[self._output, 0] += steps.d_last(dy)
        d_rows = steps.d_outputs(dy) if self.return_sequences else None
        m = done.recurrent_factors
        if m is not None:
            nothing = np.zeros_like(d_states[:1])
            d_states = np.concatenate([nothing, d_states, nothing])
        d_states = steps.batch.sort(d_states)
        gradients = gradients_into(self, into)
        dx: Any = stack.backward(done.tape, d_rows, d_states, self._targets(gradients), input_gradient)
        d_states = steps.batch.unsort(d_states)
        if m is not None:
            d_states[1] += m * d_states[0]
            d_states = d_states[1 : 1 + S]
        if self.learn_initial_state:
            for name, d_state in zip(self.cell.states, d_states, strict=True):
                gradients.params[f"initial_{name}"][...] = d_state[0].sum(axis=0) if done.learned else 0
        if dx is not None:
            dx = self._d_input(done, dx)
        gradients.x, gradients.state = dx, tuple(d_states[:, 0])
        return dx, gradients

    def _forward_again(self, replay: TrainingReplay, steps: AllSteps | MaskedSteps, x: np.ndarray):
        """As `forward`, where a pass over sequences of this shape has its arrays and jobs from the last time."""
        repeated = replay.made
        repeated.x[...] = x.swapaxes(0, 1)
        repeated.forward()
        rows = repeated.y
        if self.return_sequences:
            rows = rows.copy().reshape(-1, self.units)
            rows.flags.writeable = False  # as where a tape reads them
        y = self._finished(steps, rows, repeated.states.copy())
        return y, Tape(self, (y[0] if self.return_state else y).shape, replay)

    def _backward_again(self, tape: Tape, dy, input_gradient: bool, into: Gradients | None):
        """As `backward`, after `_forward_again`."""
        repeated = tape.saved.made
        repeated.refuse_if_under_way()
        with repeated.lock:
            repeated.d_states.fill(0)
            dy = self._checked_gradients(tape, dy, repeated.d_states)
            if self.return_sequences:
                repeated.dy[...] = dy.swapaxes(0, 1)
            else:
                repeated.d_states[self._output, 0] += dy
            gradients = gradients_into(self, into)
            repeated.backward(self._targets(gradients), self.return_sequences, input_gradient)
            dx = repeated.dx.swapaxes(0, 1).copy() if input_gradient else None
            gradients.state = tuple(repeated.d_states[:, 0].copy())
        gradients.x = dx if dx is None or not self.go_backwards else dx[:, ::-1]
        return gradients.x, gradients

    def _d_input(self, done: _Pass, d_rows: np.ndarray) -> np.ndarray:
        dx = done.steps.d_rows(d_rows)
        if done.factors is not None:
            dx = dx * done.factors
        return dx[:, ::-1] if self.go_backwards else dx

    def _checked(self, x, mask) -> tuple[np.ndarray, AllSteps | MaskedSteps]:
        """The input in the order in which it is read, and its steps."""
        x = checked_input(self, x)
        B, T, _ = x.shape
        if mask is not None:
            mask = checked_mask(mask, x.shape[:2])
        if self.go_backwards:
            x = x[:, ::-1]
            mask = None if mask is None else mask[:, ::-1]
        return x, steps_of(mask, B, T, self.zero_output_for_mask)

    def _finished(self, steps: AllSteps | MaskedSteps, rows: np.ndarray, states: np.ndarray):
        """What a pass returns; states (S, 1, B, H) are carried over if they are to be."""
        if self.stateful:
            self._carry(states)
        if self.return_sequences:
            y = steps.outputs(rows)
        else:
            y = steps.last(states[self._output, 0])
            if self.return_state:
                y = y.copy()  # else who writes to it would write to a state
        return [y, *states[:, 0]] if self.return_state else y

    def _checked_gradients(self, tape: Tape, dy, d_states: np.ndarray) -> np.ndarray:
        """The gradient of the output; those of the final states, if given, go to ``d_states`` (S, 1, B, H)."""
        if self.return_state:
            S, B = len(self.cell.states), tape.y_shape[0]
            if not isinstance(dy, list | tuple) or len(dy) != 1 + S:
                raise ValueError(
                    f"dy is {validate.came(dy)}; give a list of {1 + S} like the output, with None for zeros"
                )
            dy, *given = dy
            for k, (name, value) in enumerate(zip(self.cell.states, given, strict=True)):
                if value is not None:
                    d_states[k, 0] = self._state_array(f"dy of the state {name!r}", value, B)
            if dy is None:
                return np.zeros(tape.y_shape, self.dtype)
        return validate.shaped(
            "dy", validate.real_array("dy", dy, self._flat.dtype), tape.y_shape, "that of the output"
        )

    def stepper(self, batch_size: int = 1) -> Stepper:
        """One step at a time, the states staying inside: for streaming and sampling.

        Parameters
        ----------
        batch_size : int, default 1
            Rows (B) that step together.

        Returns
        -------
        Stepper
            Called with inputs (B, I), or (I,) for one row, it returns the outputs (B, H) or (H,).

        Raises
        ------
        ValueError
            If the layer is not built, or goes backwards: it would need the future.
        """
        self._need_built()
        if self.go_backwards:
            raise ValueError(f"{self._label} goes backwards and needs whole sequences; call it on one")
        return Stepper(self, batch_size)
