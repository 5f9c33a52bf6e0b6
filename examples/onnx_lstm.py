"""A model of an LSTM and a Dense layer for onnxruntime, step by step, with the names of nblstm's compiled networks."""

from importlib.util import find_spec

import numpy as np

#: Why a program leaves onnxruntime out; empty where it is there.
LEFT_OUT = [f"onnxruntime is left out: no {name} here" for name in ("onnx", "onnxruntime") if find_spec(name) is None]
if not LEFT_OUT:
    import onnxruntime
    from onnx import numpy_helper, parser

GRAPH = """<ir_version: 9, opset_import: ["": 17]>
step (float[1,B,{I}] x, float[1,B,{H}] h, float[1,B,{H}] c) => (float[1,B,{O}] y, float[1,B,{H}] h1, float[1,B,{H}] c1)
{{ all, h1, c1 = LSTM <hidden_size={H}> (x, W, R, b, , h, c)  product = MatMul (h1, D)  y = Add (product, d) }}"""


class OnnxNetwork:
    """A trained Sequential([LSTM, Dense]) as an ONNX graph; `s` is the list of h and c, (1, B, H) each."""

    dtype = "float32"

    def __init__(self, model, batch_size: int):
        W, R, b, D, d = model.get_weights()
        self.batch_size, self.hidden_size = batch_size, len(R)
        i, f, g, o = np.arange(4 * len(R)).reshape(4, -1)  # Keras's order of gates, and the model's
        gates = np.r_[i, o, f, g]  # ONNX's
        weights = {"W": W.T[None, gates], "R": R.T[None, gates], "b": np.append(b[gates], 0 * b)[None], "D": D, "d": d}
        made = parser.parse_model(GRAPH.format(I=len(W), H=len(R), O=len(d)))
        made.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
        self._session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])

    def zero_state(self) -> list[np.ndarray]:
        """Make the states before the first step."""
        return [np.zeros((1, self.batch_size, self.hidden_size), "float32") for _ in "hc"]

    def step(self, x, s):
        """Advance the states by an input (B, I), and return the output (B, O)."""
        y, *s[:] = self._session.run(None, {"x": x[None], "h": s[0], "c": s[1]})
        return y[0]
