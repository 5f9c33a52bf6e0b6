"""Execution of a Scan: its body runs once for each step, on that step's slices and the states so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nblstm.onnx.limits import MOST_STEPS, check_elements
from nblstm.onnx.operators.registry import axis_of
from nblstm.onnx.steps import Step, run


@dataclass(frozen=True)
class Body:
    """The graph of a Scan's body as steps.

    Attributes
    ----------
    values : list
        The constants at their places, None elsewhere.
    steps : list of Step
    inputs, outputs : tuple of int
        Places: states, then slices.
    captured : tuple of int
        Places of what it reads from the graphs around it.
    """

    values: list[Any]
    steps: list[Step]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    captured: tuple[int, ...]


class ScanNode:
    """A function from initial states, inputs by steps, and what the body reads from around it, to a Scan's outputs.

    Parameters
    ----------
    body : Body
    attributes : dict
        Of the node.
    """

    def __init__(self, body: Body, attributes: dict[str, Any]):
        self.body, scanned = body, attributes["num_scan_inputs"]
        self.states = S = len(body.inputs) - scanned
        if scanned < 1 or S < 0 or len(body.outputs) < S:
            raise ValueError(
                f"num_scan_inputs is {scanned}, and its body has {len(body.inputs)} inputs and {len(body.outputs)} "
                "outputs; these do not fit"
            )

        def of_each(name: str, count: int) -> tuple[int, ...]:
            values = tuple(attributes.get(name, ())) or (0,) * count
            if len(values) != count or (name.endswith("directions") and not {0, 1}.issuperset(values)):
                raise ValueError(f"{name} are {values[:20]}, and there are {count}; these do not fit")
            return values

        made = len(body.outputs) - S
        self.input_axes = of_each("scan_input_axes", scanned)
        self.input_directions = of_each("scan_input_directions", scanned)
        self.output_axes = of_each("scan_output_axes", made)
        self.output_directions = of_each("scan_output_directions", made)

    def __call__(self, *given) -> tuple[np.ndarray, ...]:
        """Compute the last states, and the outputs of all steps."""
        body, S = self.body, self.states
        N = S + len(self.input_axes)
        if any(value is None for value in given[:N]):
            raise ValueError("one of its inputs is left out; it needs all")
        states, scanned = [np.asarray(value) for value in given[:S]], self._by_step(given[S:N])
        T = len(scanned[0])
        values = body.values.copy()
        for place, value in zip(body.captured, given[N:], strict=True):
            values[place] = value
        made: list[np.ndarray] = []
        for t in range(T):
            new = self._step(values, states, [x[t] for x in scanned])
            if not t:
                made = _arrays_of(T, new[S:], sum(x.size for x in scanned))
            for k, (old, state) in enumerate(zip(states, new, strict=False)):
                if state.shape != old.shape or state.dtype != old.dtype:
                    raise ValueError(
                        f"state {k} is {old.dtype} of shape {old.shape} before step {t} and {state.dtype} of shape "
                        f"{state.shape} after it; these need to be the same"
                    )
            states = new[:S]
            for y, output, backwards in zip(made, new[S:], self.output_directions, strict=True):
                if output.shape != y.shape[1:] or output.dtype != y.dtype:
                    raise ValueError(
                        f"an output is {y.dtype} of shape {y.shape[1:]} in the first step, and {output.dtype} of shape "
                        f"{output.shape} in step {t}; these need to be the same"
                    )
                y[T - 1 - t if backwards else t] = output
        if not T:  # one step on zeros says how large the outputs of a step would be
            zeros = [np.zeros(x.shape[1:], x.dtype) for x in scanned]
            made = _arrays_of(0, self._step(values, states, zeros)[S:], 0)
        outputs = [np.moveaxis(y, 0, axis_of(axis, y.ndim)) for y, axis in zip(made, self.output_axes, strict=True)]
        return (*[np.array(state) for state in states], *outputs)

    def _by_step(self, given) -> list[np.ndarray]:
        """Inputs with the steps in front, in the order in which they are read."""
        found = []
        for x, axis, backwards in zip(given, self.input_axes, self.input_directions, strict=True):
            if not x.ndim:
                raise ValueError("an input that is read by steps has no dimensions; it needs one at least")
            x = np.moveaxis(x, axis_of(axis, x.ndim), 0)
            found.append(x[::-1] if backwards else x)
        if len({len(x) for x in found}) > 1:
            raise ValueError(f"its inputs have {', '.join(str(len(x)) for x in found)} steps; they need as many each")
        if len(found[0]) > MOST_STEPS:
            raise ValueError(f"it would take {len(found[0])} steps, more than {MOST_STEPS}")
        return found

    def _step(self, values: list, states: Sequence, slices: Sequence) -> list[np.ndarray]:
        """Run the body."""
        for place, value in zip(self.body.inputs, (*states, *slices), strict=True):
            values[place] = value
        run(self.body.steps, values)
        return [np.asarray(values[place]) for place in self.body.outputs]


def _arrays_of(T: int, outputs: Sequence[np.ndarray], read: int) -> list[np.ndarray]:
    """Arrays for the outputs of all steps; ``read`` is the number of elements of the inputs."""
    for output in outputs:
        check_elements(T * output.size, read)
    return [np.empty((T, *output.shape), output.dtype) for output in outputs]
