"""Metrics of sums: counts, precision, recall, AUC, F1 and R2, by hand; weights, masks, arguments, logs."""

import json

import numpy as np
import pytest

from nblstm.layers import LSTM, Dense, Input
from nblstm.models import Sequential
from nblstm.training import callbacks, metrics

Y, P = np.array([0, 1, 1, 1, 0]), np.array([0.6, 0.7, 0.2, 0.5, 0.1])


def updated(metric, *batch, **options):
    metric.update_state(*batch, **options)
    return metric.result()


def test_counts_by_hand():
    assert updated(metrics.TruePositives(), Y, P) == 1  # 0.5 is not above 0.5
    assert updated(metrics.FalsePositives(), Y, P) == 1
    assert updated(metrics.TrueNegatives(), Y, P) == 1
    assert updated(metrics.FalseNegatives(), Y, P) == 2
    assert updated(metrics.TruePositives(thresholds=[0.6, 0.1, 0.9]), Y, P).tolist() == [1, 3, 0]
    assert updated(metrics.TruePositives(), Y, P, sample_weight=[1, 2, 3, 4, 5]) == 2
    assert updated(metrics.Precision(), Y, P) == 0.5
    assert updated(metrics.Recall(), Y, P) == pytest.approx(1 / 3)
    assert updated(metrics.Precision(), [0, 1], [0.1, 0.2]) == 0.0  # nothing is predicted


def test_thresholds_are_compared_in_the_predictions_dtype():
    """0.1 of float32 is larger than the number 0.1."""
    for dtype in ("float32", "float64"):
        assert updated(metrics.FalsePositives(thresholds=0.1), [0.0], np.array([0.1], dtype)) == 0


def test_nan_is_predicted_as_nothing():
    assert updated(metrics.TruePositives(thresholds=[0, 0.5]), [1, 1], [np.nan, 0.9]).tolist() == [1, 1]


def test_shapes_of_targets_and_weights():
    y, p = np.array([[0, 1, 1], [1, 0, 0]]), np.array([[0.9, 0.8, 0.1], [0.7, 0.2, 0.6]])
    assert updated(metrics.TruePositives(), y, p) == 2
    assert updated(metrics.TruePositives(), y[..., None], p, sample_weight=[2, 3]) == 5
    assert updated(metrics.TruePositives(), y, p[..., None], sample_weight=[[1, 2, 3], [4, 5, 6]]) == 6
    assert updated(metrics.TruePositives(), y, p[..., None], mask=[[True, False, True], [True] * 3]) == 1
    assert updated(metrics.Precision(class_id=0), y, p, mask=[False, True]) == 1.0


def test_the_largest_predictions_of_a_row():
    y, p = [[0, 0, 1, 1]], [[0.9, 0.3, 0.8, 0.1]]
    assert updated(metrics.Recall(top_k=2), y, p) == 0.5
    assert updated(metrics.Recall(top_k=2, class_id=2), y, p) == 1.0
    assert updated(metrics.Recall(top_k=1, class_id=2), y, p) == 0.0
    assert updated(metrics.Precision(top_k=3), y, np.array(p) - 5) == pytest.approx(1 / 3)  # logits


def test_auc_by_hand():
    """The example of Keras's documentation, and the exact area: the part of pairs in the right order."""
    assert updated(metrics.AUC(num_thresholds=3), [0, 0, 1, 1], [0, 0.5, 0.3, 0.9]) == pytest.approx(0.75)
    rng = np.random.default_rng(0)
    y, p = rng.random(50) < 0.4, rng.random(50).round(2)
    pairs = [(a > b) + 0.5 * (a == b) for a in p[y] for b in p[~y]]
    steps = (np.arange(-1, 100) + 0.5) / 100
    assert updated(metrics.AUC(thresholds=steps[1:]), y, p) == pytest.approx(np.mean(pairs), rel=1e-12)
    logits = np.log(p + 0.01) - np.log(1.01 - p)
    exact = updated(metrics.AUC(1000, from_logits=True), y, logits)
    assert exact == pytest.approx(np.mean(pairs), abs=0.01)


