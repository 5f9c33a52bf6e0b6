"""Arrays of sequences and windows of series, under Keras's older name."""

from nblstm.arguments.missing import explain_missing_names
from nblstm.preprocessing import sequence
from nblstm.training.timeseries import timeseries_dataset_from_array

__all__ = ["sequence", "timeseries_dataset_from_array"]

explain_missing_names(__name__)
del explain_missing_names
