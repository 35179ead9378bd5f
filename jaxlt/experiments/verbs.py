"""What a stage can do: make languages and vocabularies, train, ask a run, keep what it learnt.

    answers({"run": "lab/0/tags", "languages": ["qab_Latn"], "method": "full"}, at)  # [Result, ...]

A verb is a function of a config, in which folders stand where needs were, and of At: it writes into
`at.folder` and returns its rows. What computes (jax) comes in with the calls. A verb of your own is
named by 'package.module:function'.
"""

import dataclasses
import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxlt.errors import SAVED, HostGone, UserError, nearest
from jaxlt.metrics import result_file
from jaxlt.metrics.result import Result

if TYPE_CHECKING:
    import numpy as np

    from jaxlt.config import RunConfig
    from jaxlt.data.vocabulary.vocabularies import Vocabulary
    from jaxlt.experiments.attempt import At
    from jaxlt.inference.predictor import Predictor

PIECES, DELTA, LIBRARY = "pieces.model", "delta.safetensors", "library"
SHUFFLED = "shuffled"  # the module whose values are another's in any order


def synth(config: Mapping[str, Any], at: "At") -> list[Result]:
    """Writes made languages, as `jaxlt data synth --out` does.

    config: families, a mapping of Family's fields each, and fields of FactoryConfig; labelled: the
    first so many sentences of a treebank train, 'treebanks/CODE-train.conllu', then a third as many
    are held out, and the others are for the test.
    """
    from jaxlt.data.synth.families import FactoryConfig, Family
    from jaxlt.data.synth.write import write

    given = dict(config)
    families = tuple(_made(Family, one) for one in given.pop("families"))
    labelled = given.pop("labelled", 0)
    factory = _made(FactoryConfig, {"seed": at.seed, **given, "families": families})
    write(factory, at.folder, at.log)
    if labelled:
        (at.folder / "treebanks").mkdir(exist_ok=True)
        for path in sorted((at.folder / "conllu").glob("*.conllu")):
            _split(path, at.folder / "treebanks", labelled)
    return []


