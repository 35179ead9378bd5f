"""A run as an object, for notebooks, recipes and analyses; in memory unless it has a folder.

pretrained = Run(config)
pretrained.train().steps[-1]["loss"]                  # a History
tagger = jaxlt.run(["models/tiny.gin", "runs/finetune.gin"], TEXT="ud", SEED=1)
tagger.train(base=pretrained)
tagger.evaluate("test", ["swh_Latn"])                 # [Result, ...]
tagger.answers("test").examples[0].answer
tagger.modules("task").save("library", name="task/pos")
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Union

from jaxlt import progress
from jaxlt.engine import compilation
from jaxlt.engine.log.history import History
from jaxlt.errors import UserError, nearest
from jaxlt.inference import evaluation, training
from jaxlt.inference.held import HeldBackbone, Modules
from jaxlt.inference.model import Model
from jaxlt.inference.opening import open_base
from jaxlt.inference.predictor import Predictor, predictor_at
from jaxlt.inference.provenance import Evaluation
from jaxlt.inference.saving import chosen_plugs
from jaxlt.inference.trained import Step, open_model
from jaxlt.metrics import result_file
from jaxlt.metrics.result import Result

if TYPE_CHECKING:
    import jax
    import numpy as np

    from jaxlt.config import RunConfig
    from jaxlt.data.vocabulary.vocabularies import Vocabulary
    from jaxlt.engine.state import BaseSource

Base = Union["Run", "BaseSource", str]
_FIELDS = tuple(field.name for field in dataclasses.fields(Evaluation) if field.name != "flags")


class Run:
    """What a RunConfig describes, to be trained and asked.

    With `run.workdir` it is what the commands make of it: checkpoints, results, saved answers are
    in the folder, and a run that is there already goes on or is asked as it is. Without one ('')
    nothing is written or printed, and all of it lives as long as the object.

    Which state is meant by `step`: the last (None), the 'best', or that of a number, of which
    memory has the last and the best alone.
    """

    def __init__(self, config: "RunConfig"):
        self.config = config
        self.history: History | None = None  # of the last call of `train`
        self._trained: training.Trained | None = None
        self._opened: dict[Step, tuple[Predictor, Vocabulary]] = {}

    def train(
        self,
        base: Base | None = None,
        modules: Modules | None = None,
        on: "Sequence[jax.Device] | None" = None,
    ) -> History:
        """Trains to the end, in memory from the start each time; returns what was seen.

        base: another run, or a path, in the place of INIT_FROM. modules: those of another run
        (`.modules()`), in the place of run.modules. on: devices; all of them unless given.
        """
        compilation.prepare()
        source = self._base(base)
        self._opened.clear()
        if self.config.workdir:
            history = History()
            training.train(self.config, base=source, modules=modules, devices=on, history=history)
            self.history = history
        else:
            with progress.heard() as lines:
                self._trained = training.in_memory(self.config, source, modules, on)
            self.history = self._trained.history
            self.history.notes += lines
        return self.history

    def _base(self, base: Base | None) -> "BaseSource | None":
        """What to start from, where it is in memory; that of a path is noted in the config."""
        if base is None:
            if self.config.init_from == "":
                raise UserError(
                    "This run starts from another one (its INIT_FROM is required): give "
                    ".train(base=...), a run or a path, or INIT_FROM."
                )
            return None
        path = base.config.workdir if isinstance(base, Run) else base
        if isinstance(path, str) and path:
            self.config = dataclasses.replace(self.config, init_from=path)
            return None
        self.config = dataclasses.replace(self.config, init_from=None)
        return base.backbone() if isinstance(base, Run) else base  # type: ignore[return-value]

    def predictor(self, step: Step = None) -> Predictor:
        """The trained parameters as a function, on the devices."""
        return self._open(step)[0]

    def model(self, step: Step = None) -> Model:
        """What `jaxlt.load` opens: it is asked for tags, trees, answers."""
        return Model(self.config, *self._open(step))

    def backbone(self, step: Step = None) -> "BaseSource":
        """The backbone as another run's base."""
        if not self.config.workdir:
            return HeldBackbone(self.predictor(step))
        if step is None:
            return open_base(self.config.workdir)
        number = self.predictor(step).step
        return open_base(f"{str(self.config.workdir).rstrip('/')}/checkpoints/{number}")

    def modules(self, name: str | None = None, step: Step = None) -> Modules:
        """The modules of a plug, or of all that the run trained."""
        predictor = self.predictor(step)
        return Modules(self.config, predictor, tuple(chosen_plugs(predictor, name)))

    def evaluate(
        self,
        split: str | None = None,
        languages: Sequence[str] = (),
        step: Step = None,
        **asked: Any,
    ) -> list[Result]:
        """The loss, accuracy and bits per byte on held-out text, by language and pooled.

        split: of the evaluation data; its own, or 'validation'. languages: only these. asked:
        limit, group, backbone, as `jaxlt eval` takes them.
        """
        settings = _evaluation(asked, split, languages, step)
        with progress.heard():
            predictor, _ = self._open(step)
            parts = (predictor, split, tuple(languages), settings.limit)
            source, named = evaluation.open_data(self.config, *parts)
            found = evaluation.scored(self.config, predictor, source, named, settings)
        self._keep(found)
        return found

    def rows(
        self, split: str | None = None, languages: Sequence[str] = (), count: int = 8
    ) -> "dict[str, np.ndarray]":
        """The first held-out rows, of the languages in turn: fields [count, ...] for the predictor.

        run.predictor().hidden(run.rows(), [0, -1], "mean")        # {0: [8, D], 12: [8, D]}
        """
        parts = (self.predictor(), split, tuple(languages))
        with progress.heard():
            source, _ = evaluation.open_data(self.config, *parts)
        if not 1 <= count <= source.num_rows:
            raise UserError(
                f"Run.rows gives from 1 row to as many as are held out, {source.num_rows}, and is "
                f"asked for {count}."
            )
        return source.rows(0, 0, count)

    def answers(
        self,
        split: str | None = None,
        languages: Sequence[str] = (),
        step: Step = None,
        **asked: Any,
    ) -> evaluation.Answers:
        """An answer to each held-out example, and what its task's own metrics say of them.

        asked: what Evaluation holds (decoding, labels, max_length, lid, ...) by name.
        """
        settings = _evaluation(asked, split, languages, step, "--answers")
        with progress.heard() as lines:
            predictor, vocabulary = self._open(step)
            parts = (predictor, split, tuple(languages), settings.limit)
            source, named = evaluation.open_data(self.config, *parts)
            found = evaluation.answers(self.config, predictor, vocabulary, source, named, settings)
        self._keep(found.results)
        return dataclasses.replace(found, notes=tuple(lines))

    def _keep(self, found: list[Result]) -> None:
        """Adds Results to those of the run's folder, where it has one."""
        from jaxlt.engine.hosts import distributed

        if self.config.workdir and distributed.is_primary():
            result_file.append(f"{str(self.config.workdir).rstrip('/')}/results.jsonl", found)

    def _open(self, step: Step) -> "tuple[Predictor, Vocabulary]":
        if step not in self._opened:
            opened = open_model(self.config, step) if self.config.workdir else self._held(step)
            self._opened[step] = opened
        return self._opened[step]

    def _held(self, step: Step) -> "tuple[Predictor, Vocabulary]":
        """The last or best state of a run in memory."""
        if self._trained is None:
            raise UserError("The run is in memory and has not been trained yet: call .train().")
        program, state, history, vocabulary, inventory = self._trained
        position = history.position
        assert position is not None
        if step == "best" and history.best is None:
            metric = self.config.checkpoint.best_metric
            why = f"none was evaluated by '{metric}'" if metric else "no metric decides on it"
            raise UserError(f"The run has no best state: {why} (CheckpointConfig.best_metric).")
        if history.best is not None and step in ("best", position.best_step):
            assert history.best_position is not None
            state, position = history.best, history.best_position
            step = None
        if step not in (None, position.step):
            best = "" if history.best is None else f" and {position.best_step}"
            raise UserError(
                f"The run is in memory and holds no state of step {step}, but of {position.step}"
                f"{best}: give it a WORKDIR for more."
            )
        params = {**state.frozen, **state.trainable}
        return predictor_at(program, params, position, inventory), vocabulary


def _evaluation(
    asked: dict[str, Any],
    split: str | None,
    languages: Sequence[str],
    step: Step,
    *words: str,
) -> Evaluation:
    """What is asked of an evaluation, with the flags by which `jaxlt eval` measures it again."""
    for name in asked:
        if name not in _FIELDS:
            raise UserError(
                f"An evaluation has no setting '{name}'.{nearest(name, _FIELDS)} It has "
                f"{', '.join(_FIELDS)}."
            )
    plain = {n: ",".join(v) if n == "labels" else v for n, v in asked.items() if n != "decoding"}
    if languages:
        plain["languages"] = ",".join(languages)
    if (how := asked.get("decoding")) is not None:
        drawn = {"beam": (), "sample": ("temperature", "top_k", "top_p")}.get(how.method, ())
        plain |= {name: getattr(how, name) for name in drawn}
        if how.method == "beam":
            plain |= {"beams": how.beams, "length_penalty": how.length_penalty}
        if drawn:
            plain["decoding_seed"] = how.seed
    flags = [f"--{name}={value}" for name, value in plain.items() if name != "overrides"]
    return Evaluation(**asked, flags=(*words, *flags))
