"""By which rules answers are judged: the tokenizer of BLEU, the benchmark of questions.

judging = judging_of("zh", "mlqa", kinds, tasks)
judging.metric("bleu")                             # 'bleu', or 'spbleu' over a given model
judging.settings("bleu", "translation", "zho_Hans")      # {"tokenize": "zh"}
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from jaxlt.data.tasks.kind import kind_of
from jaxlt.data.tasks.registry import is_kind
from jaxlt.errors import UserError, nearest
from jaxlt.metrics import questions, text
from jaxlt.metrics.scores import statistics


@dataclasses.dataclass(frozen=True)
class Judging:
    """Rules of judging: `tokenizer` of BLEU (None: that of the target language; a path: of a
    SentencePiece model), and the benchmark whose `questions` those of each task are, by its name.
    """

    tokenizer: str | None = None
    questions: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def _pieces(self) -> bool:
        return self.tokenizer is not None and self.tokenizer not in text.TOKENIZERS

    def metric(self, name: str) -> str:
        """Returns the name of a metric under these rules."""
        return "spbleu" if name == "bleu" and self._pieces else name

    def settings(self, name: str, task: str, language: str) -> dict[str, Any]:
        """Returns the settings of a metric for a task ('questions.mlqa') and target language."""
        if name == "bleu" and self._pieces:
            return {"model": self.tokenizer}
        if name in ("bleu", "length_ratio"):
            own = None if self._pieces else self.tokenizer
            return {"tokenize": own or text.tokenizer_of(language)}
        if name in ("exact_match", "answer_f1"):
            return {"language": language, "benchmark": self.benchmark(task, language)}
        return {}

    def benchmark(self, task: str, language: str) -> str | None:
        """Returns the benchmark whose rules a task's questions have: what was said, or its name.

        A name is but a guess: it is none for a language that the benchmark's script does not know.
        """
        label = task.partition(".")[0]
        named = label in questions.BENCHMARKS and questions.covers(label, language)
        return self.questions.get(label, self.questions.get("", label if named else None))


def judging_of(
    tokenizer: str | None,
    questions_like: str | None,
    kinds: Mapping[str, str],
    tasks: Collection[tuple[str, str]],
) -> Judging:
    """Returns these rules, or raises UserError before anything is answered.

    tokenizer: of BLEU (--bleu_tokenizer). questions_like: a benchmark, or 'task=benchmark,...' for
    several tasks. tasks: what is answered, each with the language of its answers: ('mlqa.dev',
    'deu_Latn').
    """
    rules = Judging(tokenizer, _benchmarks(questions_like, kinds, tasks))
    if tokenizer is not None:
        statistics(rules.metric("bleu"), ["a"], ["a"], **rules.settings("bleu", "", ""))
    return rules


def _benchmarks(
    questions_like: str | None, kinds: Mapping[str, str], tasks: Collection[tuple[str, str]]
) -> dict[str, str]:
    """The benchmark of each named task of questions; "" is that of all others."""
    benchmarks = {}
    asked = [
        name
        for name, kind in kinds.items()
        if is_kind(kind) and "answer_f1" in kind_of(kind).metrics
    ]
    for item in questions_like.split(",") if questions_like else ():
        name, equals, benchmark = item.rpartition("=")
        if equals and name not in asked:
            raise UserError(
                f"--questions_like names '{name}', which is no task of questions of this run "
                f"({', '.join(asked) or 'it has none'}).{nearest(name, asked)}"
            )
        questions.check(benchmark, "eng")
        benchmarks[name] = benchmark
    for task, language in sorted(tasks):
        label = task.partition(".")[0]
        if label in asked:
            questions.check(benchmarks.get(label, benchmarks.get("")), language)
    return benchmarks
