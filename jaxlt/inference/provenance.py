"""What is asked of an evaluation, and what all its Results say of how they came about.

common = common_of(run, predictor, source, split, asked)
Result(metric="nll", value=2.3, n=157, **common)
"""

import dataclasses
import fnmatch
import functools
import hashlib
import shlex
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epath

from jaxlt.engine.decode.config import DecodingConfig
from jaxlt.errors import UserError
from jaxlt.inference import groups, judging, opening
from jaxlt.metrics.result import Decoding

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.config import DataConfig
    from jaxlt.data.inventory import Inventory
    from jaxlt.data.rows.packed import PackedBatches
    from jaxlt.data.rows.views import EvaluationBatches, MixtureBatches
    from jaxlt.inference.predictor import Predictor

# What a value may depend on, and no field of a Result holds.
_SETTINGS = ("limit", "lid", "bleu_tokenizer", "questions_like")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How answers are made, judged and grouped; all of it is said in the Results.

    limit: examples a language at most. max_length: tokens of an answer, as in training unless
    given. labels: what an answer may be (choices: the file that they were read from), force: how it
    begins, language_tokens: a folder of text by language, whose tokens alone it may have. lid: the
    folder of a language identifier, 'none' for none. bleu_tokenizer and questions_like: rules of
    `jaxlt.inference.judging`. group and backbone: of `jaxlt.inference.groups`. overrides:
    gin bindings on top of the run's own. flags: those with which `jaxlt eval` measures the same
    again, beside --step, --split and --gin.NAME.
    """

    limit: int | None = None
    max_length: int | None = None
    decoding: DecodingConfig = dataclasses.field(default_factory=DecodingConfig)
    labels: tuple[str, ...] = ()
    choices: str | None = None
    force: str = ""
    language_tokens: str | None = None
    lid: str | None = None
    bleu_tokenizer: str | None = None
    questions_like: str | None = None
    group: str | None = None
    backbone: str | None = None
    overrides: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    def judging(
        self, kinds: Mapping[str, str], tasks: Collection[tuple[str, str]]
    ) -> judging.Judging:
        """Returns the rules of judging these tasks, or raises UserError."""
        return judging.judging_of(self.bleu_tokenizer, self.questions_like, kinds, tasks)

    def check_free(self) -> None:
        """Raises UserError where answers are constrained: those of heads cannot be."""
        listed = "labels" if self.choices is None else "choices"
        for flag, value in ((listed, self.labels), ("force", self.force)):
            if value:
                raise UserError(
                    f"--{flag} is for models that write text: this one's heads have the labels "
                    "that they learnt."
                )


def about(run: "RunConfig") -> dict[str, Any]:
    """What all Results of a run say, whatever was measured."""
    return {
        "run": str(run.workdir).rstrip("/").rpartition("/")[2],
        "task": run.data.objective,
        "config": _config_hash(run),
        "transfer": transfer_of(run),
    }


def _config_hash(run: "RunConfig") -> str:
    """The hash of what decides the run's results, but for the seed (jaxlt.identity)."""
    from jaxlt import identity
    from jaxlt.config import load, recorded

    path = epath.Path(run.workdir).expanduser() / "config.gin"
    if run.workdir and path.is_file():
        with tempfile.TemporaryDirectory() as folder:  # gin files are read on this machine
            copy = Path(folder) / path.name
            copy.write_bytes(path.read_bytes())
            run = load([str(copy)], fallbacks=recorded.behind(str(run.workdir)))
    return identity.config_hash(run)


def common_of(
    run: "RunConfig",
    predictor: "Predictor",
    source: "EvaluationBatches",
    split: str,
    asked: Evaluation,
    decoding: Decoding | None = None,
) -> dict[str, Any]:
    """The fields of a Result that an evaluation's numbers share."""
    words = ["jaxlt", "eval", f"--step={predictor.step}", f"--split={split}", *asked.flags]
    words += [f"--gin.{text}" for text in asked.overrides]
    return about(run) | {
        "split": split,
        "seed": predictor.seed,
        "step": predictor.step,
        "modules": predictor.modules,
        "parameters": predictor.trained,
        "decoding": decoding,
        "settings": settings_of(asked),
        "base": predictor.base_fingerprint,
        "data": source.fingerprint,
        "amounts": _trained_amounts(run, predictor.inventory),
        "command": shlex.join(words) if run.workdir else "",  # none opens what is in memory
    }


