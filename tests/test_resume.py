"""A fit that is killed and called again ends in the same bits as one that is not; Ctrl-C ends one cleanly."""

import json
import os
import random
import signal
import warnings

import numpy as np
import pytest
from messages import message_of
from mutations import mutated
from processes import run_python, start

from nblstm.layers import Dense, Dropout
from nblstm.models import Sequential
from nblstm.training import callbacks

#: Trains in a folder, in a process that kills itself after some batches and in others that go on; prints the end.
PROGRAM = """
import json, os, pathlib, signal, sys
import numpy as np
from nblstm.layers import Dense, Dropout, Input
from nblstm.models import Sequential
from nblstm.training import Adam, callbacks



class Killer(callbacks.Callback):
    def __init__(self, batches):
        super().__init__()
        self.batches, self.seen = batches, 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen == self.batches:
            os.kill(os.getpid(), signal.SIGKILL)



random = np.random.default_rng(0)
x = random.normal(size=(59, 5))
y = (x[:, 0] + x[:, 1] > random.normal(size=59)).astype(int)


def train(folder, kind, save_freq, kill):
    monitor, data, more = "val_loss", (x, y), {"validation_split": 0.2}
    if kind == "generator":
        batches = ((x[k : k + 8], y[k : k + 8]) for _ in range(20) for k in range(0, 48, 8))
        monitor, data, more = "loss", (batches,), {"steps_per_epoch": 6}
    # One source of dropout is the layer's own, one the model's, which also orders the samples.
    model = Sequential([Dense(8, "tanh"), Dropout(0.3), Dropout(0.2, seed=1), Dense(1, "sigmoid")], seed=2)
    model.compile(Adam(0.03), "binary_crossentropy", metrics=["accuracy"])
    history = model.fit(
        *data, batch_size=8, epochs=20, verbose=0, **more,
        callbacks=[
            callbacks.BackupAndRestore(folder / "backup", save_freq=save_freq),
            callbacks.EarlyStopping(monitor, patience=3, restore_best_weights=True),
            callbacks.ReduceLROnPlateau(monitor, patience=1, factor=0.5),
            callbacks.CSVLogger(folder / "log.csv"),
            Killer(kill),
        ],
    )
    weights = [w.tolist() for w in model.get_weights()]
    return [history.epoch, history.history, model.optimizer.learning_rate, weights, (folder / "log.csv").read_text()]


folder, kind, save_freq, kills = pathlib.Path(sys.argv[1]), sys.argv[2], *map(json.loads, sys.argv[3:])
folder.mkdir()
for kill in kills:
    process = os.fork()
    if not process:
        train(folder, kind, save_freq, kill)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
print(json.dumps(train(folder, kind, save_freq, None)))
"""


def trained(folder, kind, save_freq, kills):
    """What the program prints when it was killed so often."""
    printed = json.loads(run_python(PROGRAM, str(folder), kind, json.dumps(save_freq), json.dumps(kills)))
    assert not (folder / "backup").exists()
    assert 5 < len(printed[0]) < 20
    return printed


def test_a_killed_fit_ends_in_the_same_bits(tmp_path):
    """Killed before the first backup, within epochs, at their ends, and soon after it was taken up again."""
    whole = trained(tmp_path / "whole", "arrays", "epoch", [])
    assert trained(tmp_path / "epochs", "arrays", "epoch", [2, 8, 10]) == whole
    assert trained(tmp_path / "batches", "arrays", 4, [3, 9, 6, 7, 4]) == whole


def test_data_from_a_generator_is_passed_over(tmp_path):
    killed = trained(tmp_path / "killed", "generator", 4, [7, 9])
    assert killed == trained(tmp_path / "whole", "generator", 4, [])


RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 3))
Y = X.sum(axis=1, keepdims=True)


def compiled(units=4, rate=0.0):
    model = Sequential([Dense(units, "relu"), Dropout(rate), Dense(1)], seed=1)
    model.compile("adam", "mse")
    model.build((None, 3))
    return model


