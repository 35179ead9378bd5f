"""jaxlt: train multilingual sequence models in JAX and carry what they learn across languages."""

import os

from jaxlt.version import __version__ as __version__

# What TensorFlow and gRPC tell of themselves at every start (processors, CUDA, oneDNN) is no news
# here. Read when they are imported, so it has to be said before; a user's own choice stands. What
# fails raises an error in Python all the same.
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "GRPC_VERBOSITY": "ERROR", "ABSL_MIN_LOG_LEVEL": "2"}
for _name, _value in QUIET.items():
    os.environ.setdefault(_name, _value)


def __getattr__(name: str) -> object:
    """`jaxlt.load`, `jaxlt.run` and `jaxlt.Run`, imported when asked for: they bring jax."""
    if name in ("load", "run", "Run"):
        from jaxlt import api

        return getattr(api, name)
    raise AttributeError(f"module 'jaxlt' has no attribute '{name}'")