def _split(path: Path, folder: Path, labelled: int) -> None:
    """Parts a treebank into its training, development and test sentences."""
    sentences = path.read_text("utf-8").strip().split("\n\n")
    ends = (0, labelled, labelled + labelled // 3, len(sentences))
    for split, low, high in zip(("train", "dev", "test"), ends, ends[1:], strict=False):
        text = "\n\n".join(sentences[low:high])
        (folder / f"{path.stem}-{split}.conllu").write_text(f"{text}\n\n", "utf-8")


def gather(config: Mapping[str, Any], at: "At") -> list[Result]:
    """Copies real data: verses of languages as 'text/CODE.txt', and all 'treebanks'.

    config: data (a folder with mt/bible and ud; '$NAME' of the environment), languages.
    """
    root = Path(os.path.expandvars(config["data"])).expanduser()
    if not (root / "ud").is_dir():
        raise UserError(
            f"There are no treebanks in '{config['data']}' ('{root / 'ud'}'): this study is of "
            "real data, which does not come with jaxlt (docs/studies.md)."
        )
    shutil.copytree(root / "ud", at.folder / "treebanks", dirs_exist_ok=True)
    (at.folder / "text").mkdir(exist_ok=True)
    for language in config["languages"]:
        path = root / "mt" / "bible" / f"{language}.txt.gz"
        if not path.is_file():
            known = [one.name.partition(".")[0] for one in path.parent.glob("*.txt.gz")]
            raise UserError(f"There is no text '{path}'.{nearest(language, known)}")
        with gzip.open(path, "rt", encoding="utf-8") as file:
            verses = "".join(line for line in file if line.strip())
        (at.folder / "text" / f"{language}.txt").write_text(verses, "utf-8")
    return []


def vocabulary(config: Mapping[str, Any], at: "At") -> list[Result]:
    """Trains a SentencePiece model on languages, as `jaxlt data vocab` does: 'pieces.model'.

    config: text (a folder), languages ([]: all of it), and fields of VocabTraining.
    """
    from jaxlt.data.config import DataConfig
    from jaxlt.data.mixtures import training_documents
    from jaxlt.data.vocabulary import training

    given = dict(config)
    text, languages = given.pop("text"), given.pop("languages", ())
    found = training_documents(DataConfig(sources=(text,), languages=tuple(languages)))
    made = _made(training.VocabTraining, given)
    how: dict[str, Any] = {"seed": at.seed, "overwrite": True, "threads": 1}  # the same anywhere
    written = training.write(at.folder / PIECES, found, made, **how)
    at.log(f"{sum(written.values()):,} bytes of {len(written)} languages")
    return []


def train(config: Mapping[str, Any], at: "At") -> list[Result]:
    """Trains a run in the stage's folder, or goes on there; rows: its last evaluation.

    config: files and settings, as `jaxlt train` takes them; method, details of the rows.
    """
    from jaxlt.config.recorded import load_run
    from jaxlt.engine import compilation
    from jaxlt.inference import training

    here = {"WORKDIR": str(at.folder), "run.workdir": str(at.folder)}
    home = at.folder.parents[3 if at.stage.lab else 4]  # the study's folder, or the laboratory's:
    here["DataConfig.cache_dir"] = str(home / "cache")  # it keeps what was held out
    run = load_run(config["files"], texts(config.get("settings", {})), (), here)
    compilation.prepare()
    done = training.train(run)
    if done.ended == "preempted":
        raise HostGone("The run was asked to go, and has saved what it had.", SAVED)
    _digest(at.folder, done.state.trainable)
    path = at.folder / "results.jsonl"
    rows = result_file.read(path) if path.exists() else []
    last = max((row.step or 0 for row in rows), default=0)
    return _told([row for row in rows if row.step == last], config)


def evaluate(config: Mapping[str, Any], at: "At") -> list[Result]:
    """Held-out loss and bits per byte of a run, by language.

    config: run (its folder), step, split, languages, limit; modules and library, as `jaxlt eval`
    takes them; settings that come on top of the run's own; method, details of the rows.
    """
    from jaxlt.inference import evaluation

    run, predictor, _ = _opened(config)
    source, split, asked = _asked(config, run, predictor)
    return _told(evaluation.scored(run, predictor, source, split, asked), config)


def answers(config: Mapping[str, Any], at: "At") -> list[Result]:
    """Answers to held-out examples, judged by their tasks' metrics; config: as `evaluate` has it.

    The answers themselves are in the stage's folder.
    """
    from jaxlt.inference import evaluation

    run, predictor, words = _opened(config)
    source, split, asked = _asked(config, run, predictor)
    held = evaluation.opening.inventory_of(run, predictor.inventory)
    predictor = dataclasses.replace(predictor, inventory=held)
    own = dataclasses.replace(run, workdir=str(at.folder))  # where they are saved
    found = evaluation.answers(own, predictor, words, source, split, asked)
    return _told([row for row in found.results], config)


def save_modules(config: Mapping[str, Any], at: "At") -> list[Result]:
    """Keeps modules of runs in a library, as `jaxlt modules save` does: 'library'.

    config: runs (folders), plug (all that trained unless given), name of what is no bank's, step;
    shuffled: a language, of whose modules one more each is made, 'PLUG/shuffled', with the same
    values in any order (the control of what a module says).
    """
    from jaxlt.inference.saving import chosen_plugs, save_all

    library, kept = at.folder / LIBRARY, []
    shutil.rmtree(library, ignore_errors=True)
    for folder in config["runs"]:
        run, predictor, _ = _opened({"run": folder, "step": config.get("step")})
        plugs = chosen_plugs(predictor, config.get("plug"))
        kept += save_all(run, predictor, plugs, str(library), (), config.get("name"))
    if language := config.get(SHUFFLED):
        kept += [_shuffled(one.path, at.seed) for one in kept if one.language == language]
    arrays: dict[str, np.ndarray] = {}
    for saved in kept:
        arrays |= {f"{saved.name}/{n}": v for n, v in saved.tensors().items()}
        at.log(f"{saved.name}: {saved.parameters:,} parameters")
    _digest(at.folder, arrays)
    return []


def sparsify(config: Mapping[str, Any], at: "At") -> list[Result]:
    """Cuts what a run changed down, as `jaxlt modules sparsify` does: 'delta.safetensors'.

    config: run (its folder), step, and fields of Cut: count or share, by, values, delta.
    """
    from jaxlt.inference.sparsifying import Cut
    from jaxlt.modules import delta_files

    given = dict(config)
    run, predictor, _ = _opened({n: given.pop(n, None) for n in ("run", "step")})
    made = _made(Cut, {"seed": at.seed, **given}).of(run, predictor)
    delta_files.save(at.folder / DELTA, made.arrays, made.facts)
    _digest(at.folder, made.arrays)
    at.log(f"{made.kept:,} of {made.maskable:,} entries")
    return []


def texts(settings: Mapping[str, Any]) -> list[str]:
    """Settings as gin's texts: of a reference ('@FactoryConfig()', '[@lang/plug()]') its own."""
    said = []
    for name, value in settings.items():
        plain = isinstance(value, str) and value.lstrip("[(").startswith("@")
        said.append(f"{name}={value if plain else repr(value)}")
    return said


def _opened(config: Mapping[str, Any]) -> "tuple[RunConfig, Predictor, Vocabulary]":
    """The run in a need's folder, and its model with the modules that are asked for."""
    from jaxlt.engine import compilation
    from jaxlt.inference import trained

    compilation.prepare()
    given = texts(config.get("settings") or {})
    run, step = trained.find_run(config["run"], config.get("step"), (), given)
    modules = config.get("modules")
    return run, *trained.open_model(run, step, modules, config.get("library"))


def _asked(config: Mapping[str, Any], run: "RunConfig", predictor: "Predictor") -> Any:
    """(data, its split, how it is asked) of an evaluation."""
    from jaxlt.inference import evaluation

    limit = config.get("limit")
    parts = (config.get("split", "test"), tuple(config.get("languages", ())), limit)
    source, split = evaluation.open_data(run, predictor, *parts)
    return source, split, evaluation.Evaluation(limit=limit)


def _told(rows: list[Result], config: Mapping[str, Any]) -> list[Result]:
    """Rows of a stage's arm; those of a trivial answer keep the method that they name."""
    method, details = config.get("method", ""), config.get("details", {})
    return [
        dataclasses.replace(
            row, method=row.method or method, details={**row.details, **details}, command=""
        )
        for row in rows
    ]


def _made(kind: Any, given: Mapping[str, Any]) -> Any:
    """An object of a dataclass, by the names of its fields."""
    known = [field.name for field in dataclasses.fields(kind)]
    for name in given:
        if name not in known:
            raise UserError(
                f"A stage gives {kind.__name__} a '{name}', and it has {', '.join(known)}."
                f"{nearest(name, known)}"
            )
    return kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in given.items()})


