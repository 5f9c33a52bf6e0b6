"""Windows of a series as batches, against Keras: golden/keras_utils.npz, made by golden/make_keras_utils.py."""

from pathlib import Path

import numpy as np
import pytest
from golden.timeseries_cases import CASES

from nblstm import preprocessing, utils
from nblstm.layers import LSTM, Dense, Input
from nblstm.models import Sequential

with np.load(Path(__file__).with_name("golden") / "keras_utils.npz") as archive:
    GOLDEN = {name: archive[name] for name in archive.files if name.startswith("timeseries/")}

windows_of = utils.timeseries_dataset_from_array


@pytest.mark.parametrize("case", CASES)
def test_batches_are_keras_own(case):
    steps, columns, offset, named = CASES[case]
    data = np.arange(steps * max(columns, 1)).reshape(steps, *[columns] * bool(columns))
    targets = None if offset is None else np.arange(1000, 1000 + steps)[offset:]
    dataset = windows_of(data, targets, **named)
    count = len({name.split("/")[2] for name in GOLDEN if name.startswith(f"timeseries/{case}/")})
    assert len(dataset) == len(list(dataset)) == count
    for k, batch in enumerate(dataset):
        parts = batch if targets is not None else (batch,)
        for part, array in enumerate(parts):
            np.testing.assert_array_equal(array, GOLDEN[f"timeseries/{case}/{k}/{part}"])
    assert preprocessing.timeseries_dataset_from_array is windows_of


def test_shuffled_windows_are_all_there_in_a_new_order_each_time():
    series = np.arange(50)
    dataset, same, other = (windows_of(series, series, 3, batch_size=7, shuffle=True, seed=seed) for seed in (1, 1, 2))
    passes = []
    for _ in range(3):
        parts = list(dataset)
        x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
        assert (x == y[:, None] + np.arange(3)).all()
        assert sorted(y) == list(range(48))
        assert [a.tolist() for _, a in same] == [a.tolist() for _, a in parts]
        passes.append(y.tolist())
    assert len(set(map(tuple, passes))) == 3
    assert np.concatenate([y for _, y in other]).tolist() not in passes
    utils.set_random_seed(3)
    first = [y.tolist() for _, y in windows_of(series, series, 3, shuffle=True)]
    utils.set_random_seed(3)
    assert first == [y.tolist() for _, y in windows_of(series, series, 3, shuffle=True)]


def test_a_model_takes_them():
    series = np.sin(np.arange(120) / 5).astype("float32")[:, None]
    dataset = windows_of(series[:-1], series[8:, 0], 8, batch_size=16, shuffle=True, seed=0)
    held_out = windows_of(series[:-1], series[8:, 0], 8, batch_size=16)

    def fitted(x, y=None, **options):
        model = Sequential([Input((8, 1)), LSTM(4), Dense(1)], seed=0)
        model.compile("adam", "mse")
        return model, model.fit(x, y, epochs=2, verbose=0, **options).history

    model, history = fitted(dataset, validation_data=held_out)
    assert len(dataset) == 7
    assert history["val_loss"][1] < history["val_loss"][0]
    alone = windows_of(series, None, 8)
    assert model.predict(alone, verbose=0).shape == (113, 1)
    x, y = (np.concatenate(part) for part in zip(*held_out, strict=True))
    _, by_dataset = fitted(held_out)
    _, by_arrays = fitted(x, y, batch_size=16, shuffle=False)
    assert by_dataset == by_arrays


def test_windows_take_no_memory_beforehand():
    data = np.zeros((1000, 10))
    dataset = windows_of(data, None, 900)
    assert dataset._data.base is data
    assert dataset[0].shape == (101, 900, 10)
    assert (dataset[-1] == dataset[len(dataset) - 1]).all()
    with pytest.raises(IndexError, match="index is 1 and there are 1 batches"):
        dataset[1]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (dict(sequence_length=0), ValueError, "sequence_length is 0"),
        (dict(sequence_stride=0), ValueError, "sequence_stride is 0"),
        (dict(sampling_rate=1.5), TypeError, "sampling_rate is 1.5"),
        (dict(batch_size=0), ValueError, "batch_size is 0"),
        (dict(shuffle="yes"), TypeError, "shuffle is 'yes'"),
        (dict(seed=-1), ValueError, "seed is -1"),
        (dict(start_index=10), ValueError, "start_index is 10 and end_index is 10, and data has 10 steps; give 0 <="),
        (dict(start_index=5, end_index=4), ValueError, "start_index is 5 and end_index is 4"),
        (dict(end_index=11), ValueError, "end_index is 11, and data has 10 steps"),
        (dict(start_index=-1), ValueError, "start_index is -1"),
        (dict(sequence_length=4, sampling_rate=4), ValueError, "a window takes 13 steps, .* and there are 10"),
        (dict(targets=[]), ValueError, "targets has 0 entries from start_index on; give one for each window"),
        (dict(targets=3), ValueError, "targets is 3, which has no steps"),
        (dict(data=[]), ValueError, "data has shape .0,., which has no steps"),
        (dict(data=[[1], [1, 2]]), ValueError, "data is a ragged nest of lists"),
    ],
)
def test_arguments(options, error, said):
    with pytest.raises(error, match=said):
        windows_of(**{"data": np.arange(10), "targets": None, "sequence_length": 3, **options})
