"""Generated source: how it is run, and what its functions are called."""

from __future__ import annotations

import linecache
import re


def symbol(name: str) -> str:
    """A name in letters, digits and _ of ASCII alone, as symbols and files have it; at most 60 characters."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)[:60]


def executed(source: str, name: str, scope: dict) -> dict:
    """Run source in a scope, and return the scope; tracebacks show the lines as of a file ``<nblstm name>``."""
    file = f"<nblstm {name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), scope)
    return scope
