"""Weights of Keras 1's layers, of cuDNN's in Keras 2, and of Theano's convolutions, in the order and shapes of today's.

The rules are those by which Keras 2 itself reads its older files (`preprocess_weights_for_loading`).
"""

from __future__ import annotations

import numpy as np

from nblstm.layers import GRU, LSTM, Bidirectional, Conv1D, Conv2D, Layer, TimeDistributed


def converted(layer: Layer, arrays: list[np.ndarray], version: int, backend: str) -> list[np.ndarray]:
    """A layer's weights as `set_weights` takes them, from those in a file of the Keras with this first number."""
    if isinstance(layer, Bidirectional):
        half = len(arrays) // 2
        sides = (layer.forward_layer, arrays[:half]), (layer.backward_layer, arrays[half:])
        return [array for side, own in sides for array in converted(side, own, version, backend)]
    if isinstance(layer, TimeDistributed):
        return converted(layer.layer, arrays, version, backend)
    if isinstance(layer, LSTM) and len(arrays) == 12:  # i, c, f, o, each with kernel, recurrent kernel and bias
        return [np.concatenate([arrays[k + part] for k in (0, 6, 3, 9)], axis=-1) for part in range(3)]
    if isinstance(layer, GRU) and len(arrays) == 9:
        return [np.concatenate([arrays[k + part] for k in (0, 3, 6)], axis=-1) for part in range(3)]
    if isinstance(layer, LSTM | GRU) and len(arrays) == 3:
        return _without_cudnn(layer, arrays)
    if isinstance(layer, Conv1D | Conv2D) and version < 3 and arrays:
        return [_kernel(layer, arrays[0], backend), *arrays[1:]]
    return arrays


def _without_cudnn(layer: LSTM | GRU, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Weights of CuDNNLSTM or CuDNNGRU: two biases in a row, and kernels that are transposed gate by gate."""
    kernel, recurrent, bias = arrays
    gates = 4 if isinstance(layer, LSTM) else 3
    H = layer.units
    if bias.shape != (2 * gates * H,) or kernel.shape[-1] != gates * H or recurrent.shape != (H, gates * H):
        return arrays
    kernel = np.hstack([k.T.reshape(k.shape, order="F") for k in np.hsplit(kernel, gates)])
    recurrent = np.hstack([k.T for k in np.hsplit(recurrent, gates)])
    bias = bias.reshape(2, -1)
    return [kernel, recurrent, bias if gates == 3 else bias.sum(axis=0)]


def _kernel(layer: Conv1D | Conv2D, kernel: np.ndarray, backend: str) -> np.ndarray:
    """A convolution's kernel, with the filters in the last dimension."""
    sizes, filters = layer.kernel_size, layer.filters
    if isinstance(layer, Conv1D) and kernel.ndim == 4:  # of Keras 1; before 1.2 with the filters first
        first = kernel.shape[:2] != (*sizes, 1) or kernel.shape[3] != filters
        kernel = (kernel.transpose(2, 3, 1, 0) if first else kernel)[:, 0]
    elif isinstance(layer, Conv2D) and kernel.ndim == 4 and kernel.shape[0] == filters != kernel.shape[3]:
        kernel = kernel.transpose(2, 3, 1, 0)
    turned = backend == "theano"  # whose convolutions read windows from the end
    return kernel[(slice(None, None, -1),) * len(sizes)] if turned else kernel
