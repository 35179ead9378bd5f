"""A trained run evaluated: its losses, or its answers judged by their tasks' own metrics.

source, split = open_data(run, predictor, languages=("swh_Latn",), limit=200)
scored(run, predictor, source, split, Evaluation(group="family"))          # [Result, ...]
answers(run, predictor, vocabulary, source, split, Evaluation(lid="lid/")).results
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from etils import epath

from jaxlt import progress
from jaxlt.config import derived
from jaxlt.data.near import nearest_language
from jaxlt.data.sources import files
from jaxlt.data.tasks.registry import is_kind
from jaxlt.data.text import lid
from jaxlt.errors import UserError
from jaxlt.inference import answers as saved
from jaxlt.inference import opening, provenance, scoring, tables, trained, wrong_language
from jaxlt.inference.answers import Example, decode_examples, kinds_of, label_examples
from jaxlt.inference.baselines import baselines
from jaxlt.inference.groups import Groups, open_groups
from jaxlt.inference.judging import Judging
from jaxlt.inference.provenance import Evaluation
from jaxlt.inference.scoring import Judged, score_examples
from jaxlt.metrics.result import Result

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.config import DataConfig
    from jaxlt.data.inventory import Inventory
    from jaxlt.data.rows.views import EvaluationBatches
    from jaxlt.data.vocabulary.vocabularies import Vocabulary
    from jaxlt.inference.predictor import Predictor


def open_data(
    run: "RunConfig",
    predictor: "Predictor",
    split: str | None = None,
    languages: tuple[str, ...] = (),
    limit: int | None = None,
) -> "tuple[EvaluationBatches, str]":
    """Opens one pass over the run's evaluation data; returns it and the name of its split.

    Without evaluation data it is the training data's validation split. Where modules are routed by
    language, languages keep the ids that they had in training. With a setting of transfer all its
    sources and targets are scored, whatever trained.
    """
    from jaxlt.data.mixtures import open_evaluation
    from jaxlt.data.transfer import TransferRoles
    from jaxlt.engine.partitioning import batch_shards

    inventory = opening.inventory_of(run, predictor.inventory)
    config = run.eval_data or dataclasses.replace(run.data, split="validation")
    split = split or config.split
    shards = batch_shards(predictor.program.spec.mesh)
    config = dataclasses.replace(config, batch_size=-(-config.batch_size // shards) * shards)
    if languages:
        _check_languages(languages, config)
    if config.transfer:
        present = languages or TransferRoles.of(config).every
        if predictor.is_routed:
            for name in present:
                predictor.language_id(name)
            config = dataclasses.replace(config, languages=predictor.languages)
        return open_evaluation(config, split, limit, present, inventory), split
    if predictor.is_routed:
        present = languages or trained.languages_of(config)
        for name in present:
            predictor.language_id(name)
        # A pass mixes nothing: rates only say here which of the languages take part.
        rates = tuple((name, 1.0) for name in present)
        config = dataclasses.replace(config, languages=predictor.languages, rates=rates)
    elif languages:
        # Tasks are chosen by rates, texts by their languages.
        chosen = tuple((name, 1.0) for name in languages) if config.tasks else ()
        kept = config.languages if config.tasks else languages
        config = dataclasses.replace(config, languages=kept, rates=chosen)
    return open_evaluation(config, split, limit, inventory=inventory), split


def _check_languages(wanted: tuple[str, ...], config: "DataConfig") -> None:
    from jaxlt.data.transfer import TransferRoles

    if not (config.sources or config.tasks):
        raise UserError(
            f"--languages chooses among texts (DataConfig.sources); '{config.mixture}' is a "
            "registered mixture, which is scored as a whole."
        )
    known = TransferRoles.of(config).every if config.transfer else trained.languages_of(config)
    for name in wanted:
        if name not in known:
            raise UserError(
                f"--languages names '{name}', which the evaluation data has not."
                f"{nearest_language(name, known)} It has {', '.join(known)}."
            )


def losses(
    predictor: "Predictor", source: "EvaluationBatches", groups: Groups | None = None
) -> list[Result]:
    """Scores a pass: Results of each language, of all text as one, and means over languages."""
    from jaxlt.engine.evaluator import LossEvaluator
    from jaxlt.engine.loss.results import METRICS, by_language, loss_results, mean_interval

    with progress.doing("Evaluating", source.num_batches):
        progress.detail("compiling")
        totals = LossEvaluator(source).totals(predictor.program, predictor.params)
    results = loss_results(totals, source.languages)
    for metric in METRICS:
        each = by_language(results, metric)
        values = {name: one.value for name, one in each.items() if one.value is not None}
        for name, mean in (groups or Groups()).means(values).items():
            of = [each[member] for member in mean.members if member in each]  # no family is
            interval = mean_interval(mean.value, of) if of else None
            like = next(iter(each.values()))
            results.append(dataclasses.replace(mean.result(name, like), interval=interval))
    return results


def scored(
    run: "RunConfig",
    predictor: "Predictor",
    source: "EvaluationBatches",
    split: str,
    asked: Evaluation,
) -> list[Result]:
    """`losses`, with all that Results say of how they came about."""
    groups = open_groups(run, source.languages, asked.group, asked.backbone)
    common = provenance.common_of(run, predictor, source, split, asked)
    return [dataclasses.replace(one, **common) for one in losses(predictor, source, groups)]


@dataclasses.dataclass(frozen=True)
class Answers:
    """The examples as they were answered, and their Results.

    judged: the scores behind the Results. remarks: lines on what is odd in them. path: of the file
    that keeps the examples, if one does. notes: lines that were said on the way to a Run's answers.
    """

    examples: list[Example]
    results: list[Result]
    judged: list[Judged]
    groups: Groups
    remarks: tuple[str, ...] = ()
    path: str | None = None
    notes: tuple[str, ...] = ()

    def show(self) -> None:
        """Shows the table, and what is to be said of it."""
        from jaxlt.engine.hosts import distributed

        if distributed.is_primary():
            tables.show(self.judged, self.groups)
        for line in self.remarks:
            progress.say(line)
        if self.path is not None:
            progress.say(f"The answers are in {self.path}")


def answers(
    run: "RunConfig",
    predictor: "Predictor",
    vocabulary: "Vocabulary",
    source: "EvaluationBatches",
    split: str,
    asked: Evaluation,
) -> Answers:
    """Decodes and scores; saves the answers in the run's folder, where it has one.

    What cannot be written, or asked, is said before anything is decoded.
    """
    from jaxlt.engine.hosts import distributed

    heads = run.data.objective == "heads"
    if not (run.data.paired or heads):
        raise UserError(
            f"--answers is for tasks of inputs and targets, and this run's objective is "
            f"'{run.data.objective}': its loss is what can be evaluated."
        )
    groups = open_groups(run, source.languages, asked.group, asked.backbone)
    if asked.lid not in (None, "none"):
        lid.load(asked.lid)  # before time is spent on answers
    kinds = kinds_of(run.data)
    rules = asked.judging(kinds, tasks_of(run, source))
    if heads:
        asked.check_free()
    length = asked.max_length or derived.lengths(run)[1]
    how = None if heads else provenance.decoding_of(asked, length)
    common = provenance.common_of(run, predictor, source, split, asked, how)
    header, path = saved.asked_of(common), None
    if run.workdir:
        path = saved.place(run.workdir, header)
        check = functools.partial(saved.check_writable, path.parent)
        distributed.on_primary(check, "Opening the answers")
    if heads:
        count = sum(len(numbers) for _, numbers in source.numbers())
        with progress.doing("Labelling examples", count):
            progress.detail("compiling")
            examples = label_examples(run, predictor, source, vocabulary, split)
    else:
        examples = decode_examples(run, predictor, source, vocabulary, asked)
    if path is not None and distributed.is_primary():
        saved.save(path, header, examples)
    out = judge(run, examples, kinds, groups, asked.lid, rules, common, predictor.inventory)
    return out if path is None else dataclasses.replace(out, path=str(path))


def judge(
    run: "RunConfig",
    examples: list[Example],
    kinds: dict[str, str],
    groups: Groups,
    identifier: str | None = None,
    rules: Judging | None = None,
    common: Mapping[str, Any] | None = None,
    inventory: "Inventory | None" = None,
) -> Answers:
    """Scores answers.

    identifier: of languages, as --lid says it. rules: by which answers are judged. common: fields
    that all Results have. inventory: the names of labels, where no folder holds them.
    """
    with progress.doing("Judging the answers"):
        judged = list(score_examples(examples, kinds, judging=rules))
        judged += _wrong_language(run, examples, kinds, identifier)
        judged = scoring.with_baselines(
            _trivial(run, examples, kinds, inventory), judged, kinds, rules
        )
    remarks = (
        *_remark("No better than a trivial answer", scoring.remarks(judged)),
        *_remark("One label alone", scoring.one_answer(examples, kinds)),
    )
    found = tables.results(judged, groups, common, scoring.references_of(examples))
    return Answers(examples, found, judged, groups, remarks)


def tasks_of(run: "RunConfig", source: "EvaluationBatches") -> set[tuple[str, str]]:
    """The tasks of a pass, each with the language of its answers."""
    return {(text.task or run.data.objective, text.target) for text, _ in source.numbers()}


def _trivial(
    run: "RunConfig",
    examples: list[Example],
    kinds: dict[str, str],
    inventory: "Inventory | None",
) -> dict[str, list[Example]]:
    """The examples as trivial baselines answer them, and a line where these cannot learn."""
    try:
        return baselines(run.data, opening.inventory_of(run, inventory), examples, kinds)
    except UserError as error:
        progress.say(f"No trivial baseline is shown, for lack of the training data: {error}")
        return {}


def _remark(what: str, lines: Iterable[str], most: int = 8) -> list[str]:
    """A line on what is to be known of some scores, those beyond the first few by their number."""
    each = list(lines)
    more = f"; and {len(each) - most} more" if len(each) > most else ""
    return [f"{what}: {'; '.join(each[:most])}{more}."] if each else []


def _wrong_language(
    run: "RunConfig", examples: list[Example], kinds: dict[str, str], asked: str | None
) -> list[Judged]:
    """The wrong-language rate of answers that are sentences, and a line on how it was measured."""
    named = asked if asked != "none" else None
    wanted = wrong_language.generated(examples, kinds, named is not None)
    if asked == "none" or not wanted:
        return []
    try:
        identifier = wrong_language.open_identifier(wanted, named, run.data.tag)
    except UserError as error:
        if named:
            raise
        progress.say(f"The wrong-language rate is not measured: {error}")
        return []
    doubt = sum(identifier.doubt.values()) / max(1, len(identifier.doubt))
    progress.say(
        f"wrong_language is by an identifier of {len(identifier.model.languages)} languages "
        f"({identifier.origin}), which takes {doubt:.1%} of the references for another language."
        + ("" if named else " --lid=FOLDER names a better one.")
    )
    if unknown := {example.language for example in wanted} - set(identifier.model.languages):
        progress.say(f"It does not know {', '.join(sorted(unknown))}: not measured there.")
    return list(wrong_language.wrong_language(wanted, identifier))


def judge_saved(path: str, asked: Evaluation, open_run: "Callable[[str], RunConfig]") -> Answers:
    """Judges saved answers again, without a model.

    open_run: opens the run that they are of; it takes the folder in which the file of answers lies.
    """
    file = epath.Path(path).expanduser()
    _, examples = saved.read(file)
    run = open_run(str(epath.Path(files.absolute(str(file))).parent.parent))
    kinds = kinds_of(run.data)
    for task in sorted({example.task.partition(".")[0] for example in examples}):
        if not is_kind(kinds.setdefault(task, task)):
            raise UserError(
                f"'{file}' has answers to '{task}', which is no task of '{run.workdir}' "
                f"({', '.join(sorted(kinds_of(run.data)))}): give the run that they are of "
                "(--workdir)."
            )
    languages = {example.language for example in examples}
    groups = open_groups(run, languages, asked.group, asked.backbone)
    rules = asked.judging(kinds, {(example.task, example.language) for example in examples})
    return judge(run, examples, kinds, groups, asked.lid, rules)
