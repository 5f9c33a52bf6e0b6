"""Calls of `timeseries_dataset_from_array` by name: (steps, columns of data, offset of targets or None, arguments)."""

CASES = {
    "plain": (23, 0, 3, dict(sequence_length=3)),
    "batches": (40, 2, 5, dict(sequence_length=5, batch_size=8)),
    "stride": (40, 2, 5, dict(sequence_length=4, sequence_stride=3, batch_size=4)),
    "rate": (40, 0, 9, dict(sequence_length=5, sampling_rate=2, batch_size=7)),
    "all": (60, 3, 0, dict(sequence_length=4, sequence_stride=5, sampling_rate=3, batch_size=3)),
    "indices": (50, 1, 2, dict(sequence_length=6, start_index=7, end_index=31, batch_size=6)),
    "start": (50, 0, 0, dict(sequence_length=6, sequence_stride=2, start_index=11, batch_size=100)),
    "no targets": (20, 0, None, dict(sequence_length=4, sequence_stride=4, batch_size=2)),
    "few targets": (30, 0, 20, dict(sequence_length=3, batch_size=4)),
    "one by one": (12, 2, 3, dict(sequence_length=3, sequence_stride=3, batch_size=None)),
}
