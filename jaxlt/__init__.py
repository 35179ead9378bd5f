"""jaxlt: train multilingual sequence models in JAX and carry what they learn across languages."""

__version__ = "0.1.0"
