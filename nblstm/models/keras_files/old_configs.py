"""Configs of Keras 1 and 2 in Keras 3's words: names of classes and arguments, defaults, and `hard_sigmoid`."""

from __future__ import annotations

from typing import Any

#: Keras 1's names of arguments, in any class.
ARGUMENTS = {
    "init": "kernel_initializer", "inner_init": "recurrent_initializer", "inner_activation": "recurrent_activation",
    "W_regularizer": "kernel_regularizer", "U_regularizer": "recurrent_regularizer",
    "b_regularizer": "bias_regularizer", "W_constraint": "kernel_constraint", "b_constraint": "bias_constraint",
    "bias": "use_bias", "dropout_W": "dropout", "dropout_U": "recurrent_dropout", "p": "rate", "nb_filter": "filters",
    "filter_length": "kernel_size", "border_mode": "padding", "subsample_length": "strides", "subsample": "strides",
    "atrous_rate": "dilation_rate", "pool_length": "pool_size", "stride": "strides", "gamma_init": "gamma_initializer",
    "beta_init": "beta_initializer", "sigma": "stddev", "lr": "learning_rate",
}  # fmt: skip

#: The same where a class has names of its own, and names that Keras 2 had and Keras 3 has not.
ARGUMENTS_OF = {
    "Dense": {"output_dim": "units"},
    "LSTM": {"output_dim": "units"},
    "GRU": {"output_dim": "units"},
    "SimpleRNN": {"output_dim": "units"},
    "Embedding": {
        "init": "embeddings_initializer", "W_regularizer": "embeddings_regularizer",
        "W_constraint": "embeddings_constraint",
    },
    "UpSampling1D": {"length": "size"},
    "LeakyReLU": {"alpha": "negative_slope"},
    "MaxNorm": {"m": "max_value"},
    "MaxPooling2D": {"dim_ordering": "data_format"},
}  # fmt: skip

#: Keras 1 and 2's names of classes; cuDNN's layers compute what the others do, with other weights in files.
CLASSES = {
    "Convolution1D": "Conv1D", "Convolution2D": "Conv2D", "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D", "CuDNNLSTM": "LSTM", "CuDNNGRU": "GRU", "L1L2Regularizer": "L1L2",
    "WeightRegularizer": "L1L2", "BatchNormalizationV1": "BatchNormalization", "BatchNormalizationV2":
    "BatchNormalization", "LSTMV1": "LSTM", "GRUV1": "GRU",
}  # fmt: skip

#: What only says how Keras 1 computes, or what the shape of the first layer's input says too.
NO_MATTER = ("consume_less", "input_dtype", "input_length", "implementation", "unroll", "create_input_layer")


def updated(record: dict[str, Any], version: int) -> dict[str, Any]:
    """A class and its config in Keras 3's words; those within are updated when it is their turn.

    ``version`` is the first number of the Keras that wrote it.
    """
    name, config = str(record["class_name"]), dict(record["config"])
    if version >= 3:
        return record
    if name == "TimeDistributedDense":
        inner = {k: v for k, v in config.items() if k not in ("batch_input_shape", "input_length")}
        config = {"name": config.get("name"), "layer": {"class_name": "Dense", "config": inner}} | (
            {"batch_input_shape": config["batch_input_shape"]} if config.get("batch_input_shape") else {}
        )
        return {"class_name": "TimeDistributed", "config": config}
    cudnn, name = name.startswith("CuDNN"), CLASSES.get(name, name)
    names = ARGUMENTS | ARGUMENTS_OF.get(name, {})
    config = {names.get(key, key): value for key, value in config.items() if key not in NO_MATTER}
    if "input_dim" in config and name != "Embedding":
        features = config.pop("input_dim")
        if features is not None and "batch_input_shape" not in config and not cudnn:
            steps = (None,) if name in ("LSTM", "GRU", "SimpleRNN") else ()
            config["batch_input_shape"] = [None, *steps, features]
    if "nb_row" in config and "nb_col" in config:
        config["kernel_size"] = [config.pop("nb_row"), config.pop("nb_col")]
    if "dim_ordering" in config:
        config["data_format"] = {"tf": "channels_last", "th": "channels_first"}.get(config.pop("dim_ordering"))
    if "forget_bias_init" in config:
        config["unit_forget_bias"] = config.pop("forget_bias_init") == "one"
    if name == "GRU" or name == "GRUCell":
        config.setdefault("reset_after", cudnn)
    if "distribution" in config and config["distribution"] == "normal":
        config["distribution"] = "truncated_normal"
    for key, value in config.items():
        if value == "hard_sigmoid" and key.endswith("activation"):
            config[key] = "hard_sigmoid_keras2"
        elif isinstance(value, dict) and "class_name" not in value and isinstance(value.get("name"), str):
            config[key] = {"class_name": value["name"], "config": {k: v for k, v in value.items() if k != "name"}}
    return record | {"class_name": name, "config": config}


def decayed(config: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's config with Keras 1 and 2's ``decay`` as the schedule that it stands for."""
    decay = config.get("decay")
    kept = {key: value for key, value in config.items() if key != "decay"}
    if not decay or "learning_rate" not in kept:
        return kept
    schedule = {"initial_learning_rate": kept["learning_rate"], "decay_steps": 1, "decay_rate": decay}
    return kept | {"learning_rate": {"class_name": "InverseTimeDecay", "config": schedule}}
