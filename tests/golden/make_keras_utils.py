"""Write keras_utils.npz: what Keras 3's `to_categorical` and `pad_sequences` give.

Run by hand, with Keras installed, where a case is added::

    KERAS_BACKEND=jax python tests/golden/make_keras_utils.py

The tests read the file and need no Keras. Its arrays are ``to_categorical/CASE`` and ``pad_sequences/CASE``, of
the cases in encoding_cases.py.
"""

from pathlib import Path

import encoding_cases
import keras
import numpy as np

arrays = {
    f"{function}/{case}": getattr(keras.utils, function)(*arguments, **named)
    for function, cases in encoding_cases.CASES.items()
    for case, (arguments, named) in cases.items()
}
np.savez_compressed(Path(__file__).with_name("keras_utils.npz"), **arrays)
print(f"{len(arrays)} cases of Keras {keras.__version__}")
