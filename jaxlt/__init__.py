"""jaxlt: train multilingual sequence models in JAX and carry what they learn across languages."""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`jaxlt.load`, imported when it is asked for: it brings jax."""
    if name == "load":
        from jaxlt.api import load

        return load
    raise AttributeError(f"module 'jaxlt' has no attribute '{name}'")
