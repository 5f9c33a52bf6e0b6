"""Parameters of a model that one thread sets and others use: all old or all new, never some of each."""

import copy
import pickle
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from nblstm import nn
from nblstm.layers import LSTM, Dense, Input, TimeDistributed
from nblstm.models import Sequential, clone_model, load_model, snapshot

X = np.random.default_rng(0).normal(size=(50, 3, 4)).astype("f4")


def made(stateful=False):
    announced = Input((3, 4), batch_size=50 if stateful else None)
    model = Sequential([announced, LSTM(40, stateful=stateful), Dense(60), Dense(60), Dense(1)], seed=0)
    model.compile("sgd", "mse")
    return model


def setter(kind, model, tmp_path):
    """Two settings of the parameters, and what sets them."""
    both = [[np.full_like(w, value) for w in model.get_weights()] for value in (0.01, 0.02)]
    if kind == "set_weights":
        return [lambda given=given: model.set_weights(given) for given in both]
    for k, given in enumerate(both):
        model.set_weights(given)
        model.save_weights(tmp_path / str(k))
        both[k] = model.state()
    if kind == "load_state":
        return [lambda given=given: model.load_state(given) for given in both]
    return [lambda k=k: model.load_weights(tmp_path / str(k)) for k in range(2)]


READS = {
    "predict": lambda model: model.predict(X, verbose=0),
    "predict in batches": lambda model: model.predict(X, batch_size=20, verbose=0),
    "predict_on_batch": lambda model: model.predict_on_batch(X),
    "call": lambda model: model(X),
    "evaluate": lambda model: np.array(model.evaluate(X, X[:, 0, :1], batch_size=20, verbose=0)),
    "get_weights": lambda model: np.concatenate([w.ravel() for w in model.get_weights()]),
    "state": lambda model: np.concatenate([w.ravel() for layer in model.state()["weights"] for w in layer.values()]),
}


@pytest.mark.parametrize("kind", ["set_weights", "load_state", "load_weights"])
def test_all_old_or_all_new(kind, tmp_path):
    model = made()
    setters = setter(kind, model, tmp_path)
    expected = {name: [] for name in READS}
    for put in setters:
        put()
        for name, read in READS.items():
            expected[name].append(read(model))
    stop, mixed, seen = time.perf_counter() + 1, [], {name: set() for name in READS}

    def use(name):
        while time.perf_counter() < stop:
            found = READS[name](model)
            which = [k for k, right in enumerate(expected[name]) if np.array_equal(found, right)]
            seen[name].update(which)
            if not which:
                mixed.append(name)

    threads = [threading.Thread(target=use, args=(name,)) for name in READS]
    for thread in threads:
        thread.start()
    while time.perf_counter() < stop:
        for put in setters:
            put()
    for thread in threads:
        thread.join()
    assert mixed == []
    assert set.union(*seen.values()) == {0, 1}


def test_a_stateful_model_passes_over_each_batch_once():
    """With other parameters set all the time, states go on as those of one batch after the other."""
    model, other = made(stateful=True), made(stateful=True)
    weights = model.get_weights()
    other.set_weights(weights)
    stop = threading.Event()

    def put():
        while not stop.is_set():
            model.set_weights(weights)

    thread = threading.Thread(target=put)
    thread.start()
    try:
        for _ in range(50):
            assert np.array_equal(
                model.predict(X, batch_size=50, verbose=0), other.predict(X, batch_size=50, verbose=0)
            )
    finally:
        stop.set()
        thread.join()


def test_a_file_has_the_parameters_of_one_moment(tmp_path):
    model = made()
    setters = setter("set_weights", model, tmp_path)
    setters[0]()
    stop = threading.Event()

    def put():
        while not stop.is_set():
            for each in setters:
                each()

    thread = threading.Thread(target=put)
    thread.start()
    try:
        for _ in range(10):
            model.save(tmp_path / "m")
            assert len({w.ravel()[0] for w in load_model(tmp_path / "m").get_weights()}) == 1
    finally:
        stop.set()
        thread.join()


