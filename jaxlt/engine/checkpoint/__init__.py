"""What a run keeps in its folder: checkpoints, their identity, the folder's claim."""