def test_f1_and_r2_by_hand():
    y, p = np.eye(3)[[0, 1, 2, 2]], np.eye(3)[[0, 2, 2, 1]] * 0.7 + 0.1
    assert updated(metrics.F1Score(), y, p) == pytest.approx([1, 0, 0.5], abs=1e-6)
    assert updated(metrics.F1Score("macro"), y, p) == pytest.approx(0.5, abs=1e-6)
    assert updated(metrics.F1Score("micro"), y, p) == pytest.approx(0.5, abs=1e-6)
    assert updated(metrics.F1Score("weighted"), y, p) == pytest.approx(0.5, abs=1e-6)
    assert updated(metrics.F1Score(), y, 0 * p).tolist() == [0, 0, 0]
    assert updated(metrics.F1Score(threshold=0.5), [0, 1, 1], [[0.2], [0.7], [0.4]]) == pytest.approx(2 / 3, abs=1e-6)
    assert updated(metrics.R2Score(), [1, 4, 3], [2.0, 4.0, 4.0]) == pytest.approx(1 - 2 / (14 / 3))
    assert updated(metrics.R2Score(), [[1], [4], [3]], [[1.0], [4.0], [3.0]]) == 1.0
    assert updated(metrics.R2Score(), [2, 2], [1.0, 2.0]) == 0.0  # the targets do not vary


def test_an_adjusted_score_of_few_numbers():
    metric = metrics.R2Score(num_regressors=2)
    metric.update_state([1, 4, 3], [2.0, 4.0, 4.0])
    with pytest.warns(UserWarning, match="needs more than 3 numbers for 2 regressors, and has 3"):
        assert metric.result() == pytest.approx(1 - 2 / (14 / 3))


@pytest.mark.parametrize("name", ["auc", "precision", "recall", "f1_score", "r2_score", "true_positives", "AUC"])
def test_names(name):
    metric = metrics.get(name)
    assert metric.name == name
    assert metric.result() == 0.0
    assert metric.direction == "max"


@pytest.mark.parametrize(
    "metric",
    [
        metrics.AUC(20, "pr", "Majoring", multi_label=True, num_labels=2, label_weights=[1, 2]),
        metrics.AUC(thresholds=np.array([0.2, 0.1])), metrics.Precision([0.2, 0.7], top_k=2),
        metrics.Recall(class_id=1), metrics.F1Score("macro", 0.3), metrics.FBetaScore(beta=3), metrics.R2Score(None, 2),
        metrics.FalseNegatives(np.array([0.1, 0.2])), metrics.CosineSimilarity(axis=-1),
    ],
)  # fmt: skip
def test_a_configuration_makes_the_same_metric(metric):
    record = metric.record()
    again = metrics.get(json.loads(json.dumps(record)))
    assert again.record() == record
    y, p = np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[0.8, 0.3], [0.15, 0.6]])
    np.testing.assert_array_equal(updated(metric, y, p), updated(again, y, p))


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: metrics.Precision(1.5), ValueError, "thresholds is 1.5; give a number, 0 or more and at most 1"),
        (
            lambda: metrics.Precision([]),
            ValueError,
            r"thresholds is \[\]; give a number from 0 to 1, or a list of some",
        ),
        (lambda: metrics.Recall("a"), TypeError, "thresholds is 'a'"),
        (lambda: metrics.Recall(top_k=0), ValueError, "top_k is 0"),
        (lambda: metrics.Recall(class_id=-1), ValueError, "class_id is -1"),
        (
            lambda: metrics.Recall(class_id=2)([[1, 0]], [[0.5, 0.5]]),
            ValueError,
            "metric 'recall': class_id is 2 and y",
        ),
        (lambda: metrics.Recall(top_k=3)([[1, 0]], [[0.5, 0.5]]), ValueError, r"top_k is 3 and y_pred has .*\(1, 2\)"),
        (lambda: metrics.Recall(top_k=1)([1, 0], [0.5, 0.5]), ValueError, "give rows of classes"),
        (lambda: metrics.AUC(1), ValueError, "num_thresholds is 1"),
        (lambda: metrics.AUC(curve="roc2"), ValueError, r"curve is 'ROC2' .did you mean 'ROC'\?.; give one of"),
        (lambda: metrics.AUC(summation_method="x"), ValueError, "summation_method is 'x'; give one of interpolation"),
        (lambda: metrics.AUC(thresholds=0.5), TypeError, "thresholds is 0.5; give a list"),
        (lambda: metrics.AUC(num_labels=2), ValueError, "num_labels is 2 without multi_label=True"),
        (
            lambda: metrics.AUC(label_weights=[1])([[1, 0]], [[0.5, 0.5]]),
            ValueError,
            "rows need 1 numbers, one for each",
        ),
        (lambda: metrics.AUC(multi_label=True)([1, 0], [0.5, 0.5]), ValueError, "one for each label"),
        (lambda: metrics.F1Score("mean"), ValueError, "average is 'mean'; give one of micro, macro, weighted"),
        (lambda: metrics.F1Score(threshold=0), ValueError, "threshold is 0; give a number above 0"),
        (lambda: metrics.FBetaScore(beta=0), ValueError, "beta is 0"),
        (lambda: metrics.F1Score()([0, 1], [[0.5, 0.5]] * 2), ValueError, r"y_true has shape \(2,\)"),
        (lambda: metrics.R2Score("mean"), ValueError, "class_aggregation is 'mean'"),
        (lambda: metrics.R2Score(num_regressors=-1), ValueError, "num_regressors is -1"),
        (
            lambda: metrics.AUC()([0, 1], [0.1, 0.2], sample_weight=[1, np.inf]),
            ValueError,
            "sample_weight contains inf",
        ),
    ],
)
def test_arguments(make, error, said):
    with pytest.raises(error, match=said):
        make()


