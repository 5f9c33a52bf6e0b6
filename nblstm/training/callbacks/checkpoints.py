"""Callbacks that save: the model, or everything that a fit needs to go on after it was killed."""

from __future__ import annotations

import numbers
import os
from pathlib import Path
from typing import Any

from nblstm.arguments import validate
from nblstm.files import archive, atomic, content, formats
from nblstm.process.show import show, warn
from nblstm.training.callbacks.base_callback import Callback
from nblstm.training.callbacks.monitors import Monitor, threshold


class ModelCheckpoint(Monitor):
    """Saves the model after each epoch, or after each so many batches.

    Parameters
    ----------
    filepath : str or PathLike
        May have fields, as in ``"{epoch:02d}-{val_loss:.2f}.nblstm"``: epoch, counted from 1, batch, and names in the
        logs. Folders are made. The name's end says the format, as in `Sequential.save` and `Sequential.save_weights`.
    monitor : str, default "val_loss"
    verbose : int, default 0
        1 prints what it does.
    save_best_only : bool, default False
        Whether it saves only if the number monitored is better than ever before.
    save_weights_only : bool, default False
        Whether the parameters are saved alone.
    mode : {"auto", "min", "max"}
    save_freq : "epoch" or int, default "epoch"
        Batches from one save to the next.
    initial_value_threshold : float, optional
        Value that the first one has to be better than, to be the best.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; when a fit begins, if the model cannot be saved; in the course of a fit, if
        filepath has a field that is not in the logs.
    """

    changing = {"best": numbers.Real | None, "epoch": int, "batches": int}  # noqa: RUF012

    def __init__(
        self, filepath, monitor: str = "val_loss", verbose: int = 0, save_best_only: bool = False,
        save_weights_only: bool = False, mode: str = "auto", save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ):  # fmt: skip
        super().__init__(monitor, mode)
        self.filepath, self.verbose = validate.path("filepath", filepath), verbose
        self.save_best_only = validate.flag("save_best_only", save_best_only)
        self.save_weights_only = validate.flag("save_weights_only", save_weights_only)
        formats.suffix_of_model("filepath", self.filepath, self.save_weights_only)
        self.save_freq = _frequency(save_freq)
        self.best = threshold("initial_value_threshold", initial_value_threshold)
        self.epoch = self.batches = 0

    def on_train_begin(self, logs=None) -> None:
        """See that the model can be saved: now, and not behind the first epoch."""
        try:
            self.model.need_savable(self.filepath, self.save_weights_only)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{error}; or let ModelCheckpoint have save_weights_only=True") from None

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Take note of the epoch."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        """Save, if so many batches are done."""
        if self.save_freq == "epoch":
            return
        self.batches += 1
        if self.batches >= self.save_freq:
            self.batches = 0
            self._save(self.epoch, {"batch": batch + 1, **(logs or {})})

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Save, unless that is done by batches."""
        if self.save_freq == "epoch":
            self._save(epoch, logs or {})

    def _save(self, epoch: int, logs: dict[str, Any]) -> None:
        fields = {"epoch": epoch + 1, **logs}
        try:
            path = Path(self.filepath.format(**fields))
        except (KeyError, IndexError) as error:
            raise ValueError(
                f"filepath {self.filepath!r} has the field {error}; there are {', '.join(fields)}"
            ) from None
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"filepath {self.filepath!r} has a field that does not fit what is measured: {error}; let it be a "
                "number, and its format one of numbers, such as {epoch:02d} or {val_loss:.3f}"
            ) from None
        if self.save_best_only and not self._is_best(epoch, logs):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        (self.model.save_weights if self.save_weights_only else self.model.save)(path)
        if self.verbose:
            show(f"Epoch {epoch + 1}: saved the model to {path}")

    def _is_best(self, epoch: int, logs: dict[str, Any]) -> bool:
        if self.monitor not in logs:
            warn(f"ModelCheckpoint monitors {self.monitor!r}, which is not among {', '.join(logs)}, so it saves always")
            return True
        value = self.number(logs)
        better = self.improves(value, self.best)
        if self.verbose:
            before = "nothing" if self.best is None else f"{self.best:.5f}"
            change = f"improved from {before} to {value:.5f}" if better else f"did not improve from {before}"
            show(f"Epoch {epoch + 1}: {self.monitor} {change}")
        if better:
            self.best = value
        return better


