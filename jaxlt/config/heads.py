"""Whether the heads of a run's model are those that its tasks take."""

from typing import TYPE_CHECKING

from jaxlt.errors import UserError, nearest

if TYPE_CHECKING:
    from jaxlt.config import RunConfig


def check_heads(run: "RunConfig") -> None:
    """Raises UserError where the heads of a run's model are not those of its tasks."""
    from jaxlt.config.build import heads_for
    from jaxlt.data.tasks.kind import head_kind
    from jaxlt.models.config import BiLSTMConfig

    heads, objective = run.model.heads, run.data.objective
    kind = type(run.model).__name__
    if not heads and objective != "heads":
        if isinstance(run.model, BiLSTMConfig):
            raise UserError("BiLSTMConfig.heads is empty: a BiLSTM only labels (heads/*.gin).")
        return
    if objective != "heads":
        raise UserError(
            f"{kind}.heads label text, and DataConfig.objective is '{objective}': set it to "
            "'heads', or leave the heads out."
        )
    names, tasks = [head.name for head in heads], [task.label for task in run.data.tasks]
    for name in (*names, *tasks):
        if (name in names) != (name in tasks):
            raise UserError(
                f"A head is named as the task it learns: {kind}.heads are "
                f"{', '.join(names) or 'none'}, and DataConfig.tasks {', '.join(tasks)} "
                "(TaskConfig.name, or else its kind)."
                + nearest(name, tasks if name in names else names)
            )
    if names != tasks:
        raise UserError(
            f"Heads and tasks are in one order: give {kind}.heads as {', '.join(tasks)}."
        )
    for head, task in zip(heads, run.data.tasks, strict=True):
        shape = head_kind(task.kind).shape
        if not head.serves(shape):
            raise UserError(
                f"The task '{task.label}' ({task.kind}) takes a {' or '.join(heads_for(shape))}, "
                f"and {kind}.heads gives it a {head.form}."
            )
    words = isinstance(run.model, BiLSTMConfig)
    if words != (run.data.reads == "words"):
        raise UserError(
            f"A {kind} reads {'words' if words else 'tokens'}: set DataConfig.reads = "
            f"'{'words' if words else 'tokens'}'."
        )
