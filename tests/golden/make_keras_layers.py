"""Write keras_layers.npz: what Keras computes with its layers, in float64, gradients included.

Run by hand, with keras and torch installed, where a case is added: ``python tests/golden/make_keras_layers.py``.
The tests read the file and need neither. With torch, Keras normalizes the last axes only, so no case has others.

The loss is sum(y dy). The arrays of a case:

    case/x, case/mask (where there is one), case/weights/0, 1, ... in Keras's order, case/dy
    case/y, case/output_mask (where there is one), case/grads/x (not everywhere), case/grads/0, 1, ... of those trained
    case/after/0, 1, ... the weights behind a pass in training mode, where the case's name has "training"

Penalties and projections: regularizers/NAME/w, /value, /gradient and constraints/NAME/w, /value. The array
``metadata`` is a JSON string: Keras's version; under "cases" the class, arguments and output shape of each; under
"penalties" and "projections" the class and arguments; under "signatures" the constructors' arguments and defaults.
"""

from __future__ import annotations

import inspect
import json
import os
import zlib
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch
from keras.src.backend.common import dtypes

keras.config.set_floatx("float64")
dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"  # or many operations would be done in float32 all the same

#: name: (class, arguments, shape of x with the batch)
CASES: dict[str, tuple[str, dict, tuple[int, ...]]] = {
    "dense": ("Dense", {"units": 4}, (3, 5)),
    "dense_steps": ("Dense", {"units": 2, "activation": "relu"}, (3, 4, 5)),
    "dense_no_bias": ("Dense", {"units": 3, "activation": "softmax", "use_bias": False}, (2, 2, 3, 4)),
    "dropout": ("Dropout", {"rate": 0.5}, (3, 4)),
    "embedding": ("Embedding", {"input_dim": 7, "output_dim": 3}, (2, 5)),
    "embedding_masked": ("Embedding", {"input_dim": 4, "output_dim": 2, "mask_zero": True}, (3, 6)),
    "masking": ("Masking", {}, (3, 5, 2)),
    "masking_value": ("Masking", {"mask_value": 0.5}, (3, 5, 2)),
    "norm": ("LayerNormalization", {}, (3, 5)),
    "norm_axes": ("LayerNormalization", {"axis": [2, 1], "epsilon": 1e-2}, (3, 4, 5)),
    "norm_unscaled": ("LayerNormalization", {"axis": 2, "scale": False}, (3, 4, 5)),
    "norm_plain": ("LayerNormalization", {"center": False, "scale": False}, (3, 4, 5)),
    "norm_negative": ("LayerNormalization", {"axis": [-1, -2], "center": False}, (2, 3, 4, 5)),
    "conv1d": ("Conv1D", {"filters": 3, "kernel_size": 3}, (2, 7, 4)),
    "conv1d_same": ("Conv1D", {"filters": 2, "kernel_size": 4, "padding": "same", "strides": 3}, (2, 8, 3)),
    "conv1d_causal": ("Conv1D", {"filters": 2, "kernel_size": 3, "padding": "causal", "dilation_rate": 2}, (2, 8, 3)),
    "conv1d_causal_strided": ("Conv1D", {"filters": 2, "kernel_size": 3, "padding": "causal", "strides": 2}, (2, 7, 3)),
    "conv2d": ("Conv2D", {"filters": 3, "kernel_size": [3, 2], "activation": "relu"}, (2, 6, 5, 2)),
    "conv2d_same": ("Conv2D", {"filters": 2, "kernel_size": 3, "padding": "same"}, (2, 5, 4, 1)),
    "conv2d_even": ("Conv2D", {"filters": 2, "kernel_size": [2, 4], "padding": "same"}, (1, 5, 6, 2)),
    "conv2d_strided": (
        "Conv2D", {"filters": 2, "kernel_size": [3, 4], "strides": [2, 3], "padding": "same", "use_bias": False},
        (2, 7, 8, 2),
    ),
    "conv2d_strided_valid": ("Conv2D", {"filters": 2, "kernel_size": 2, "strides": 3}, (2, 8, 9, 2)),
    "conv2d_dilated": ("Conv2D", {"filters": 2, "kernel_size": 2, "dilation_rate": [2, 3]}, (2, 6, 7, 2)),
    "conv2d_dilated_same": (
        "Conv2D", {"filters": 2, "kernel_size": [2, 3], "dilation_rate": 2, "padding": "same"}, (2, 6, 5, 2),
    ),
    "max1d": ("MaxPooling1D", {}, (2, 7, 3)),
    "max1d_same": ("MaxPooling1D", {"pool_size": 3, "strides": 2, "padding": "same"}, (2, 8, 3)),
    "max2d": ("MaxPooling2D", {}, (2, 5, 6, 2)),
    "max2d_overlapping": ("MaxPooling2D", {"pool_size": [3, 2], "strides": 1}, (2, 5, 6, 2)),
    "max2d_same": ("MaxPooling2D", {"pool_size": 3, "strides": [2, 4], "padding": "same"}, (2, 6, 6, 1)),
    "average": ("GlobalAveragePooling1D", {}, (3, 4, 2)),
    "average_kept": ("GlobalAveragePooling1D", {"keepdims": True}, (3, 4, 2)),
    "average_masked": ("GlobalAveragePooling1D", {}, (3, 6, 2)),
    "average_masked_kept": ("GlobalAveragePooling1D", {"keepdims": True}, (3, 6, 2)),
    "largest": ("GlobalMaxPooling1D", {}, (3, 5, 2)),
    "largest_kept": ("GlobalMaxPooling1D", {"keepdims": True}, (3, 4, 2)),
    "spatial_dropout": ("SpatialDropout1D", {"rate": 0.5}, (2, 3, 4)),
    "flatten": ("Flatten", {}, (2, 3, 4, 2)),
    "flatten_nothing": ("Flatten", {}, (3,)),
    "reshape": ("Reshape", {"target_shape": [4, 3]}, (2, 6, 2)),
    "reshape_free": ("Reshape", {"target_shape": [-1, 2, 2]}, (2, 12)),
    "repeat": ("RepeatVector", {"n": 3}, (2, 4)),
    "batch_norm": ("BatchNormalization", {}, (4, 3)),
    "batch_norm_steps": ("BatchNormalization", {"epsilon": 1e-2, "momentum": 0.7}, (3, 4, 5)),
    "batch_norm_axis": ("BatchNormalization", {"axis": 1, "center": False}, (3, 4, 5)),
    "batch_norm_plain": ("BatchNormalization", {"center": False, "scale": False}, (3, 4, 2, 5)),
    "batch_norm_training": ("BatchNormalization", {"momentum": 0.6}, (4, 3)),
    "batch_norm_training_steps": ("BatchNormalization", {"scale": False}, (3, 4, 5)),
    "batch_norm_training_axis": ("BatchNormalization", {"axis": 2, "momentum": 0.9}, (3, 4, 2, 5)),
    "batch_norm_training_masked": ("BatchNormalization", {"momentum": 0.5}, (3, 6, 2)),
    "batch_norm_training_masked_axis": ("BatchNormalization", {"axis": 1, "momentum": 0.5}, (3, 2, 6)),
    "batch_norm_masked": ("BatchNormalization", {}, (3, 4, 2)),
    "batch_norm_training_frozen": ("BatchNormalization", {"trainable": False}, (3, 4, 2)),
    "batch_norm_training_wide": ("BatchNormalization", {}, (8, 4, 6)),
    "normalization": ("Normalization", {}, (3, 4, 2)),
    "normalization_inverse": ("Normalization", {"invert": True}, (3, 4, 2)),
    "normalization_axes": ("Normalization", {"axis": [2, 1]}, (3, 4, 2)),
    "normalization_one": ("Normalization", {"axis": None}, (3, 4, 2)),
    "normalization_given": ("Normalization", {"mean": [1.0, -0.5], "variance": [4.0, 0.0]}, (3, 4, 2)),
    "normalization_given_one": ("Normalization", {"mean": 0.25, "variance": 2.0, "invert": True}, (3, 2)),
    "normalization_given_axes": (
        "Normalization", {"axis": [1, 2], "mean": [1.0, -0.5], "variance": [4.0, 0.25]}, (3, 4, 2),
    ),
    "noise": ("GaussianNoise", {"stddev": 0.5}, (3, 4)),
    "noise_factors": ("GaussianDropout", {"rate": 0.5}, (3, 4)),
    "relu": ("ReLU", {}, (3, 4)),
    "relu_limited": ("ReLU", {"max_value": 1.0}, (3, 4, 5)),
    "relu_six": ("ReLU", {"max_value": 6.0, "negative_slope": 0.1}, (3, 4, 5)),
    "relu_sloping": ("ReLU", {"negative_slope": 0.2}, (3, 4, 5)),
    "relu_all": ("ReLU", {"max_value": 1.5, "negative_slope": 0.3, "threshold": 0.7}, (3, 4, 5)),
    "relu_threshold": ("ReLU", {"threshold": 1.0}, (3, 4, 5)),
    "leaky": ("LeakyReLU", {}, (3, 4)),
    "leaky_steep": ("LeakyReLU", {"negative_slope": 1.5}, (3, 4)),
    "elu": ("ELU", {}, (3, 4)),
    "elu_alpha": ("ELU", {"alpha": 0.4}, (3, 4, 2)),
    "prelu": ("PReLU", {}, (3, 4, 2)),
    "prelu_shared": ("PReLU", {"shared_axes": [1]}, (3, 4, 2)),
    "prelu_shared_all": ("PReLU", {"shared_axes": [1, 2]}, (3, 4, 2)),
    "softmax": ("Softmax", {}, (3, 4)),
    "softmax_axis": ("Softmax", {"axis": 1}, (3, 4, 2)),
    "softmax_axes": ("Softmax", {"axis": [1, -1]}, (3, 4, 2)),
    "softmax_masked": ("Softmax", {}, (3, 6)),
    "average1d": ("AveragePooling1D", {"pool_size": 2}, (2, 7, 3)),
    "average1d_same": ("AveragePooling1D", {"pool_size": 3, "strides": 2, "padding": "same"}, (2, 7, 3)),
    "average1d_even": ("AveragePooling1D", {"pool_size": 4, "strides": 3, "padding": "same"}, (2, 8, 3)),
    "average2d": ("AveragePooling2D", {"pool_size": 2}, (2, 5, 6, 2)),
    "average2d_overlapping": ("AveragePooling2D", {"pool_size": [3, 2], "strides": 1}, (2, 5, 6, 2)),
    "average2d_same": ("AveragePooling2D", {"pool_size": 3, "strides": [2, 1], "padding": "same"}, (2, 5, 6, 1)),
    "permute": ("Permute", {"dims": [2, 1]}, (3, 4, 2)),
    "permute_three": ("Permute", {"dims": [2, 3, 1]}, (2, 3, 4, 5)),
    "zeros": ("ZeroPadding1D", {}, (2, 3, 2)),
    "zeros_behind": ("ZeroPadding1D", {"padding": [0, 3]}, (2, 3, 2)),
    "crop": ("Cropping1D", {}, (2, 5, 2)),
    "crop_end": ("Cropping1D", {"cropping": [0, 2]}, (2, 5, 2)),
    "upsampled": ("UpSampling1D", {}, (2, 3, 2)),
    "upsampled_more": ("UpSampling1D", {"size": 3}, (2, 3, 2)),
    "steps_prelu": ("TimeDistributed", {"layer": ["PReLU", {}]}, (2, 3, 4)),
    "steps_dense": ("TimeDistributed", {"layer": ["Dense", {"units": 3, "activation": "tanh"}]}, (2, 4, 5)),
    "steps_conv": ("TimeDistributed", {"layer": ["Conv2D", {"filters": 2, "kernel_size": 3}]}, (2, 3, 5, 6, 1)),
    "steps_max": ("TimeDistributed", {"layer": ["MaxPooling2D", {}]}, (2, 3, 5, 6, 1)),
    "steps_flatten": ("TimeDistributed", {"layer": ["Flatten", {}]}, (2, 3, 2, 2, 3)),
    "steps_masked": ("TimeDistributed", {"layer": ["GlobalAveragePooling1D", {}]}, (2, 3, 4, 2)),
}  # fmt: skip
ACTIVATIONS = (
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "softplus", "softsign", "sigmoid", "log_sigmoid",
    "hard_sigmoid", "tanh", "hard_tanh", "exponential", "silu", "swish", "hard_silu", "hard_swish", "gelu", "mish",
    "softmax", "log_softmax",
)  # fmt: skip
CASES |= {f"activation_{name}": ("Activation", {"activation": name}, (4, 3, 7)) for name in ACTIVATIONS}

