"""The example programs' models against Keras: ten steps of training, then `predict` and `evaluate`, in float32.

Kept in golden/keras_programs.npz by golden/make_keras_programs.py.
"""

from pathlib import Path

import numpy as np
import pytest
from golden import programs
from tolerances import TRACE, assert_close

from nblstm import layers, models

with np.load(Path(__file__).with_name("golden") / "keras_programs.npz") as archive:
    GOLDEN = {name: archive[name] for name in archive.files}
STEPS = 10


@pytest.mark.parametrize("cell", programs.CELLS)
@pytest.mark.parametrize("program", programs.LAYERS)
def test_ten_steps_are_those_of_keras(program, cell):
    model = programs.model(program, cell, models, layers)
    model.set_weights(programs.weights([w.shape for w in model.get_weights()]))
    x = [programs.inputs(program, GOLDEN[f"{program}/x/{k}"]) for k in range(STEPS)]
    y = [programs.targets(program, GOLDEN[f"{program}/y/{k}"]) for k in range(STEPS)]

    returned = np.reshape([model.train_on_batch(*batch) for batch in zip(x, y, strict=True)], (STEPS, -1))
    golden = {name: GOLDEN.get(f"{program}/{cell}/{name}") for name in ("losses", "metrics", "predicted", "evaluated")}
    np.testing.assert_allclose(returned[:, 0], golden["losses"], rtol=TRACE["float32"])
    if golden["metrics"] is not None:
        np.testing.assert_allclose(returned[:, 1], golden["metrics"], rtol=TRACE["float32"])
    assert_close(model.predict(x[0], verbose=0), golden["predicted"], TRACE["float32"])
    evaluated = [np.ravel(model.evaluate(x[k], y[k], verbose=0)) for k in range(2)]
    np.testing.assert_allclose(evaluated, golden["evaluated"], rtol=TRACE["float32"])


@pytest.mark.parametrize("program", programs.LAYERS)
def test_the_traces_would_show_a_model_that_does_not_learn(program):
    model = programs.model(program, "lstm", models, layers)
    model.set_weights(programs.weights([w.shape for w in model.get_weights()]))
    before = model.predict(programs.inputs(program, GOLDEN[f"{program}/x/0"]), verbose=0)
    after = GOLDEN[f"{program}/lstm/predicted"]
    assert np.abs(after - before).max() > 100 * TRACE["float32"] * np.abs(after).max()
