"""The training engine: loop, step, losses, optimizers, sharding and checkpoints."""