class Stopper(callbacks.Callback):
    """Ends a fit as a crash would."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise RuntimeError("crashed")


def crashed(model, folder, **options):
    with pytest.raises(RuntimeError, match="crashed"):
        model.fit(X, Y, epochs=5, verbose=0, callbacks=[callbacks.BackupAndRestore(folder, **options), Stopper(3)])


def test_a_backup_of_another_fit_is_refused(tmp_path):
    crashed(compiled(), tmp_path / "b")
    before = (other := compiled(units=5)).get_weights()
    again = [callbacks.BackupAndRestore(tmp_path / "b"), Stopper(9)]
    with pytest.raises(ValueError, match=r"the backup .*latest.nblstm' is not of this fit: .* shapes .*; delete it"):
        other.fit(X, Y, epochs=5, verbose=0, callbacks=again)
    assert all(map(np.array_equal, other.get_weights(), before))
    with pytest.raises(ValueError, match="made with 24 samples in batches of 32, and now there are 20"):
        compiled().fit(X[:20], Y[:20], epochs=5, verbose=0, callbacks=again)
    with pytest.raises(ValueError, match="made with the callbacks BackupAndRestore, Stopper, History, and now there"):
        compiled().fit(X, Y, epochs=5, verbose=0, callbacks=again[:1])
    model = compiled()
    assert model.fit(X, Y, epochs=5, verbose=0, callbacks=again).epoch == [0, 1, 2, 3, 4]
    assert not (tmp_path / "b").exists()


def test_the_backup_before_a_damaged_one(tmp_path):
    crashed(compiled(), tmp_path / "b", double_checkpoint=True)
    latest = tmp_path / "b/latest.nblstm"
    latest.write_bytes(latest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="is damaged: .*; the backup before it is used"):
        compiled().fit(X, Y, epochs=5, verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path / "b"), Stopper(9)])
    crashed(compiled(), tmp_path / "c")
    latest = tmp_path / "c/latest.nblstm"
    latest.write_bytes(latest.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is damaged"):
        compiled().fit(X, Y, epochs=5, verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path / "c"), Stopper(9)])


def test_other_files_in_the_folder_stay(tmp_path):
    (tmp_path / "mine").write_text("keep")
    compiled().fit(X, Y, epochs=2, verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    compiled().fit(X, Y, epochs=2, verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest.nblstm", "mine"]


class Logging(callbacks.Callback):
    """Puts into the logs what a callback may: numbers of all kinds, arrays of some, and what is none."""

    def on_epoch_end(self, epoch, logs=None):
        logs |= {
            "numpy": np.float32(epoch), "whole": epoch, "none": None, "text": "good" if epoch else 1.0,
            "array": np.ones(3), "words": np.array(["a"]), "scalar": np.array(2.5), "huge": 10**400, "list": [1.0],
            "complex": 1j, 3: 1.0,
        }  # fmt: skip


def test_logs_that_are_no_numbers_do_not_lose_the_work(tmp_path):
    given = [callbacks.BackupAndRestore(tmp_path / "b"), Logging(), Stopper(3)]
    with pytest.raises(RuntimeError, match="crashed"):
        compiled().fit(X, Y, epochs=5, verbose=0, callbacks=given)
    given[2] = Stopper(9)
    history = compiled().fit(X, Y, epochs=5, verbose=0, callbacks=given)
    whole = compiled().fit(X, Y, epochs=5, verbose=0)
    assert history.epoch == [0, 1, 2, 3, 4]
    assert history.history["loss"] == whole.history["loss"]
    assert history.history["numpy"] == history.history["whole"] == [0, 1, 2, 3, 4]
    assert history.history["scalar"] == [2.5] * 5
    assert history.history["text"] == [1.0, "good", "good"]  # of the first epoch, and since it was taken up
    again = callbacks.History()
    again.load_state(history.state())
    assert set(again.history) == {"loss", "numpy", "whole", "text", "scalar", "array"}


class Keeping(callbacks.Callback):
    def __init__(self, kept):
        super().__init__()
        self.kept = kept

    def state(self):
        return self.kept


@pytest.mark.parametrize(
    ("kept", "said"),
    [({1: 2}, "keys"), ({"a": {1, 2}}, "type set"), ({"a": 1j}, "type complex"), ({"a": np.array(["b"])}, "dtype"),
     ({"a": np.datetime64("2026-01-01")}, "type date"), ({"a": 10**400}, "1329 bits")],
)  # fmt: skip
def test_a_state_that_cannot_be_written_is_said_before_the_first_epoch(kept, said, tmp_path):
    model = compiled()
    before = model.get_weights()
    given = [callbacks.BackupAndRestore(tmp_path / "b"), Keeping(kept)]
    message_of(
        TypeError, lambda: model.fit(X, Y, verbose=0, callbacks=given),
        "the state() of Keeping cannot be backed up: ", said,
    )  # fmt: skip
    assert all(map(np.array_equal, model.get_weights(), before))
    assert not (tmp_path / "b").exists()


def test_a_backup_that_cannot_be_read_does_not_replace_the_last_one(tmp_path, monkeypatch):
    crashed(compiled(), tmp_path / "b")
    path = tmp_path / "b/latest.nblstm"
    whole, write = path.read_bytes(), np.lib.format.write_array

    def broken(member, array, **options):
        write(member, array, **options)
        member.write(b"more")

    monkeypatch.setattr("numpy.lib.format.write_array", broken)
    with pytest.raises(ValueError, match="which is not its length"):
        compiled().fit(X, Y, epochs=5, verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path / "b"), Stopper(9)])
    assert path.read_bytes() == whole
    assert list(path.parent.iterdir()) == [path]


class Refusing(Stopper):
    """Does not take back its state, when all else has been taken."""

    def load_state(self, state):
        raise KeyError("missing")


@pytest.mark.parametrize("built", [True, False])
def test_a_restore_that_fails_leaves_the_model_as_it_was(built, tmp_path):
    given = [callbacks.BackupAndRestore(tmp_path / "b"), Refusing(3)]

    def batches():
        return ((X[:8], Y[:8]) for _ in range(99))

    def train(model, stop):
        return model.fit(batches(), epochs=5, steps_per_epoch=3, verbose=0, callbacks=[given[0], stop])

    def made():
        model = Sequential([Dense(4, "relu"), Dropout(0.5), Dense(1)], seed=1)
        model.compile("adam", "mse", metrics=["mae"])
        if built:
            model.build((None, 3))
        return model

    with pytest.raises(RuntimeError, match="crashed"):
        train(made(), given[1])
    model, other = made(), made()
    message_of(ValueError, lambda: train(model, given[1]), "is not of this fit: ", "(KeyError: 'missing')", "delete it")
    assert model.built == other.built == built
    for each in (model, other):  # goes on as one that nothing had been tried with
        each.fit(batches(), epochs=2, steps_per_epoch=3, verbose=0)
    assert model.optimizer.iterations == 6
    assert model.state().keys() == other.state().keys()
    assert all(map(np.array_equal, model.get_weights(), other.get_weights()))
    assert model.history.history == other.history.history


def test_mutations(tmp_path):
    """Whatever is changed in a backup: one sentence of one kind, and a model that is as it was."""

    class EndedError(Exception):
        pass

    class End(Stopper):
        def on_epoch_begin(self, epoch, logs=None):
            raise EndedError

    kinds = (callbacks.EarlyStopping("loss", patience=9), callbacks.ReduceLROnPlateau("loss"), callbacks.History())
    model = compiled()
    with pytest.raises(RuntimeError, match="crashed"):
        model.fit(X, Y, epochs=3, verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path), *kinds, Stopper(2)])
    path, chance = tmp_path / "latest.nblstm", random.Random(0)
    content, before, said = path.read_bytes(), archived(model), []
    for _ in range(150):
        path.write_bytes(mutated(content, chance))
        end = End(0)
        end.__class__.__name__ = "Stopper"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # zipfile's, of duplicate names
                model.fit(
                    X, Y, epochs=3, verbose=0,
                    callbacks=[callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False), *kinds, end],
                )  # fmt: skip
        except ValueError as error:
            said.append(str(error))
            assert archived(model) == before
        except EndedError:
            before = archived(model)
    assert len(said) > 100
    for message in said:
        assert repr(str(path)) in message
        assert "\n" not in message


def archived(model):
    """All of a model's state, as text."""
    return repr(model.state())


