"""What a setting of transfer chooses: the tasks (or languages) that train, stop and are scored.

TransferRoles are given to the tasks of a DataConfig, and open those alone: what a setting does not
read is not tokenised.
"""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from jaxlt.data.config import DataConfig
from jaxlt.data.near import nearest_language
from jaxlt.data.rows.batches import digest, mixed, number_of, permute
from jaxlt.data.rows.views import TokenizedText
from jaxlt.data.sources.discovery import discover
from jaxlt.data.sources.splits import Nothing
from jaxlt.data.tasks import configured
from jaxlt.data.tasks.kind import kind_of
from jaxlt.data.transfer_config import TransferConfig
from jaxlt.errors import UserError, some_of

_log = logging.getLogger(__name__)

Named = Mapping[str, str]  # the language of each task; without tasks, of each language itself
Opened = tuple[list[TokenizedText], dict[str, float]]  # texts, and the rates that they bring
Open = Callable[[DataConfig, str], Opened]  # (with rates for what is wanted, split)


@dataclass(frozen=True)
class TransferRoles:
    """What a setting chooses of a config's tasks: `named` have their languages by their names.

    `sources` and `targets` are in the order given, or else sorted; `config` has the languages by
    routing id, all that have a role, whether or not they train. In-language training has no
    sources: those that are given for the other settings' sake take no part.
    """

    config: DataConfig
    named: Named
    translated: Named  # tasks of the translated files
    sources: tuple[str, ...]
    targets: tuple[str, ...]

    @classmethod
    def of(cls, config: DataConfig) -> "TransferRoles":
        """Finds a config's tasks, without opening them; a UserError for what is not there."""
        transfer, named = _transfer(config), _named(config)
        translated: Named = {}
        if transfer.setting == "translate_train":
            translated = _named(_translated(config))
        sources = () if transfer.setting == "in_language" else transfer.sources
        running = _running(config)
        asked = {n: of for n, of in named.items() if n.partition(".")[0] not in running}
        targets = _targets(transfer, asked, translated)
        names = config.languages or tuple(sorted({*sources, *targets}))
        for name in (*sources, *targets):
            if name not in names:
                raise UserError(
                    f"'{name}' is a source or target of DataConfig.transfer but is not in "
                    f"DataConfig.languages.{nearest_language(name, names)}"
                )
        return cls(replace(config, languages=names), named, translated, sources, targets)

    @property
    def every(self) -> tuple[str, ...]:
        """Sources, then targets."""
        return (*self.sources, *self.targets)

    def training(self, split: str, open_texts: Open, others: Open | None = None) -> Opened:
        """Returns the texts that are trained on, and the rates that a registered mixture brings.

        others: opens those that nothing is drawn from, if not by `open_texts`.
        Tasks of running text ('denoise') are no examples of a task: those of all sources and
        targets train.
        """
        config, setting = self.config, _transfer(self.config).setting
        few: list[TokenizedText] = []
        wanted, whole = self.sources, others or open_texts
        if setting == "translate_train":
            mine = _of(self.targets, self.translated)
            few, wanted = _open(_translated(config), split, mine, whole)[0], ()
        elif setting == "few_shot":
            few = [shot.text_of(shot.index) for shot in self._shots(open_texts)]
        elif setting in ("joint", "in_language"):
            wanted = self.every
        running = self._tasks(self.every, running=True)
        absent = set(self._tasks(set(self.named.values()), running=True)) - set(running)
        if absent:
            _log.warning("Of no source or target, and left out: %s", some_of(sorted(absent)))
        names = [*self._tasks(wanted), *running]
        texts, own = _open(config, split, names, whole) if names else ([], {})
        _check_rates(config, [*texts, *few])
        return [*texts, *few], {} if few else own

    def few(self) -> frozenset[str]:
        """Names of the tasks (or languages) whose few examples have TransferConfig.share."""
        return self.shot_names() if self.config.rules.few_share else frozenset()

    def shot_names(self) -> frozenset[str]:
        """Names of the tasks (or languages) of which few_shot draws some examples."""
        few = _transfer(self.config).setting == "few_shot"
        return frozenset(self._tasks(self.targets)) if few else frozenset()

    def read_to_train(self) -> tuple[DataConfig, tuple[str, ...]]:
        """Returns the config that training reads by, and the languages that it takes of it."""
        setting = _transfer(self.config).setting
        if setting == "translate_train":
            return _translated(self.config), self.targets
        few = setting in ("few_shot", "joint", "in_language")
        return self.config, self.every if few else self.sources

    def evaluation(
        self, split: str, open_texts: Open, languages: Collection[str] | None = None
    ) -> list[TokenizedText]:
        """Returns the texts of a split that stop training; with `languages` those of these."""
        transfer = _transfer(self.config)
        stopping = self.sources if transfer.stopped_on == "source" else self.targets
        wanted = [n for n in self.every if n in (stopping if languages is None else languages)]
        names = self._tasks(wanted)
        if not names:
            raise UserError(
                f"{some_of(sorted(languages or stopping))} has no part in the setting "
                f"'{transfer.setting}', which is evaluated on {some_of(self.every)}."
            )
        texts = _open(self.config, split, names, open_texts)[0]
        if transfer.setting != "few_shot" or not set(wanted) & set(self.targets):
            return texts
        shots = {s.text.name: s for s in self._shots(open_texts) if s.split == split}
        kept = []
        for text in texts:
            shot = shots.get(text.name)
            if shot is None:
                kept.append(text)
            elif languages is not None:
                rest = np.setdiff1d(np.arange(text.cache.examples), shot.index)
                kept += [shot.text_of(rest)] if len(rest) else []
        gone = sorted({t.name for t in texts} - {t.name for t in kept})
        if gone and not kept:
            raise UserError(
                f"The k examples that few_shot trains on are of the split '{split}' of "
                f"{some_of(gone)}, for lack of a training split, and nothing is left of it to "
                + (
                    "stop on: set TransferConfig.stop_on = 'source'."
                    if languages is None
                    else "score."
                )
            )
        if gone:
            _log.warning("Their split '%s' is trained on, not evaluated: %s", split, some_of(gone))
        return kept

    def _tasks(self, languages: Iterable[str], running: bool = False) -> list[str]:
        """Names of the tasks of some languages: those with answers, or those of running text."""
        labels, names = _running(self.config), _of(languages, self.named)
        return [name for name in names if (name.partition(".")[0] in labels) == running]

    def _shots(self, open_texts: Open) -> list["_Shot"]:
        """Draws k examples of each task of each target, over its corpora."""
        left: dict[str, list[str]] = {}  # 'tagging swh_Latn' -> its tasks
        for name in self._tasks(self.targets):
            label = name.partition(".")[0] if "." in name else ""
            left.setdefault(f"{label} {self.named[name]}".strip(), []).append(name)
        found: list[_Shot] = []
        for split in ("train", "validation"):
            every = [name for names in left.values() for name in names]
            texts = {}
            with contextlib.suppress(Nothing):
                opened = _open(self.config, split, every, open_texts)[0] if every else []
                texts = {t.name: t for t in opened if t.cache.examples}
            for group, names in list(left.items()):
                there = [texts[n] for n in names if n in texts]
                if there:
                    found += _drawn(group, there, split, _transfer(self.config))
                    del left[group]
        if left:
            raise UserError(
                "few_shot draws examples of every target, and there is nothing to train or "
                f"validate on of {some_of(sorted(left))}: leave them out (TransferConfig.targets)."
            )
        return found