class BackupAndRestore(Callback):
    """Makes a fit that was killed go on where it was, and end in the same bits as one that was not.

    Call `fit` again with the same model, data and arguments, among them the same callbacks in the same order, also
    those that keep nothing: it begins with what the backup has. That is the parameters, the optimizer's state, all
    states of randomness, epoch and place in it, metrics and history, and what other callbacks keep. When the fit ends,
    the backup is deleted.

    Parameters
    ----------
    backup_dir : str or PathLike
        A folder for this fit alone; made if it is not there.
    save_freq : "epoch" or int, default "epoch"
        Batches from one backup to the next.
    double_checkpoint : bool, default False
        Whether the backup before the last is kept too, and used if the last is damaged.
    delete_checkpoint : bool, default True
        Whether the backup is deleted when the fit ends; Ctrl-C does not delete it.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; when a fit begins, if the backup is damaged or of another fit.
    NotADirectoryError
        When a fit begins, if ``backup_dir`` is a file.

    Notes
    -----
    Data from a generator has to come again as it came: batches that were seen are passed over.
    """

    def __init__(
        self, backup_dir, save_freq: str | int = "epoch", double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ):  # fmt: skip
        super().__init__()
        self.backup_dir, self.save_freq = Path(validate.path("backup_dir", backup_dir)), _frequency(save_freq)
        self.double_checkpoint = validate.flag("double_checkpoint", double_checkpoint)
        self.delete_checkpoint = validate.flag("delete_checkpoint", delete_checkpoint)
        self._batches = 0

    @property
    def path(self) -> Path:
        """The file of the last backup."""
        return self.backup_dir / "latest.nblstm"

    @property
    def previous(self) -> Path:
        """The file of the backup before it."""
        return self.backup_dir / "previous.nblstm"

    def restore(self, loop) -> None:
        """Set the loop to the state in the backup, if there is one; the model is unchanged if that fails.

        The states of callbacks and metrics are looked at first: one that cannot be written would end the fit at the
        first backup.
        """
        self._batches = 0
        if self.backup_dir.exists() and not self.backup_dir.is_dir():
            raise NotADirectoryError(f"backup_dir is {str(self.backup_dir)!r}, which is a file; give a folder's path")
        for part in (*loop.callbacks.callbacks, *self.model.metrics):
            try:
                archive.check_content({"state": part.state()})
            except (TypeError, AttributeError) as error:  # the latter of a metric that has sums of its own
                raise TypeError(f"the state() of {type(part).__name__} cannot be backed up: {error}") from None
        there = [path for path in (self.path, self.previous) if path.exists()]
        for path in there:
            try:
                backup = archive.read(path, "backup")
            except ValueError as error:
                if path is there[-1]:
                    raise
                warn(f"{error}; the backup before it is used")
                continue
            try:
                loop.load_state(backup)
            except content.FAULTS as error:
                reason = content.reason(error, "a fit")
                raise ValueError(
                    f"the backup {str(path)!r} is not of this fit: {reason}; delete it, or give another backup_dir"
                ) from error
            return

    def after_batch(self, loop) -> None:
        """Back up, if so many batches are done."""
        if self.save_freq == "epoch":
            return
        self._batches += 1
        if self._batches >= self.save_freq and not self.model.stop_training:
            self.back_up(loop)

    def after_epoch(self, loop) -> None:
        """Back up, unless that is done by batches."""
        if self.save_freq == "epoch":
            self.back_up(loop)

    def back_up(self, loop) -> None:
        """Write everything that the loop needs to go on from here."""
        self._batches = 0
        self.backup_dir.mkdir(parents=True, exist_ok=True)
        if self.double_checkpoint and self.path.exists():
            os.replace(self.path, self.previous)
        archive.write(self.path, "backup", loop.state())

    def finished(self) -> None:
        """Delete the backup, if that is wanted, and its folder if it has nothing else."""
        if self.delete_checkpoint and self.backup_dir.is_dir():
            for path in (self.path, self.previous, *self.backup_dir.glob(atomic.PARTIAL.format(self.path.name, "*"))):
                path.unlink(missing_ok=True)
            if not any(self.backup_dir.iterdir()):
                self.backup_dir.rmdir()


def _frequency(save_freq) -> Any:
    if isinstance(save_freq, str) and save_freq == "epoch":
        return save_freq
    return validate.positive_integer("save_freq", save_freq, "give 'epoch', or a number of batches, 1 or more")