@pytest.mark.parametrize("metric", [metrics.F1Score(), metrics.R2Score(None), metrics.AUC(multi_label=True)])
def test_states_and_batches_that_do_not_fit(metric):
    y, p = np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[0.8, 0.3], [0.15, 0.6]])
    before = updated(metric, y, p)
    with pytest.raises(ValueError, match=rf"metric '{metric.name}' has seen 2 outputs and y_pred has 1"):
        metric.update_state(y[:, :1], p[:, :1])
    np.testing.assert_array_equal(metric.result(), before)
    state = metric.state()
    field = next(iter(state))
    for wrong in (np.zeros((3, 1)), np.zeros((4, 2), "f4"), 5):
        with pytest.raises(ValueError, match="metric"):
            metric.load_state(state | {field: wrong})
    np.testing.assert_array_equal(metric.result(), before)


# --- in a fit -------------------------------------------------------------------------------------


def model_of(measured, classes=3):
    model = Sequential([Input((4, 2)), LSTM(3), Dense(classes, "sigmoid")], seed=0)
    model.compile("adam", "binary_crossentropy", metrics=measured)
    return model


def data(classes=3):
    rng = np.random.default_rng(1)
    return rng.normal(size=(20, 4, 2)), (rng.random((20, classes)) < 0.5).astype(float)


def test_names_and_numbers_in_the_logs(tmp_path, capsys):
    x, y = data()
    model = model_of(["auc", metrics.Precision(), metrics.F1Score(), metrics.AUC(curve="PR")])
    file = tmp_path / "log.csv"
    history = model.fit(x, y, epochs=2, verbose=2, validation_split=0.2, callbacks=[callbacks.CSVLogger(file)]).history
    names = ["loss", "auc", "precision", "f1_score", "auc_1"]
    assert list(history) == [*names, *(f"val_{name}" for name in names)]
    assert all(isinstance(value, float) for value in history["auc"])
    assert all(value.shape == (3,) for value in history["f1_score"])
    last = history["f1_score"][-1]
    assert f"f1_score: {last.mean():.4f}" in capsys.readouterr().out
    assert str(last.tolist()) in file.read_text()
    found = dict(zip(names, model.evaluate(x, y, verbose=0), strict=True))
    p = model.predict(x, verbose=0)
    for name, metric in (("auc", metrics.AUC()), ("f1_score", metrics.F1Score()), ("precision", metrics.Precision())):
        np.testing.assert_allclose(found[name], updated(metric, y, p), rtol=1e-12)


def test_an_array_is_not_monitored():
    x, y = data()
    stopping = [callbacks.EarlyStopping("f1_score", mode="max")]
    model = model_of([metrics.F1Score()])
    with pytest.raises(TypeError, match=r"EarlyStopping monitors 'f1_score', which is array\(.*let it be a number"):
        model.fit(x, y, verbose=0, callbacks=stopping)


def test_a_fit_that_is_taken_up_again_measures_the_same(tmp_path):
    """In the middle of an epoch, and arrays of the epochs before are in the history."""
    x, y = data()
    measured = ["auc", "f1_score", "r2_score", metrics.Recall([0.4, 0.6])]
    whole = model_of(measured).fit(x, y, 3, 3, verbose=0).history

    def stop(batch, logs):
        seen.append(batch)
        if len(seen) == 11:
            raise InterruptedError

    def fit():
        backup = callbacks.BackupAndRestore(tmp_path / "backup", save_freq=2)
        stopping = callbacks.LambdaCallback(on_train_batch_end=stop)
        return model_of(measured).fit(x, y, 3, 3, verbose=0, callbacks=[backup, stopping]).history

    seen = []
    with pytest.raises(InterruptedError):
        fit()
    resumed = fit()
    assert len(seen) < 11 + 20  # it was not begun anew
    assert list(resumed) == list(whole)
    for name, values in whole.items():
        np.testing.assert_array_equal(resumed[name], values)
