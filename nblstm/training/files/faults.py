"""What is raised where a file is damaged, and what is not its fault."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib

#: What zipfile, numpy.lib.format, json, and what is made of a file's content, raise where it is damaged. Other
#: exceptions are not the file's fault, as those of a signal's handler.
FAULTS = (
    ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, ImportError, LookupError, MemoryError,
    NameError, OSError, RuntimeError, SyntaxError, TypeError, ValueError, struct.error, tokenize.TokenError,
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error,
)  # fmt: skip


def raise_if_timed_out(error: Exception) -> None:
    """Raise what no file can be the reason of though it is one of `FAULTS`: a handler's time limit."""
    if isinstance(error, TimeoutError) and error.errno is None:
        raise error
