"""Python in a process of its own, with the nblstm that the tests import."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import nblstm

# A shell starts what it runs behind it with Ctrl-C ignored, which processes pass on to those that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_PATHS = [str(Path(nblstm.__file__).parents[1]), str(Path(__file__).parent)]


def environment(**variables: str | None) -> dict[str, str]:
    """This process's variables with some set, or with None removed."""
    paths = [*_PATHS, *filter(None, [os.environ.get("PYTHONPATH")])]
    merged = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **variables}
    return {name: value for name, value in merged.items() if value is not None}


def start(code: str, *arguments: str, **variables: str | None) -> subprocess.Popen:
    """A process that runs ``code``."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=environment(**variables), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finished(process: subprocess.Popen, forgets: bool = False) -> str:
    """What a process printed, when it has ended well; with ``forgets`` it may say that exceptions are ignored."""
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, f"exit status {process.returncode}\n{output}\n{errors}"
    assert forgets or "Exception ignored" not in errors, errors
    assert "ResourceWarning" not in errors, errors
    return output


def run_python(code: str, *arguments: str, forgets: bool = False, **variables: str | None) -> str:
    """What ``code`` prints; for ``forgets`` see `finished`."""
    return finished(start(code, *arguments, **variables), forgets)