def _digest(folder: Path, arrays: "Mapping[str, np.ndarray]") -> None:
    """Notes what was made by its values: the same values in other files are the same."""
    import numpy as np

    total = hashlib.sha256()
    for name, value in sorted(arrays.items()):
        total.update(name.encode())
        total.update(np.asarray(value).tobytes())
    (folder / "digest.txt").write_text(f"{total.hexdigest()}\n")


def _shuffled(module: Path, seed: int) -> Any:
    """Makes 'PLUG/shuffled' of a library's module; returns its record."""
    import numpy as np
    from safetensors.numpy import save_file

    from jaxlt.modules.library import RECORD, TENSORS, open_module

    library, plug = module.parent.parent, module.parent.name
    new = module.with_name(SHUFFLED)
    shutil.copytree(module, new)
    drawn = np.random.default_rng([seed, len(plug)])
    values = open_module(str(library), module.name, plug).tensors()
    mixed = {n: drawn.permutation(v.ravel()).reshape(v.shape) for n, v in sorted(values.items())}
    save_file(mixed, new / TENSORS)
    record = json.loads((new / RECORD).read_text("utf-8")) | {"name": f"{plug}/{SHUFFLED}"}
    (new / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return open_module(str(library), SHUFFLED, plug)


_ALL = (synth, gather, vocabulary, train, evaluate, answers, save_modules, sparsify)
VERBS = {verb.__name__: verb for verb in _ALL}
