"""A trained model in onnxruntime, step by step, with the names of nblstm's compiled networks."""

from importlib.util import find_spec

import numpy as np

#: Why a program leaves onnxruntime out; empty where it is there.
LEFT_OUT = [f"onnxruntime is left out: no {name} here" for name in ("onnx", "onnxruntime") if find_spec(name) is None]
if not LEFT_OUT:
    import onnxruntime

    import nblstm.onnx


class OnnxNetwork:
    """A trained Sequential of an LSTM and layers that return sequences; `s` is the list of h and c, (1, B, H) each."""

    dtype = "float32"

    def __init__(self, model, batch_size: int):
        made = nblstm.onnx.export(model, states=True)
        self.batch_size, self.hidden_size = batch_size, model.layers[0].units
        self._session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])

    def zero_state(self) -> list[np.ndarray]:
        """Make the states before the first step."""
        return [np.zeros((1, self.batch_size, self.hidden_size), "float32") for _ in "hc"]

    def step(self, x, s):
        """Advance the states by an input (B, I), and return the output (B, O)."""
        y, *s[:] = self._session.run(None, {"x": x[:, None], "h_0": s[0], "c_0": s[1]})
        return y[:, 0]
