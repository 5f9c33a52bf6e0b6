"""Write keras_utils.npz: what Keras 3's `to_categorical`, `pad_sequences` and `timeseries_dataset_from_array` give.

Run by hand, with Keras and grain installed, where a case is added::

    KERAS_BACKEND=jax python tests/golden/make_keras_utils.py

The tests read the file and need no Keras. Its arrays are ``to_categorical/CASE`` and ``pad_sequences/CASE``, of
the cases in encoding_cases.py; and of those in timeseries_cases.py ``timeseries/CASE/k/0`` and ``/1``, windows and
targets of batch k, where data has the numbers from 0 in its rows, and targets those of the steps from 1000.
"""

from pathlib import Path

import encoding_cases
import keras
import numpy as np
import timeseries_cases

arrays = {
    f"{function}/{case}": getattr(keras.utils, function)(*arguments, **named)
    for function, cases in encoding_cases.CASES.items()
    for case, (arguments, named) in cases.items()
}
for case, (steps, columns, offset, named) in timeseries_cases.CASES.items():
    data = np.arange(steps * max(columns, 1)).reshape(steps, *[columns] * bool(columns))
    targets = None if offset is None else np.arange(1000, 1000 + steps)[offset:]
    dataset = keras.utils.timeseries_dataset_from_array(data, targets, format="grain", **named)
    for k, batch in enumerate(dataset):
        for part, array in enumerate(batch if isinstance(batch, tuple | list) else [batch]):
            arrays[f"timeseries/{case}/{k}/{part}"] = np.asarray(array)
np.savez_compressed(Path(__file__).with_name("keras_utils.npz"), **arrays)
print(f"{len(arrays)} cases of Keras {keras.__version__}")