def settings_of(asked: Evaluation) -> tuple[tuple[str, str], ...]:
    """What a value may depend on: not what is marked harmless (jaxlt.identity)."""
    values = [(name, getattr(asked, name)) for name in _SETTINGS]
    own = [(name, str(value)) for name, value in values if value is not None]
    return (*own, *(("gin", text) for text in asked.overrides if not _is_harmless(text)))


def _is_harmless(override: str) -> bool:
    """Whether a binding sets a harmless field of a config, or any field of a harmless part.

    A macro is taken to count: what it stands for is not known here.
    """
    from jaxlt.config.resuming import marked

    binding = override.partition("=")[0].strip().rpartition("/")[2]
    plain = ".".join(binding.split(".")[-2:])  # gin takes it with its module too
    return any(fnmatch.fnmatchcase(plain, pattern) for pattern in marked())


def decoding_of(asked: Evaluation, length: int) -> Decoding:
    """How answers are written, as a Result says it. length: tokens at most."""
    how = asked.decoding
    beam, drawn = how.method == "beam", how.method == "sample"
    draws = ("temperature", "top_k", "top_p", "seed")
    labels = asked.labels
    if asked.choices is not None:  # perhaps very many
        content = hashlib.sha256("\n".join(labels).encode()).hexdigest()[:8]
        labels = (f"{Path(asked.choices).name}:{content}",)
    return Decoding(
        beams=how.beams if beam else 1,
        length=length,
        length_penalty=how.length_penalty if beam else None,
        labels=labels,
        force=asked.force,
        language_tokens=asked.language_tokens or "",
        draws=tuple((name, float(getattr(how, name))) for name in draws) if drawn else (),
    )


def amounts_of(data: "MixtureBatches | PackedBatches") -> dict[str, dict[str, float]]:
    """What Results say of each dosed text that trains: examples, tokens, steps of an epoch.

    {"swh_Latn": {"examples": 212, "tokens": 10000, "epoch": 12.5}}

    Of one whose amount is 0 all are 0.
    """
    dosed = [info for info in data.info() if info.dosed]
    return {
        info.name: {
            "examples": info.documents,
            "tokens": info.tokens,
            "epoch": 1 / info.epochs(data.batch_size) if info.rows else 0.0,
        }
        for info in dosed
    }


def _trained_amounts(
    run: "RunConfig", inventory: "Inventory | None"
) -> dict[str, dict[str, float]]:
    if not run.data.amounts:
        return {}
    return _amounts(run.data, opening.inventory_of(run, inventory))


@functools.lru_cache(maxsize=64)
def _amounts(data: "DataConfig", names: "Inventory") -> dict[str, dict[str, float]]:
    """`amounts_of` what a config opens: once in a process, however often its runs are evaluated."""
    from jaxlt.data.mixtures import open_mixture

    return amounts_of(open_mixture(data, inventory=names))


def transfer_of(run: "RunConfig") -> dict[str, Any]:
    """What Results say of the setting of transfer, or else of the languages that trained.

    `stopped_on`: whose held-out examples the evaluation while training was on, None without one.
    """
    transfer, sources = run.data.transfer, list(groups.sources_of(run.data))
    if transfer is None:
        return {"sources": sources} if sources else {}
    stopped_on = transfer.stopped_on if run.eval_data else None
    setting: dict[str, Any] = {"setting": transfer.setting, "stopped_on": stopped_on}
    setting["sources"] = sources
    if transfer.setting == "few_shot":
        setting |= {"k": transfer.k, "draw": transfer.draw}
    return setting
