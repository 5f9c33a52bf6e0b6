"""Write nblstm/arguments/keras_names.py: the public names of Keras 3, of the modules that nblstm has too.

Run by hand, with Keras installed, for a new version of Keras; the lists are read where a name is asked for that
nblstm has not::

    KERAS_BACKEND=jax python tests/golden/make_keras_names.py
"""

import importlib
import textwrap
from pathlib import Path

import keras

MODULES = (
    "", "activations", "backend", "callbacks", "constraints", "initializers", "layers", "losses", "metrics", "models",
    "optimizers", "optimizers.schedules", "preprocessing", "preprocessing.sequence", "regularizers", "saving", "utils",
)  # fmt: skip


def names(module):
    found = importlib.import_module(f"keras.{module}".rstrip("."))
    return sorted(name for name in dir(found) if not name.startswith("_") and name not in ("src", "api"))


lists = []
for module in MODULES:
    lines = textwrap.wrap(" ".join(names(module)), 116)
    lists.append("\n".join([f'    "{module}": """', *(f"        {line}" for line in lines), '    """,']))
path = Path(__file__).parents[2] / "nblstm" / "arguments" / "keras_names.py"
path.write_text(
    f'''"""Public names of Keras {keras.__version__}, by module; written by tests/golden/make_keras_names.py."""

#: Of each module that nblstm has too, and "" for keras itself.
NAMES = {{
{chr(10).join(lists)}
}}
'''.replace(" " * 8, " " * 4).replace("    }", "}")
)
print(path, sum(len(names(module)) for module in MODULES), "names")