INTERRUPTED = """
import json, sys
import numpy as np
from nblstm.layers import Dense
from nblstm.models import Sequential
from nblstm.training import callbacks

x = np.random.default_rng(0).normal(size=(4000, 50))
model = Sequential([Dense(300, "tanh"), Dense(1)], seed=0)
model.compile("adam", "mse")
ended = []
tell = callbacks.LambdaCallback(
    on_epoch_end=lambda epoch, logs: print(epoch, flush=True), on_train_end=lambda logs: ended.append(1)
)
history = model.fit(x, x.sum(axis=1), epochs=10_000, verbose=0, callbacks=[tell])
consistent = model.optimizer.iterations % 1 == 0 and np.isfinite(model.predict(x, verbose=0)).all()
print(json.dumps([history.epoch, len(history.history["loss"]), ended, bool(consistent), model.optimizer.iterations]))
"""


def test_ctrl_c_ends_a_fit_cleanly():
    process = start(INTERRUPTED)
    while process.stdout.readline().strip() != "2":
        pass
    os.kill(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    epochs, losses, ended, consistent, iterations = json.loads(output.splitlines()[-1])
    assert epochs == list(range(losses))
    assert losses >= 3
    assert ended == [1]
    assert consistent
    assert (
        f"fit was interrupted in epoch {losses + 1} of 10000, after {iterations - losses * 125} of its batches"
        in errors
    )


def test_a_handler_of_the_users_own_is_left_alone():
    calls = []
    before = signal.signal(signal.SIGINT, lambda *_: calls.append(1))
    try:
        tell = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: os.kill(os.getpid(), signal.SIGINT))
        history = compiled().fit(X, Y, epochs=3, verbose=0, callbacks=[tell])
    finally:
        signal.signal(signal.SIGINT, before)
    assert (history.epoch, calls) == ([0, 1, 2], [1, 1, 1])


def test_a_backup_in_place_of_a_file_is_refused_before_training(tmp_path):
    (tmp_path / "w").write_text("mine")
    model = compiled()
    before = model.get_weights()
    backup = callbacks.BackupAndRestore(tmp_path / "w")
    with pytest.raises(NotADirectoryError, match=r"backup_dir is '.*w', which is a file; give a folder's path"):
        model.fit(X, Y, verbose=0, callbacks=[backup])
    assert all(map(np.array_equal, model.get_weights(), before))
    assert (tmp_path / "w").read_text() == "mine"