@dataclass(frozen=True)
class _Shot:
    """What few_shot takes of one text: example numbers of a split."""

    text: TokenizedText
    index: np.ndarray
    split: str

    def text_of(self, index: np.ndarray) -> TokenizedText:
        """The text cut to some of its examples, with a key of its own."""
        key = digest([self.text.key, "examples", index.tolist()])
        return self.text.cut(index, key)


def _named(config: DataConfig) -> Named:
    """Returns the language of each task, or of each language's text, whatever has a rate."""
    if config.objective == "translation":
        raise UserError(
            "DataConfig.transfer is for tasks in one language, and translation is of two: choose "
            "directions by DataConfig.rates, and leave transfer out."
        )
    if config.sources:
        found = discover(replace(config, rates=(), languages=(), transfer=None))
        return {name: name for name in found}
    if config.tasks:
        named = {name: name.rpartition(".")[2] for name in configured.streams(config)}
    else:
        from jaxlt.data.seqio_tasks import registered

        named = registered.languages(config)
    for name, language in named.items():
        if ":" in language:
            raise UserError(
                f"DataConfig.transfer is for tasks in one language, and '{name}' is of two: choose "
                "directions by DataConfig.rates, and leave transfer out."
            )
    return named


def _targets(transfer: TransferConfig, named: Named, translated: Named) -> tuple[str, ...]:
    """Returns the targets among the languages of `named`, or raises UserError."""
    known, there = sorted(set(named.values())), set(translated.values())
    for field in ("sources", "targets"):
        for name in getattr(transfer, field):
            if name not in known:
                raise UserError(
                    f"TransferConfig.{field} names '{name}', which the run's data has not."
                    f"{nearest_language(name, known)} It has {some_of(known)}."
                )
    targets = transfer.targets or tuple(n for n in known if n not in transfer.sources)
    if transfer.setting == "translate_train":
        for name in transfer.targets:
            if name not in there:
                raise UserError(
                    f"TransferConfig.targets names '{name}', into which nothing is translated in "
                    f"{', '.join(transfer.translated)}.{nearest_language(name, there)}"
                )
        targets = tuple(name for name in targets if name in there)
    needed = transfer.setting not in ("zero_shot", "multi_source")
    if not targets and (needed or transfer.stopped_on == "target"):
        what = f"The setting '{transfer.setting}'" if needed else "TransferConfig.stop_on 'target'"
        more = " that is translated into" if transfer.setting == "translate_train" else ""
        raise UserError(
            f"{what} needs a target, and the run's data has no language{more} beside "
            f"TransferConfig.sources ({', '.join(transfer.sources)})."
        )
    return targets