PENALTIES = {
    "l1": ("L1", {"l1": 0.3}),
    "l2": ("L2", {"l2": 0.2}),
    "l1_l2": ("L1L2", {"l1": 0.1, "l2": 0.4}),
    "l1_default": ("L1", {}),
    "l2_default": ("L2", {}),
    "l1_l2_default": ("L1L2", {}),
}
PROJECTIONS = {
    "max_norm": ("MaxNorm", {"max_value": 0.9}),
    "max_norm_default": ("MaxNorm", {}),
    "max_norm_axis": ("MaxNorm", {"max_value": 0.5, "axis": 1}),
    "max_norm_axes": ("MaxNorm", {"max_value": 0.5, "axis": [0, 1]}),
    "non_neg": ("NonNeg", {}),
    "unit_norm": ("UnitNorm", {}),
    "unit_norm_axis": ("UnitNorm", {"axis": 1}),
    "min_max_norm": ("MinMaxNorm", {"min_value": 1.2, "max_value": 1.4, "rate": 0.7}),
}


def layer_of(kind: str, arguments: dict) -> keras.layers.Layer:
    arguments = {k: layer_of(*v) if k == "layer" else v for k, v in arguments.items()}
    return getattr(keras.layers, kind)(**arguments)


def random(rng: np.random.Generator, shape: tuple[int, ...], bound: float) -> np.ndarray:
    """Uniform odd multiples of 1/2048: the same numbers in float32, and none on a kink at 0 or 1."""
    return (np.round(rng.uniform(-bound, bound, shape) * 1024.0) + 0.5) / 1024.0


