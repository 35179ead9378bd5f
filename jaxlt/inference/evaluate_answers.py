"""`jaxlt eval --answers`: a task's examples answered, judged by its own metrics, written down."""

import argparse
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from etils import epath

from jaxlt import progress
from jaxlt.data.sources import files
from jaxlt.data.text import lid
from jaxlt.data.vocabulary.sentinels import PlainText
from jaxlt.errors import UserError
from jaxlt.inference import (
    answers_baselines,
    answers_file,
    answers_language,
    answers_table,
    constraints,
    judging,
    labels,
    language_groups,
    measured,
    session,
    trained,
)
from jaxlt.inference.answers import (
    KINDS,
    Example,
    Judged,
    decode_examples,
    kinds_of,
    score_examples,
)
from jaxlt.inference.answers_heads import label_examples
from jaxlt.inference.constraints import Constraint
from jaxlt.metrics.result import Result

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.rows.views import EvaluationBatches
    from jaxlt.data.vocabulary.vocabularies import Vocabulary
    from jaxlt.inference.predictor import Predictor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags about answers."""
    group = parser.add_argument_group("answers")
    group.add_argument(
        "--answers",
        action="store_true",
        help="decode an answer to each example and judge it by its task's own metrics, with "
        "intervals (tagging: accuracy; parsing: UAS, LAS, CLAS; translation: chrF++, BLEU; ...)",
    )
    group.add_argument(
        "--max_length", type=int, metavar="N", help="tokens of an answer at most (as in training)"
    )
    group.add_argument(
        "--lid",
        metavar="FOLDER|none",
        help="the language identifier that tells how often answers are in a wrong language (`jaxlt "
        "data lid train`); for translation one is trained on the references where none is named",
    )
    judging.add_arguments(group)
    group.add_argument(
        "--own_tokens",
        metavar="FOLDER",
        help="text by language: an answer has only tokens that the text of its language has",
    )
    group.add_argument(
        "--from_answers",
        metavar="FILE",
        help="judge answers that an earlier --answers saved (answers/*.jsonl in the run's folder), "
        "without opening the model; shows the table and adds no results",
    )


def evaluate(
    run: "RunConfig",
    predictor: "Predictor",
    vocabulary: "Vocabulary",
    source: "EvaluationBatches",
    split: str,
    args: argparse.Namespace,
) -> list[Result]:
    """Decodes, scores, shows the table and saves the answers; returns the Results.

    What cannot be written, or asked, is said before anything is decoded.
    """
    from jaxlt.engine.hosts import distributed

    heads = run.data.objective == "heads"
    if not (run.data.paired or heads):
        raise UserError(
            f"--answers is for tasks of inputs and targets, and this run's objective is "
            f"'{run.data.objective}': its loss is what can be evaluated."
        )
    groups = language_groups.open_groups(run, source.languages, args)
    if args.lid not in (None, "none"):
        lid.load(args.lid)  # before time is spent on answers
    rules = judging.judging_of(args, kinds_of(run.data), tasks_of(run, source))
    if heads:
        constraints.check_none(args)
    length = args.max_length or session.lengths(run)[1]
    how = None if heads else measured.decoding_of(args, length)
    common = measured.common_of(run, predictor, source, split, args, how)
    asked = answers_file.asked_of(common)
    place = answers_file.place(run.workdir, asked)
    check = functools.partial(answers_file.check_writable, place.parent)
    distributed.on_primary(check, "Opening the answers")
    if heads:
        count = sum(len(numbers) for _, numbers in source.numbers())
        with progress.doing("Labelling examples", count):
            progress.detail("compiling")
            examples = label_examples(run, predictor, source, vocabulary, split)
    else:
        examples = _decoded(run, predictor, source, vocabulary, args)
    if distributed.is_primary():
        answers_file.save(place, asked, examples)
    found = judge(run, examples, kinds_of(run.data), groups, args.lid, rules, common)
    trained.say(f"The answers are in {place}")
    return found


def _decoded(
    run: "RunConfig",
    predictor: "Predictor",
    source: "EvaluationBatches",
    vocabulary: "Vocabulary",
    args: argparse.Namespace,
) -> list[Example]:
    """Answers that a decoder writes."""
    inputs, targets = session.lengths(run)
    examples, cut = decode_examples(
        predictor,
        source,
        vocabulary,
        inputs_length=inputs,
        length=args.max_length or targets,
        batch_size=source.batch_size,
        objective=run.data.objective,
        decoding=trained.decoding_of(args),
        kinds=kinds_of(run.data),
        constraint=Constraint(PlainText(vocabulary), constraints.labels_of(args), args.force or ""),
        own_text=args.own_tokens,
    )
    if cut:
        trained.say(
            f"{cut} of {len(examples)} inputs were longer than DataConfig.inputs_length = {inputs} "
            "and were cut; raise it to read them whole."
        )
    return examples


def judge(
    run: "RunConfig",
    examples: list[Example],
    kinds: dict[str, str],
    groups: language_groups.Groups,
    identifier: str | None = None,
    rules: judging.Judging | None = None,
    common: Mapping[str, Any] | None = None,
) -> list[Result]:
    """Scores answers and shows the table; returns the Results.

    identifier: of languages, as --lid says it. rules: by which answers are judged. common: fields
    that all Results have.
    """
    from jaxlt.engine.hosts import distributed

    with progress.doing("Judging the answers"):
        judged = list(score_examples(examples, kinds, judging=rules))
        judged += _wrong_language(run, examples, kinds, identifier)
        judged = answers_baselines.judge(_trivial(run, examples, kinds), judged, kinds, rules)
    if distributed.is_primary():
        answers_table.show(judged, groups)
    _remark("No better than a trivial answer", answers_baselines.remarks(judged))
    _remark("One label alone", answers_baselines.one_answer(examples, kinds))
    return answers_table.results(judged, groups, common, references_of(examples))


def tasks_of(run: "RunConfig", source: "EvaluationBatches") -> set[tuple[str, str]]:
    """The tasks of a pass, each with the language of its answers."""
    return {(text.task or run.data.objective, text.target) for text, _ in source.numbers()}


def references_of(examples: Sequence[Example]) -> dict[tuple[str, str, str], str]:
    """A hash of the inputs and right answers of each task and direction, in their order."""
    found: dict[tuple[str, str, str], Any] = {}
    for one in examples:
        key = one.task, one.source or one.language, one.language
        total = found.setdefault(key, hashlib.sha256())
        total.update(json.dumps([one.inputs, one.target]).encode())
    return {key: total.hexdigest()[:16] for key, total in found.items()}


def _trivial(
    run: "RunConfig", examples: list[Example], kinds: dict[str, str]
) -> dict[str, list[Example]]:
    """The examples as trivial baselines answer them, and a line where these cannot learn."""
    try:
        inventory = labels.inventory_of(run)
        return answers_baselines.baselines(run.data, inventory, examples, kinds)
    except UserError as error:
        trained.say(f"No trivial baseline is shown, for lack of the training data: {error}")
        return {}


def _remark(what: str, found: Iterable[str], most: int = 8) -> None:
    """Says what is to be known of some scores, those beyond the first few by their number."""
    each = list(found)
    more = f"; and {len(each) - most} more" if len(each) > most else ""
    if each:
        trained.say(f"{what}: {'; '.join(each[:most])}{more}.")


def _wrong_language(
    run: "RunConfig", examples: list[Example], kinds: dict[str, str], asked: str | None
) -> list[Judged]:
    """The wrong-language rate of answers that are sentences, and a line on how it was measured."""
    named = asked if asked != "none" else None
    wanted = answers_language.generated(examples, kinds, named is not None)
    if asked == "none" or not wanted:
        return []
    try:
        found = answers_language.open_identifier(wanted, named, run.data.tag)
    except UserError as error:
        if named:
            raise
        trained.say(f"The wrong-language rate is not measured: {error}")
        return []
    doubt = sum(found.doubt.values()) / max(1, len(found.doubt))
    trained.say(
        f"wrong_language is by an identifier of {len(found.model.languages)} languages "
        f"({found.origin}), which takes {doubt:.1%} of the references for another language."
        + ("" if named else " --lid=FOLDER names a better one.")
    )
    if unknown := answers_language.unknown(wanted, found):
        trained.say(f"It does not know {', '.join(unknown)}: not measured there.")
    return list(answers_language.wrong_language(wanted, found))


def judge_saved(args: argparse.Namespace) -> None:
    """Judges the answers of --from_answers; the run is that of --workdir, or the file's own."""
    path = epath.Path(args.from_answers).expanduser()
    _, examples = answers_file.read(path)
    if args.workdir is None and not args.gin_file:
        args.workdir = str(epath.Path(files.absolute(str(path))).parent.parent)
    run = trained.load(args)
    kinds = kinds_of(run.data)
    for task in sorted({example.task.partition(".")[0] for example in examples}):
        if kinds.setdefault(task, task) not in KINDS:
            raise UserError(
                f"'{path}' has answers to '{task}', which is no task of '{run.workdir}' "
                f"({', '.join(sorted(kinds_of(run.data)))}): give the run that they are of "
                "(--workdir)."
            )
    groups = language_groups.open_groups(run, {e.language for e in examples}, args)
    tasks = {(example.task, example.language) for example in examples}
    judge(run, examples, kinds, groups, args.lid, judging.judging_of(args, kinds, tasks))
