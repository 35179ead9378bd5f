"""What all Results of an evaluation have in common: of what run, with what modules, how asked.

common = common_of(run, predictor, source, split, args)
Result(metric="nll", value=2.3, n=157, **common)
"""

import argparse
import fnmatch
import hashlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxlt.inference import constraints, language_groups, trained
from jaxlt.metrics.result import Decoding

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.rows.views import EvaluationBatches
    from jaxlt.inference.predictor import Predictor

# Flags of `jaxlt eval` that a value may depend on, and that no field of a Result holds.
_SETTINGS = ("limit", "lid", "bleu_tokenizer", "questions_like")
_COMMAND = (  # those that a command gives again, beside them
    *("modules", "library", "languages", "group", "backbone"),
    *("max_length", "beams", "temperature", "top_k", "top_p"),
    *("labels", "choices", "force", "own_tokens"),
)


def about(run: "RunConfig") -> dict[str, Any]:
    """What all Results of a run say, whatever was measured."""
    return {
        "run": str(run.workdir).rstrip("/").rpartition("/")[2],
        "task": run.data.objective,
        "config": trained.config_hash_of(run),
        "transfer": transfer_of(run),
    }


def common_of(
    run: "RunConfig",
    predictor: "Predictor",
    source: "EvaluationBatches",
    split: str,
    args: argparse.Namespace,
    decoding: Decoding | None = None,
) -> dict[str, Any]:
    """The fields of a Result that an evaluation's numbers share."""
    return about(run) | {
        "split": split,
        "seed": predictor.seed,
        "step": predictor.step,
        "modules": predictor.modules,
        "parameters": predictor.trained,
        "decoding": decoding,
        "settings": settings_of(args),
        "base": predictor.base_fingerprint,
        "data": source.fingerprint,
        "command": command_of(args, split, predictor.step),
    }


def settings_of(args: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    """The flags that a value may depend on: not what is marked harmless (jaxlt.identity)."""
    given = [(name, str(getattr(args, name, None))) for name in _SETTINGS if _said(args, name)]
    return (*given, *(("gin", text) for text in args.gin_overrides if not _is_harmless(text)))


def _is_harmless(override: str) -> bool:
    """Whether a binding sets a harmless field of a config, or any field of a harmless part.

    A macro is taken to count: what it stands for is not known here.
    """
    from jaxlt.config.resuming import marked

    binding = override.partition("=")[0].strip().rpartition("/")[2]
    plain = ".".join(binding.split(".")[-2:])  # gin takes it with its module too
    return any(fnmatch.fnmatchcase(plain, pattern) for pattern in marked())


def command_of(args: argparse.Namespace, split: str, step: int) -> str:
    """The command that measures the same again, but for --workdir: the results lie in it."""
    words = ["jaxlt", "eval", f"--step={step}", f"--split={split}"]
    words += [f"--{name}" for name in ("answers", "force_modules") if getattr(args, name, False)]
    for name in (*_COMMAND, *_SETTINGS):
        if _said(args, name):
            words.append(f"--{name}={getattr(args, name)}")
    if _said(args, "beams"):
        words.append(f"--length_penalty={args.length_penalty}")
    if any(_said(args, name) for name in ("temperature", "top_k", "top_p")):
        words.append(f"--decoding_seed={args.decoding_seed}")
    return shlex.join([*words, *(f"--gin.{text}" for text in args.gin_overrides)])


def _said(args: argparse.Namespace, name: str) -> bool:
    return getattr(args, name, None) is not None


def decoding_of(args: argparse.Namespace, length: int) -> Decoding:
    """How the flags want answers written, as a Result says it. length: tokens at most."""
    from jaxlt.engine.decode.config import DecodingConfig

    how: DecodingConfig = trained.decoding_of(args)
    beam, drawn = how.method == "beam", how.method == "sample"
    draws = ("temperature", "top_k", "top_p", "seed")
    labels = constraints.labels_of(args)
    if args.choices is not None:  # perhaps very many
        content = hashlib.sha256("\n".join(labels).encode()).hexdigest()[:8]
        labels = (f"{Path(args.choices).name}:{content}",)
    return Decoding(
        beams=how.beams if beam else 1,
        length=length,
        length_penalty=how.length_penalty if beam else None,
        labels=labels,
        force=args.force or "",
        own_tokens=args.own_tokens or "",
        draws=tuple((name, float(getattr(how, name))) for name in draws) if drawn else (),
    )


def transfer_of(run: "RunConfig") -> dict[str, Any]:
    """What Results say of the setting of transfer, or else of the languages that trained.

    `stopped_on`: whose held-out examples the evaluation while training was on, None without one.
    """
    transfer, sources = run.data.transfer, list(language_groups.sources_of(run.data))
    if transfer is None:
        return {"sources": sources} if sources else {}
    stopped_on = transfer.stopped_on if run.eval_data else None
    said: dict[str, Any] = {"setting": transfer.setting, "stopped_on": stopped_on}
    said["sources"] = sources
    if transfer.setting == "few_shot":
        said |= {"k": transfer.k, "draw": transfer.draw}
    return said