def input_of(name: str, kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if kind == "Embedding":
        return rng.integers(0, CASES[name][1]["input_dim"], shape)
    x = random(rng, shape, 6.0 if kind == "Activation" else 2.0)
    if kind == "Activation":
        x[0] *= 8  # far out, where functions saturate
    if kind == "Masking":
        x[:, 1:3] = CASES[name][1].get("mask_value", 0.0)
        x[0, 0, 0] = CASES[name][1].get("mask_value", 0.0)
    return x


def mask_of(name: str, x: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    if "masked" not in name or name.startswith("embedding"):
        return None
    mask = rng.random(x.shape[: 3 if name.startswith("steps") else 2]) < 0.6
    mask[..., 1] = True
    return mask


def initial(variable, rng: np.random.Generator) -> np.ndarray:
    """Values of a parameter: variances are above 0, and Normalization's count, which has no use, is 0."""
    if variable.name == "count":
        return np.zeros(())
    w = random(rng, variable.shape, 1.0)
    return np.abs(w) if "variance" in variable.name else w


def arrays(name: str) -> tuple[dict[str, np.ndarray], list]:
    """All arrays of a case, and the output shape for an unknown batch."""
    kind, arguments, shape = CASES[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))  # by name, so that a new case leaves the others as they are
    layer, x = layer_of(kind, arguments), input_of(name, kind, shape, rng)
    mask = mask_of(name, x, rng)
    layer.build(x.shape)
    weights = [initial(w, rng) for w in layer.weights]
    for variable, w in zip(layer.weights, weights, strict=True):
        variable.assign(w)
    if kind == "Normalization":
        layer.finalize_state()
    trained = [k for k, w in enumerate(layer.weights) if any(w is variable for variable in layer.trainable_variables)]
    inputs = torch.tensor(x, requires_grad=kind != "Embedding")
    given = {} if mask is None else {"mask": torch.tensor(mask)}
    y = layer(inputs, **given, **({"training": True} if "training" in name else {}))
    dy = random(rng, y.shape, 1.0)
    leaves = [layer.weights[k].value for k in trained] + [inputs] * inputs.requires_grad
    gradients = torch.autograd.grad((y * torch.tensor(dy)).sum(), leaves) if leaves else ()
    out = {"x": x, "dy": dy, "y": y.detach().numpy()} | {f"weights/{k}": w for k, w in enumerate(weights)}
    names = [*map(str, trained), "x"]
    out |= {f"grads/{name}": g.numpy() for name, g in zip(names, gradients, strict=False)}
    if "training" in name:
        out |= {f"after/{k}": w for k, w in enumerate(layer.get_weights())}
    if name == "activation_hard_sigmoid":
        del out["grads/x"]  # torch's derivative is 1/6 rounded to float32, off by 3e-8
    if mask is not None:
        out["mask"] = mask
    if kind in ("Embedding", "Masking") and (output_mask := layer.compute_mask(torch.tensor(x))) is not None:
        out["output_mask"] = output_mask.numpy()
    assert not any(np.isnan(array).any() for array in out.values()), name
    return out, list(layer.compute_output_shape((None, *shape[1:])))


def penalties_and_projections() -> dict[str, np.ndarray]:
    out = {}
    for name, (kind, arguments) in PENALTIES.items():
        w = random(np.random.default_rng(zlib.crc32(name.encode())), (3, 4), 1.0)
        leaf = torch.tensor(w, requires_grad=True)
        value = getattr(keras.regularizers, kind)(**arguments)(leaf) + 0.0 * leaf.sum()  # one that is 0 has a gradient
        (gradient,) = torch.autograd.grad(value, leaf)
        out |= {f"regularizers/{name}/w": w, f"regularizers/{name}/value": value.detach().numpy()}
        out[f"regularizers/{name}/gradient"] = gradient.numpy()
    for name, (kind, arguments) in PROJECTIONS.items():
        w = random(np.random.default_rng(zlib.crc32(name.encode())), (3, 4), 1.0)
        projection = getattr(keras.constraints, kind)(**arguments)
        if isinstance(arguments.get("axis"), list):
            projection.axis = tuple(projection.axis)
        out |= {f"constraints/{name}/w": w, f"constraints/{name}/value": projection(torch.tensor(w)).numpy()}
    return out


def signature(cls: type) -> dict:
    """Arguments and defaults of a constructor; those without a default are "required"."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return {p.name: "required" if p.default is p.empty else p.default for p in named}


def main() -> None:
    """Write keras_layers.npz beside this script."""
    torch.set_num_threads(1)
    contents, cases = {}, {}
    for name, (kind, arguments, _) in CASES.items():
        own, shape = arrays(name)
        contents |= {f"{name}/{key}": value for key, value in own.items()}
        cases[name] = {"class": kind, "arguments": arguments, "output_shape": shape}
    contents |= penalties_and_projections()
    initializers = (
        "Constant", "Zeros", "Ones", "Identity", "RandomNormal", "TruncatedNormal", "RandomUniform", "VarianceScaling",
        "GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal", "LecunUniform", "LecunNormal", "Orthogonal",
    )  # fmt: skip
    kinds = {
        "layers": sorted({case["class"] for case in cases.values()} | {"InputLayer"}),
        "initializers": initializers,
        "regularizers": ("L1", "L2", "L1L2"),
        "constraints": ("MaxNorm", "NonNeg", "UnitNorm", "MinMaxNorm"),
    }
    metadata = {
        "keras": keras.__version__,
        "cases": cases,
        "penalties": PENALTIES,
        "projections": PROJECTIONS,
        "signatures": {
            part: {name: signature(getattr(getattr(keras, part), name)) for name in names}
            for part, names in kinds.items()
        },
    }
    contents["metadata"] = np.array(json.dumps(metadata))
    path = Path(__file__).with_name("keras_layers.npz")
    np.savez_compressed(path, **contents)
    print(f"{path.name}: {len(cases)} cases, {len(contents)} arrays, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