def test_setting_that_fails_is_never_seen():
    model = made()
    before, wrong = model.predict(X, verbose=0), [2 * w for w in model.get_weights()]
    wrong[-1] = np.zeros(7)
    stop, results = threading.Event(), []

    def use():
        while not stop.is_set():
            results.append(np.array_equal(model.predict(X, verbose=0), before))

    thread = threading.Thread(target=use)
    thread.start()
    for _ in range(100):
        with pytest.raises(ValueError, match="has shape"):
            model.set_weights(wrong)
    stop.set()
    thread.join()
    assert all(results)


def test_the_setting_thread_may_use_the_model():
    model = made()
    with model._parameters_lock.writing():
        assert np.array_equal(model.predict(X, verbose=0), model(X))
        model.set_weights(model.get_weights())
    assert model._parameters_lock._begun == model._parameters_lock._ended


@contextmanager
def being_set(model):
    """Another thread sets one of two values for all parameters, in turn."""
    both = [[np.full_like(w, value) for w in model.get_weights()] for value in (1, 2)]
    model.set_weights(both[0])
    stop = threading.Event()

    def put():
        while not stop.is_set():
            for given in both:
                model.set_weights(given)

    thread = threading.Thread(target=put)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


WAYS = {
    "copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "state_dict": lambda layer: layer,
}  # fmt: skip


@pytest.mark.parametrize("way", ["copy", "deepcopy", "pickle"])
def test_a_copy_has_the_parameters_of_one_moment(way):
    model = made()
    with being_set(model):
        for _ in range(40):
            other = WAYS[way](model)
            assert len({value for w in other.get_weights() for value in (w.min(), w.max())}) == 1
            assert not np.shares_memory(other.layers[0].flat_parameters(), model.layers[0].flat_parameters())
            assert other.layers[0].name == model.layers[0].name


@pytest.mark.parametrize("way", ["copy", "deepcopy", "pickle", "state_dict"])
@pytest.mark.parametrize("kind", [Dense, lambda units: TimeDistributed(Dense(units))])
def test_a_copy_of_a_layer_has_the_parameters_of_one_moment(kind, way):
    layer = kind(1000)
    layer.build((None, 3, 2000))
    with being_set(layer):
        for _ in range(10):
            values = WAYS[way](layer).state_dict()["kernel"]
            assert values.min() == values.max()


def test_a_clone_is_made_while_parameters_are_set():
    model = made()
    with being_set(model):
        for _ in range(20):
            assert np.abs(clone_model(model).get_weights()[0]).max() < 1  # drawn anew


def test_a_copy_of_what_refers_to_its_model():
    """Neither way of copying goes round in circles, and what is shared within stays shared."""
    model = made()
    model.fit(X, X[:, 0, :1], verbose=0)
    model.mine = [model, model.layers[0]]
    for way in (copy.deepcopy, WAYS["pickle"]):
        other = way(model)
        assert other.mine[0] is other
        assert other.mine[1] is other.layers[0]
        assert all(one is layer for one, layer in zip(other.optimizer.modules, other.layers, strict=True))
    pair = copy.deepcopy((model, model.layers[0]))
    assert pair[0].layers[0] is pair[1]


def test_a_file_of_wrong_numbers_changes_nothing(tmp_path):
    """Shapes fit, and the last layer's numbers are none: the first layers stay as they are."""
    model = made()
    model.save_weights(tmp_path / "m")
    before = model.get_weights()
    model.set_weights([w + 1 for w in before])
    wrong = [layer.state_dict() for layer in model.layers]
    wrong[-1] = {name: value.astype(complex) for name, value in wrong[-1].items()}
    now = model.get_weights()
    with pytest.raises((TypeError, ValueError), match="complex"):
        snapshot.set_parameters(model, wrong)
    assert all(map(np.array_equal, model.get_weights(), now))
    model.load_weights(tmp_path / "m")
    assert all(map(np.array_equal, model.get_weights(), before))


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_a_network_has_the_parameters_of_one_moment(way):
    net = nn.Linear(1000, 2000, seed=0)
    both = [{name: np.full_like(value, k) for name, value in net.state_dict().items()} for k in (1, 2)]
    net.load_state_dict(both[0])
    stop = threading.Event()

    def put():
        while not stop.is_set():
            for given in both:
                net.load_state_dict(given)

    thread = threading.Thread(target=put)
    thread.start()
    try:
        for _ in range(10):
            values = WAYS[way](net).state_dict()["weight"]
            assert values.min() == values.max()
    finally:
        stop.set()
        thread.join()
