"""Opening what a run names: its base, its vocabulary, labels, modules of a library, data."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxlt.config import derived
from jaxlt.config.heads import check_heads
from jaxlt.errors import UserError

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.inventory import Inventory
    from jaxlt.data.rows.packed import PackedBatches
    from jaxlt.data.rows.views import MixtureBatches
    from jaxlt.data.vocabulary.vocabularies import Vocabulary
    from jaxlt.engine.state import BaseSource
    from jaxlt.inference.compose import Composed

_log = logging.getLogger(__name__)


def open_base(path: str) -> "BaseSource":
    """Opens any backbone: jaxlt's own, T5X's, Hugging Face's.

    A run that imported its base and froze it saved only what it trained; the rest is read from
    where its own checkpoint says it came from.
    """
    from jaxlt.convert import detect
    from jaxlt.engine.checkpoint.base import CheckpointBase, Overlay, is_checkpoint

    base = detect.open_base(
        path, openers=(lambda p: CheckpointBase(p) if is_checkpoint(p) else None,)
    )
    beneath = getattr(base, "meta", {}).get("base_origin", {}).get("path")
    if not beneath:
        return base
    try:
        return Overlay(open_base(beneath), base)
    except UserError as error:
        if (
            "token_embedder/embedding" in base.shapes
        ):  # it trained the whole base: nothing is missing
            return base
        raise UserError(
            f"'{path}' holds what was trained on a base read from '{beneath}', and that base "
            f"cannot be opened: {error}"
        ) from None


def base_of(run: "RunConfig") -> "BaseSource | None":
    """Opens INIT_FROM, if the run has one."""
    return open_base(run.init_from) if run.init_from else None


def vocabulary_of(run: "RunConfig", base: "BaseSource | None") -> "Vocabulary":
    """Opens the run's vocabulary and checks it against the model and the base."""
    from jaxlt.convert import detect
    from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
    from jaxlt.models.config import BiLSTMConfig

    vocabulary = open_vocabulary(run.data.vocabulary_config)
    if isinstance(run.model, BiLSTMConfig):  # it reads words, and no tokens
        return vocabulary
    if vocabulary.size > run.model.vocab_rows:
        raise UserError(
            f"The vocabulary has {vocabulary.size} ids (DataConfig.vocabulary = "
            f"'{run.data.vocabulary}', sentinels '{run.data.sentinels}'), more than the model's "
            f"T5Config.vocab_rows = {run.model.vocab_rows}."
        )
    if base is None:
        return vocabulary
    meta: Any = getattr(base, "meta", {})
    if base.origin["format"] in ("jaxlt", "memory"):
        theirs = meta.get("vocabulary", "")
        if theirs and theirs != vocabulary.fingerprint:
            raise _other_vocabulary(run, base, "another one (by its fingerprint)")
        return vocabulary
    own = detect.vocabulary_of(base.origin["path"], base)  # type: ignore[arg-type]
    kind = run.data.vocabulary_config.kind
    if own == "byte" and kind != "bytes":
        raise _other_vocabulary(run, base, "bytes: DataConfig.vocabulary = 'bytes'")
    if own and own != "byte":
        config = VocabularyConfig("sentencepiece", own, run.data.sentinels)
        if open_vocabulary(config).fingerprint != vocabulary.fingerprint:
            raise _other_vocabulary(run, base, f"its own: DataConfig.vocabulary = '{own}'")
    return vocabulary


def _other_vocabulary(run: "RunConfig", base: "BaseSource", what: str) -> UserError:
    where = base.origin.get("path", "its base")
    return UserError(
        f"DataConfig.vocabulary = '{run.data.vocabulary}' is not the vocabulary that {where} was "
        f"trained with, which is {what}. Its embeddings would mean nothing."
    )


def composed(run: "RunConfig", languages: tuple[str, ...]) -> "Composed | None":
    """The run's model with the modules that it takes from a library, or None without any."""
    from jaxlt.inference.compose import compose, parse_choices
    from jaxlt.models.config import BiLSTMConfig

    if not run.modules:
        return None
    if isinstance(run.model, BiLSTMConfig):
        raise UserError("run.modules names modules, and a BiLSTM has no place for any.")
    if not run.library:
        raise UserError(
            f"run.modules = {list(run.modules)} names modules of a library, and none is given: "
            "set run.library (or --library) to its folder."
        )
    return compose(run.model, parse_choices(run.modules), run.library, languages, run.force_modules)


def inventory_of(
    run: "RunConfig", held: "Inventory | None" = None, anew: bool = False
) -> "Inventory":
    """The names of a run's labels: those `held` in memory, those in its folder, or (`anew`) those
    of its training data.
    """
    from jaxlt.data import inventory
    from jaxlt.models.config import BiLSTMConfig

    check_heads(run)
    if run.data.objective != "heads":
        return inventory.NOTHING
    if held is not None:
        return held
    path = Path(run.workdir).expanduser() / inventory.NAME
    if run.workdir and path.is_file():
        return inventory.read(path)
    if not anew:
        raise UserError(
            f"'{path}', which names the labels of the run's heads, is not there: `jaxlt train` "
            "writes it at its first start."
        )
    from jaxlt.data.mixtures import training_examples

    rooms = {head.name: getattr(head, "labels", 0) for head in run.model.heads}
    rows = (0, 0)
    if isinstance(run.model, BiLSTMConfig):
        rows = run.model.word_rows, run.model.char_rows
    return inventory.take(training_examples(run.data), rooms, *rows)


def keep_inventory(run: "RunConfig", names: "Inventory") -> None:
    """Writes the names of a run's labels to its folder, at its first start."""
    from jaxlt.data import inventory
    from jaxlt.engine.hosts import distributed

    path = Path(run.workdir).expanduser() / inventory.NAME
    if run.data.objective == "heads" and not path.exists() and distributed.is_primary():
        names.write(path)


class Opened(NamedTuple):
    """What a run reads."""

    base: "BaseSource | None"
    vocabulary: "Vocabulary"
    inventory: "Inventory"
    data: "MixtureBatches | PackedBatches"


def open_all(run: "RunConfig", with_base: bool, base: "BaseSource | None" = None) -> Opened:
    """Opens all that a training run reads; where one process fails, all of them hear of it.

    base: one that is open already, in the place of INIT_FROM.
    """
    from jaxlt import progress
    from jaxlt.data.mixtures import open_mixture
    from jaxlt.engine.hosts import distributed

    for text in derived.hardly_learns(run) if distributed.is_primary() else ():
        _log.warning("%s", text)
    error: UserError | None = None
    try:
        with progress.doing("Opening what the run reads"):
            base = (base or base_of(run)) if with_base else None
            vocabulary, inventory = vocabulary_of(run, base), inventory_of(run, anew=True)
            data = open_mixture(run.data, inventory=inventory)
    except UserError as caught:
        error = caught
    distributed.agree(error, "Opening what the run reads")
    return Opened(base, vocabulary, inventory, data)
