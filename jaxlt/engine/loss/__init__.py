"""The loss of a batch, whole or shared out over devices, and its sums."""
