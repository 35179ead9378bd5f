"""The language factory: small made languages whose relations are known."""
