"""What the verbs share: starting JAX, and opening what a run names."""

import argparse
import dataclasses
import logging
import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from jaxlt.errors import UserError

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.inventory import Inventory
    from jaxlt.data.rows.batches import Spec
    from jaxlt.data.rows.packed import PackedBatches
    from jaxlt.data.rows.views import LanguageInfo, MixtureBatches
    from jaxlt.data.vocabulary.vocabularies import Vocabulary
    from jaxlt.engine.compose import Composed
    from jaxlt.engine.state import BaseSource

_log = logging.getLogger(__name__)


class Measured(Protocol):
    """Batches that know how many rows each language has."""

    batch_size: int

    def info(self) -> "list[LanguageInfo]": ...


def add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags about devices and hosts."""
    group = parser.add_argument_group("machine")
    group.add_argument("--coordinator_address", metavar="HOST:PORT", help="of process 0")
    group.add_argument("--num_processes", type=int, help="how many processes make up the run")
    group.add_argument("--process_id", type=int, help="which of them this one is, from 0")
    group.add_argument(
        "--timeout_s", type=int, default=300, help="how long to wait for the others (300)"
    )
    group.add_argument(
        "--lost_after_s",
        type=float,
        default=100,
        help="how long another process may give no sign of life before this one ends too (100)",
    )
    group.add_argument(
        "--deterministic", action="store_true", help="bit-identical runs on GPUs, somewhat slower"
    )


def start_jax(args: argparse.Namespace) -> None:
    """Joins the other processes and sets compilation up; before anything touches a device."""
    from jaxlt import progress
    from jaxlt.commands.main import report
    from jaxlt.engine import compilation
    from jaxlt.engine.hosts import distributed

    compilation.prepare(args.deterministic)
    distributed.initialize(
        args.coordinator_address,
        args.num_processes,
        args.process_id,
        args.timeout_s,
        args.lost_after_s,
        on_end=report,
    )
    progress.speak(distributed.is_primary() and not getattr(args, "json", False))


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


def in_steps(run: "RunConfig", data: "Measured") -> "RunConfig":
    """Returns the run with its epochs counted in steps; an epoch is all rows of the data once.

    A schedule that ends with the run ends at its last step; it is warm after half of it at least.

    Evaluations by epochs save a checkpoint each, so that the best of them is kept.
    """
    train, checkpoint = run.train, run.checkpoint
    epoch = sum(info.rows for info in data.info()) / data.batch_size
    if train.epochs is not None:
        steps = min(train.steps, max(1, math.ceil(train.epochs * epoch)))
        train = dataclasses.replace(train, steps=steps, epochs=None)
    if train.eval_epochs is not None:
        every = max(1, round(train.eval_epochs * epoch))
        train = dataclasses.replace(train, eval_every=every, eval_epochs=None)
        checkpoint = dataclasses.replace(checkpoint, every=every)
    schedule = run.schedule
    if schedule.total_steps == "run":
        warm = min(schedule.warmup_steps, train.steps // 2)
        schedule = dataclasses.replace(schedule, total_steps=train.steps, warmup_steps=warm)
    return dataclasses.replace(run, train=train, checkpoint=checkpoint, schedule=schedule)


def composed(run: "RunConfig", languages: tuple[str, ...]) -> "Composed | None":
    """The run's model with the modules that it takes from a library, or None without any."""
    from jaxlt.engine.compose import compose, parse_choices
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


def base_of(run: "RunConfig") -> "BaseSource | None":
    """Opens INIT_FROM, if the run has one."""
    return open_base(run.init_from) if run.init_from else None


class Opened(NamedTuple):
    """What a run reads."""

    base: "BaseSource | None"
    vocabulary: "Vocabulary"
    inventory: "Inventory"
    data: "MixtureBatches | PackedBatches"


def open_all(run: "RunConfig", with_base: bool) -> Opened:
    """Opens all that a training run reads; where one process fails, all of them hear of it."""
    from jaxlt import progress
    from jaxlt.data.mixtures import open_mixture
    from jaxlt.engine.hosts import distributed
    from jaxlt.inference import labels

    for text in hardly_learns(run) if distributed.is_primary() else ():
        _log.warning("%s", text)
    error: UserError | None = None
    try:
        with progress.doing("Opening what the run reads"):
            base = base_of(run) if with_base else None
            vocabulary, inventory = vocabulary_of(run, base), labels.inventory_of(run, anew=True)
            data = open_mixture(run.data, inventory=inventory)
    except UserError as caught:
        error = caught
    distributed.agree(error, "Opening what the run reads")
    return Opened(base, vocabulary, inventory, data)


def hardly_learns(run: "RunConfig") -> list[str]:
    """What in a run's optimizer and loss does not go with what it trains, in sentences."""
    name, constant = run.optimizer.name, run.loss.normalize
    found = []
    if not isinstance(constant, str) and (name != "adafactor" or run.model.heads):
        what = "a model with heads" if name == "adafactor" else f"'{name}'"
        steps = "every step, " if name == "sgd" else ""
        eps = "" if name in ("adafactor", "lion", "sgd") else " and eps"
        found.append(
            f"LossConfig.normalize = {constant:g} is a constant for text to text under Adafactor. "
            f"With {what} it scales {steps}the loss in the log, and the gradients that "
            f"OptimizerConfig.clip_norm{eps} are held against: set it to 'tokens'."
        )
    trainable, frozen = run.train.trainable, run.train.frozen
    parts = all(p.startswith(("modules/", "deltas/")) for p in trainable) or "params/.*" in frozen
    if trainable and parts and name == "adafactor" and run.optimizer.parameter_scale:
        found.append(
            "OptimizerConfig.name = 'adafactor' moves a parameter by a share of its size, and what "
            f"trains here beside a frozen backbone ({', '.join(trainable)}) starts at zero: append "
            "--gin_file=runs/adamw.gin."
        )
    return found


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
    if base.origin["format"] == "jaxlt":
        theirs = meta.get("vocabulary", "")
        if theirs and theirs != vocabulary.fingerprint:
            raise _other_vocabulary(run, base, "another one (by its fingerprint)")
        return vocabulary
    found = detect.vocabulary_of(base.origin["path"], base)  # type: ignore[arg-type]
    kind = run.data.vocabulary_config.kind
    if found == "byte" and kind != "bytes":
        raise _other_vocabulary(run, base, "bytes: DataConfig.vocabulary = 'bytes'")
    if found and found != "byte":
        config = VocabularyConfig("sentencepiece", found, run.data.sentinels)
        if open_vocabulary(config).fingerprint != vocabulary.fingerprint:
            raise _other_vocabulary(run, base, f"its own: DataConfig.vocabulary = '{found}'")
    return vocabulary


def _other_vocabulary(run: "RunConfig", base: "BaseSource", what: str) -> UserError:
    return UserError(
        f"DataConfig.vocabulary = '{run.data.vocabulary}' is not the vocabulary that "
        f"{base.origin['path']} was trained with, which is {what}. Its embeddings would mean "
        "nothing."
    )


def fields(run: "RunConfig") -> "Spec":
    """The fields of a row, without opening any data."""
    from jaxlt.data.mixtures import build_objective
    from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
    from jaxlt.inference import labels

    labels.check(run)
    # Shapes follow from the objective; a plan should not ask for the vocabulary's file.
    return build_objective(run.data, open_vocabulary(VocabularyConfig())).spec()


def lengths(run: "RunConfig") -> tuple[int, int]:
    """(inputs, targets) positions a row, without opening any data."""
    from jaxlt.engine.log.flops import tokens_of

    return tokens_of(fields(run))
