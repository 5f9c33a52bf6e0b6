"""Configs in Keras 3's form, of nblstm's models, layers and of what they are compiled with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nblstm.arguments import custom
from nblstm.arguments.configured import Configured, constructor_arguments
from nblstm.layers import Input, InputLayer, Layer
from nblstm.models.keras_files.configs_read import ONLY_HERE
from nblstm.training.losses import LossFunction
from nblstm.training.metrics import Accuracy, LossMetric, MetricFunction
from nblstm.training.metrics.metric import METRICS

if TYPE_CHECKING:
    from nblstm.models.sequential import Sequential

#: Arguments of nblstm's that Keras's classes have not, and the value with which they change nothing; None if the file
#: says it elsewhere.
NOT_WRITTEN: dict[str, Any] = {
    "learn_initial_state": False, "signals": None, "batch_input_shape": None, "use_cudnn": None,
    "activity_regularizer": None, "unroll": None,
}  # fmt: skip

#: Modules of Keras's by the ends of the names of arguments whose values are from there.
MODULES = {
    "_initializer": "keras.initializers", "_regularizer": "keras.regularizers", "_constraint": "keras.constraints",
    "layer": "keras.layers", "learning_rate": "keras.optimizers.schedules",
}  # fmt: skip

INSTEAD = "save it to a name that ends in .nblstm"


def model_config(model: Sequential) -> dict[str, Any]:
    """The model's class and config.

    Raises
    ------
    TypeError
        If a layer has an argument that cannot be saved.
    ValueError
        If a layer has something that Keras has not.
    """
    given = model._input or Input(batch_shape=model.input_shape, dtype=None, name="input_layer")
    shape = None if model.input_shape is None else list(model.input_shape)
    config = {
        "name": model.name,
        "trainable": True,
        "dtype": _policy(model.dtype),
        "layers": [layer_record(layer, model.dtype) for layer in (given, *model._layers)],
        "build_input_shape": shape,
    }
    made = {"module": "keras", "class_name": "Sequential", "config": config, "registered_name": None}
    return made | {"build_config": {"input_shape": shape}}


def need_writable(model: Sequential) -> None:
    """Raise what writing the model would; it need not be built."""
    for layer in model._layers:
        layer_record(layer)
    compile_config(model)


def layer_record(layer: Layer, dtype: str = "float32") -> dict[str, Any]:
    """A layer's class and config."""
    if isinstance(layer, InputLayer):
        config = {
            "batch_shape": list(layer.batch_shape), "dtype": layer.data_dtype or dtype, "sparse": False,
            "ragged": False, "name": layer.name, "optional": False,
        }  # fmt: skip
        return _record("keras.layers", "InputLayer", config)
    made = _written(layer._label, "keras.layers", layer.record(), layer)
    if layer.input_shape is not None:
        made["build_config"] = {"input_shape": list(layer.input_shape)}
    return made


def _record(module: str | None, name: str, config: dict[str, Any]) -> dict[str, Any]:
    if ">" in name:  # one of the user's own
        return {"module": None, "class_name": name.rpartition(">")[2], "config": config, "registered_name": name}
    return {"module": module, "class_name": name, "config": config, "registered_name": None}


def _policy(dtype: str) -> dict[str, Any]:
    return _record("keras", "DTypePolicy", {"name": dtype})


def _written(label: str, module: str, record: dict[str, Any], made: Any = None) -> dict[str, Any]:
    """A record of nblstm's in Keras's form; ``made`` is the object that gave it, if it holds others."""
    name, config = record["class_name"], {}
    if name in ONLY_HERE:
        raise ValueError(f"{label} is of the class {name}, which Keras has not; {INSTEAD}")
    for key, value in record["config"].items():
        if key in NOT_WRITTEN and ">" not in name:
            if NOT_WRITTEN[key] is not None and value != NOT_WRITTEN[key]:
                raise ValueError(f"{label} has {key}={value!r}, which Keras has not; {INSTEAD}")
            continue
        if key == "trainable" and value is True:  # Keras's default, which some of its classes do not take
            continue
        config[key] = _value(label, key, value, getattr(made, key, None))
    return _record(module, name, config)


def _value(label: str, key: str, value, made) -> Any:
    if key == "dtype" and isinstance(value, str):
        return _policy(value)
    if isinstance(value, str) and value == "hard_sigmoid_keras2":
        raise ValueError(f"{label} has the hard_sigmoid of Keras 1 and 2, which Keras 3 has not; {INSTEAD}")
    if custom.is_name(value):
        return _function(value)
    if isinstance(made, Layer):
        return layer_record(made)
    if isinstance(value, dict) and "class_name" in value:
        module = next((module for end, module in MODULES.items() if key.endswith(end)), None)
        return _written(label, str(module), value)
    return value


def _function(name: str) -> dict[str, Any]:
    """A function of the user's own, by its name."""
    registered = name.rpartition(">")[2] if name.startswith(custom.CUSTOM) else name
    return {"module": "builtins", "class_name": "function", "config": registered, "registered_name": "function"}


def compile_config(model: Sequential) -> dict[str, Any] | None:
    """The arguments of Keras's `compile`; None for a model that is not compiled."""
    if not model.compiled:
        return None
    if model._bptt_steps is not None:
        raise ValueError(f"the model is compiled with bptt_steps, which Keras has not; {INSTEAD}")
    objective: Any = model.objective
    optimizer: Any = model.optimizer
    if callable(optimizer._learning_rate) and not isinstance(optimizer._learning_rate, Configured):
        raise ValueError(f"the learning rate is a function of your own, which Keras's files have not; {INSTEAD}")
    return {
        "optimizer": _written("the optimizer", "keras.optimizers", optimizer.record()),
        "loss": _loss(objective.loss),
        "loss_weights": None,
        "metrics": [_metric(metric) for metric in objective.metrics] or None,
        "weighted_metrics": [_metric(metric) for metric in objective.weighted_metrics] or None,
        "run_eagerly": False,
        "steps_per_execution": 1,
        "jit_compile": "auto",
    }


def _loss(loss) -> dict[str, Any]:
    record = loss.record()
    if isinstance(loss, LossFunction):
        return _function(record["config"]["fn"])
    return _written("the loss", "keras.losses", record)


def _metric(metric) -> Any:
    if type(metric) is Accuracy:
        if metric.name not in ("accuracy", "acc"):
            raise ValueError(f"the metric {metric.name!r} is an accuracy, which Keras calls so; name it 'accuracy'")
        return metric.name
    if isinstance(metric, MetricFunction):
        return _function(metric.record()["config"]["fn"])
    if type(metric) is LossMetric:
        return _metric_of_loss(metric)
    return _written(f"the metric {metric.name!r}", "keras.metrics", metric.record())


def _metric_of_loss(metric: LossMetric) -> Any:
    """A loss among the metrics: Keras's metric of that name, where there is one, as old files have no losses there."""
    record = metric.loss.record()
    cls = METRICS.classes.get(record["class_name"])
    if isinstance(metric.loss, LossFunction):
        return _loss(metric.loss)
    if cls is None:
        return _written("the loss", "keras.losses", record | {"config": record["config"] | {"name": metric.name}})
    known = constructor_arguments(cls)
    config = {key: value for key, value in record["config"].items() if key in known} | {"name": metric.name}
    return _written(f"the metric {metric.name!r}", "keras.metrics", {"class_name": cls.__name__, "config": config})