def _translated(config: DataConfig) -> DataConfig:
    """Returns the config of the translated files: the run's own, with these as what it reads."""
    given = _transfer(config).translated
    plain = replace(config, rates=(), languages=(), transfer=None)
    if config.sources:
        return replace(plain, sources=given)
    read = [t for t in config.tasks if not t.made and not kind_of(t.kind).denoised]
    if not read:
        raise UserError(
            "The setting 'translate_train' reads files (TransferConfig.translated) as the run's "
            "tasks are read, and this run has none that reads files: give DataConfig.sources or "
            "tasks of corpora."
        )
    tasks = tuple(replace(task, sources=given, names=(), languages=()) for task in read)
    return replace(plain, tasks=tasks, mixture=f"{config.mixture}_translated")


def _drawn(
    group: str, texts: Sequence[TokenizedText], split: str, transfer: TransferConfig
) -> list[_Shot]:
    numbers = [t.numbers() for t in texts]
    counts = [len(np.unique(own)) for own in numbers]
    first, last = transfer.draw * transfer.k, (transfer.draw + 1) * transfer.k
    if last > sum(counts):
        what = f"{transfer.k} examples"
        if transfer.draw:
            what = f"draw {transfer.draw} (examples {first} to {last - 1} of the order drawn)"
        raise UserError(
            f"few_shot asks for {what} of '{group}', whose split '{split}' has {sum(counts)}. "
            "Lower TransferConfig.k or draw, or leave the language out of the targets."
        )
    key = mixed(number_of(f"few shot {group}"))
    chosen = permute(np.arange(first, last), sum(counts), key)
    ends = np.cumsum(counts)
    shots = []
    for text, of, end, count in zip(texts, numbers, ends, counts, strict=True):
        own = np.unique(of)[chosen[(chosen >= end - count) & (chosen < end)] - (end - count)]
        if len(own):
            shots.append(_Shot(text, np.flatnonzero(np.isin(of, own)), split))
    return shots


def _open(config: DataConfig, split: str, names: Sequence[str], open_texts: Open) -> Opened:
    """Opens the texts of some tasks or languages."""
    chosen = replace(config, rates=tuple((name, 1.0) for name in names), transfer=None)
    return open_texts(chosen, split)


def _check_rates(config: DataConfig, texts: Sequence[TokenizedText]) -> None:
    """Raises UserError unless rates, if there are any, are of what trains and of all of it."""
    setting = _transfer(config).setting
    kinds = {t.name: t.name.partition(".")[0] for t in texts}
    known = {*kinds, *kinds.values(), *(t.source for t in texts)}
    rated = {name for name, _ in config.rates}
    for name in sorted(rated - known):
        raise UserError(
            f"DataConfig.rates names '{name}', which the setting '{setting}' does not train on; "
            f"it trains on {some_of(sorted({t.name for t in texts}))}."
            f"{nearest_language(name, known)}"
        )
    for text in texts if rated else ():
        if not rated & {text.name, text.source, kinds[text.name]}:
            raise UserError(
                f"DataConfig.rates leaves out '{text.name}', which the setting '{setting}' trains "
                "on: give it a rate, or leave rates out."
            )


def _transfer(config: DataConfig) -> TransferConfig:
    assert config.transfer is not None
    return config.transfer


def _running(config: DataConfig) -> set[str]:
    """Labels of the tasks of running text."""
    return {task.label for task in config.tasks if kind_of(task.kind).denoised}


def _of(languages: Iterable[str], named: Named) -> list[str]:
    """Names of the tasks of some languages, in the languages' order."""
    return [name for one in languages for name in sorted(named) if named[name] == one]
