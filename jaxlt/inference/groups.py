"""How a table of languages is grouped: by family or by seen and unseen, sources apart.

groups = open_groups(run, languages, "family")
for title, members in groups.sections(languages): ...
groups.means({"eng_Latn": 0.9, "swh_Latn": 0.4})
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxlt.data.tasks.kind import kind_of
from jaxlt.errors import UserError, check_one_of
from jaxlt.metrics.groups import averages, members
from jaxlt.metrics.result import Aggregate, Result

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.config import DataConfig

BACKBONES = {"mt5": "mT5", "byt5": "ByT5", "xlmr": "XLM-R", "mbert": "mBERT"}
TITLES = {
    "all": "mean of languages",
    "without_source": "mean without the source",
    "seen": "mean of seen",
    "unseen": "mean of unseen",
    "families": "mean of families",
}


class Mean(NamedTuple):
    """A mean over n languages (of "families" over n families)."""

    value: float
    n: int
    members: tuple[str, ...] = ()

    def result(self, key: str, one: Result) -> Result:
        """Returns the Result of the group that is named so, whose members' Results are like one."""
        kind: Aggregate = "family" if key.startswith("famil") else "macro"
        end, _, language = key.partition(" ")
        return dataclasses.replace(
            one,
            value=self.value,
            n=self.n,
            unit="families" if key == "families" else "languages",
            aggregate="class" if key in ("seen", "unseen") else kind,
            group=key,
            members=self.members,
            target=language if end == "into" else "",
            source=language if end == "from" else "",
            interval=None,
            references="",
            details={},
        )


@dataclass(frozen=True)
class Groups:
    """Languages apart: `sources` were trained on, `seen` and `families` are None if not asked."""

    sources: tuple[str, ...] = ()
    seen: frozenset[str] | None = None
    families: Mapping[str, str] | None = None

    def sections(self, languages: Collection[str]) -> list[tuple[str, list[str]]]:
        """Returns (key of its mean, languages) of each block of a table: sources come first."""
        every = sorted(set(languages))
        if not every:
            return []
        sources = [name for name in every if name in self.sources]
        groups = members(every, source=sources, seen=self.seen, families=self.families)
        asked = [key for key in groups if key in ("seen", "unseen") or key.startswith("family/")]
        rest = [name for name in every if name not in sources]
        blocks = [("", sources), *([(key, list(groups[key])) for key in asked] or [("", rest)])]
        return [(key, names) for key, names in blocks if names]

    def means(self, values: Mapping[str, float]) -> dict[str, Mean]:
        """Scores by language -> the means of the groups that there are; none of a single one.

        Where nothing is known to be a source, there is no mean without it.
        """
        if len(values) < 2:
            return {}
        sources = [name for name in values if name in self.sources]
        settings: dict[str, Any] = {"seen": self.seen, "families": self.families}
        groups = members(values, source=sources, **settings)
        groups["families"] = tuple(name for name in groups if name.startswith("family/"))
        return {
            name: Mean(value, len(groups[name]), tuple(sorted(groups[name])))
            for name, value in averages(values, source=sources, **settings).items()
            if sources or name != "without_source"
        }


def title(key: str) -> str:
    """Returns how a table calls the mean of a group, or of what goes into or from a language."""
    if key.startswith(("into ", "from ")):
        return f"mean {key}"
    return TITLES.get(key) or f"mean of {_family(key)}"


def section_heading(key: str, count: int) -> str:
    """Returns how a table calls a group: its name and how many languages it has."""
    return f"{_family(key)} ({count})"


def _family(key: str) -> str:
    return "no known family" if key == "family/none" else key.removeprefix("family/")


def open_groups(
    run: "RunConfig",
    languages: Iterable[str],
    group: str | None = None,
    backbone: str | None = None,
) -> Groups:
    """Returns the groups of some languages: by 'family', by 'seen', or sources apart alone.

    backbone: whose pretraining makes a language seen; that of the run unless given.
    """
    sources = sources_of(run.data)
    if backbone is not None and group != "seen":
        raise UserError("--backbone says what is seen: give --group=seen with it.")
    if group == "family":
        return Groups(sources, families=_families(run.data, languages))
    if group == "seen":
        return Groups(sources, seen=_seen(run, languages, backbone))
    return Groups(sources)


def sources_of(config: "DataConfig") -> tuple[str, ...]:
    """Returns the languages that a run is transferred from: () where nothing says it.

    They are TransferConfig's, or else those that DataConfig.rates choose; the rates of tasks
    ('tagging.en_ewt.eng_Latn') are of their languages, those of pairs of their targets.
    """
    if config.transfer:
        in_language = config.transfer.setting == "in_language"
        return () if in_language else config.transfer.sources
    languages = []
    kinds = {task.label for task in config.tasks}
    running = {task.label for task in config.tasks if kind_of(task.kind).denoised}
    for name, _ in config.rates:
        if name in kinds or name.partition(".")[0] in running:
            continue  # of all languages, or of text that is no task's
        last = name.rpartition(".")[2].rpartition(":")[2]
        languages.append(last.rpartition("-")[2] if config.objective == "translation" else last)
    return tuple(dict.fromkeys(languages))


def _families(config: "DataConfig", languages: Iterable[str]) -> dict[str, str]:
    """The family of each language that has a known one; of made ones its number."""
    from jaxlt.data.languages import LanguageTable
    from jaxlt.data.synth.families import languages as made

    table = LanguageTable()
    rows = {name: table.find(name) for name in languages}
    families = {name: row.family for name, row in rows.items() if row and row.family}
    for task in config.tasks:
        if task.factory:
            families |= {s.code: f"made family {s.family + 1}" for s in made(task.factory)}
    return families


def _seen(run: "RunConfig", languages: Iterable[str], backbone: str | None) -> frozenset[str]:
    if backbone is not None:
        from jaxlt.data.languages import LanguageTable

        short = backbone.lower().replace("-", "")
        if short not in BACKBONES:
            check_one_of("--backbone", backbone, BACKBONES)
        table, name = LanguageTable(), BACKBONES[short]
        rows = {language: table.find(language) for language in languages}
        return frozenset(code for code, row in rows.items() if row and name in row.seen)
    from jaxlt.inference import opening

    base = opening.base_of(run)
    own = getattr(base, "meta", {}).get("languages")
    if not own:
        what = f"'{run.init_from}', which does not say it" if run.init_from else "scratch"
        raise UserError(
            f"--group=seen asks what the backbone was pretrained on, and this run began from "
            f"{what}: name it with --backbone ({', '.join(BACKBONES)}), or group by family."
        )
    return frozenset(own)
