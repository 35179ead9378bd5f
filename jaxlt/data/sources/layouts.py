"""How collections name their files: which file is which corpus, language and split.

    place("UD_English-EWT/en_ewt-ud-train.conllu")     # corpus en_ewt, language en, split train
    place("MLQA_V1/dev/dev-context-ar-question-ar.json")    # mlqa, ar, validation
    place("corpus/eng_Latn-test.txt.gz")                # what is named as jaxlt names files

`LAYOUTS` are those of public collections, as they are downloaded; a file of none of them is named
`<language>_<anything>-<split>.<ending>`. Languages are codes as the collection writes them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from jaxlt.data.sources import files

# What the files of a collection hold; `aligned`: line i of all of them says the same.
Holds = Literal["treebank", "entities", "questions", "pairs", "aligned"]

SPLITS = {
    "train": "train",
    "test": "test",
    "devtest": "test",
    "dev": "validation",
    "valid": "validation",
    "validation": "validation",
    "extra": "extra",  # WikiANN's sentences beyond its three splits: no task reads them
}
_SPLIT = re.compile(r"(?:^|[-_.])(train|test|dev|valid|validation)$")
_CODE = re.compile(r"[A-Za-z]{2,3}(?:[-_](?:[A-Z][a-z]{3}|[A-Z]{2}))?(?![^_-])")
# Wikipedias whose names are no codes of their languages, or are another's.
_WIKIPEDIAS = {
    "als": "gsw", "bat-smg": "sgs", "be-x-old": "be", "bh": "bho", "cbk-zam": "cbk", "eml": "egl",
    "fiu-vro": "vro", "map-bms": "jv", "nds-nl": "nds", "no": "nob", "roa-rup": "rup",
    "roa-tara": "nap", "simple": "en", "zh-classical": "lzh", "zh-min-nan": "nan", "zh-yue": "yue",
}  # fmt: skip


class Place(NamedTuple):
    """What the name of a file says.

    language and split are "" where it says none; `part` tells files apart that are one split
    together; `holds` is what a published collection has in it, "" of any other file; `left_out`
    says why a file of a collection is not read.
    """

    corpus: str
    language: str
    split: str
    part: str = ""
    holds: str = ""
    language_in_ids: bool = False
    left_out: str = ""


@dataclass(frozen=True)
class Layout:
    """The names of a collection's files.

    `path` matches the end of a path, without packing, from a folder's or file's beginning on; its
    groups are corpus, language, split, part and side (src or trg of the group pair). What a file
    does not say itself, the fields say. `codes` are languages that the collection calls otherwise.
    """

    holds: Holds
    path: str
    corpus: str = ""
    language: str = ""
    split: str = ""
    codes: Mapping[str, str] = field(default_factory=dict)
    language_in_ids: bool = False  # of questions: arabic-2323-0
    left_out: str = ""

    def place(self, path: str) -> Place | None:
        """Returns what a path says, None where it is no file of this collection."""
        match = re.search(rf"(?:^|/){self.path}$", path)
        if not match:
            return None
        groups = {name: text for name, text in match.groupdict().items() if text}
        language = groups.get("language", self.language)
        if "side" in groups:
            language = groups["pair"].split("-")[groups["side"] == "trg"]
        return Place(
            groups.get("corpus") or "-".join(filter(None, (self.corpus, groups.get("pair")))),
            self.codes.get(language, language),
            SPLITS.get(groups.get("split", ""), self.split),
            groups.get("part", ""),
            self.holds,
            self.language_in_ids,
            self.left_out,
        )


_TWO = r"(?P<language>[a-z]{2})"
_FLORES = r"(?P<language>[a-z]{3}(?:_[A-Z][a-z]{3})?)"
LAYOUTS = (
    # Universal Dependencies. Large treebanks have a split in parts: cs_pdt-ud-train-la.conllu.
    Layout(
        "treebank",
        r"(?P<corpus>(?P<language>[a-z]{2,3})_[a-z0-9]+)-ud-(?P<split>train|dev|test)"
        r"(?P<part>(?:-[a-z0-9]+)*)\.conllu",
    ),
    # WikiANN as Rahimi et al. split it: a folder a Wikipedia, and before each token its name.
    Layout(
        "entities",
        r"(?P<corpus>(?P<language>[a-z]{2,3}|simple|[a-z]{2,3}(?:-[a-z]+)+))"
        r"/(?P<split>train|dev|test|extra)(?:\.tsv)?",
        codes=_WIKIPEDIAS,
    ),
    # MasakhaNER: a folder a language.
    Layout(
        "entities",
        r"(?P<corpus>(?P<language>[a-z]{2,3}(?:_[A-Z][a-z]{3})?))"
        r"/(?P<split>train|dev|test)\.(?:txt|iob2)",
    ),
    # SQuAD, and what it was translated into for MLQA; MLQA; XQuAD; TyDi QA's gold passages.
    Layout("questions", r"(?P<split>train|dev)-v[12]\.\d\.json", corpus="squad", language="en"),
    Layout(
        "questions",
        _TWO + r"_squad-translate-train-(?P<split>train|dev)-v[12]\.\d\.json",
        corpus="squad",
    ),
    Layout(
        "questions",
        r"(?P<split>dev|test)-context-(?P<language>[a-z]{2})-question-(?P=language)\.json",
        corpus="mlqa",
    ),
    Layout(
        "questions",
        r"(?P<split>dev|test)-context-[a-z]{2}-question-[a-z]{2}\.json",
        corpus="mlqa",
        left_out="questions in another language than their text",
    ),
    Layout("questions", r"xquad\." + _TWO + r"\.json", corpus="xquad", split="test"),
    Layout(
        "questions",
        r"tydiqa-goldp-v\d\.\d-(?P<split>train|dev)\.json",
        corpus="tydiqa",
        language_in_ids=True,
    ),
    Layout("questions", r"tydiqa-goldp-(?P<split>dev)-(?P<language>[a-z]+)\.json", corpus="tydiqa"),
    Layout(
        "questions",
        r"tydiqa\.(?:goldp\.)?" + _TWO + r"\.(?P<split>train|dev)\.json",
        corpus="tydiqa",
    ),
    # XNLI; its training data, MultiNLI, in 15 languages (XNLI-MT-1.0).
    Layout("pairs", r"xnli\.(?P<split>dev|test)\.(?:tsv|jsonl)", corpus="xnli"),
    Layout("pairs", r"multinli\.(?P<split>train)\." + _TWO + r"\.tsv", corpus="multinli"),
    # FLORES-101 and -200, and as its keepers name it now; NTREX-128; Tatoeba as LASER has it; the
    # Tatoeba challenge.
    Layout("aligned", rf"(?P<split>dev|devtest)/{_FLORES}\.(?P=split)", corpus="flores"),
    Layout("aligned", rf"(?P<split>dev|devtest)/(?P=split)\.{_FLORES}", corpus="flores"),
    Layout(
        "aligned",
        r"newstest2019-(?:src|ref)\.(?P<language>[a-z]{3}(?:[-_][A-Za-z]{2,4})?)\.txt",
        corpus="ntrex",
        split="test",
    ),
    Layout(
        "aligned",
        r"newstest2019-ref-\d\.[a-z]{3}\.txt",
        corpus="ntrex",
        left_out="another translation into a language that has one",
    ),
    Layout(
        "aligned",
        r"tatoeba\.(?P<pair>[a-z]{3}-[a-z]{3})\.(?P<language>[a-z]{3})",
        corpus="tatoeba",
        split="test",
    ),
    Layout(
        "aligned",
        r"(?P<pair>[a-z]{3}(?:_[A-Z][a-z]{3})?-[a-z]{3}(?:_[A-Z][a-z]{3})?)"
        r"/(?P<split>train|dev|test)\.(?P<side>src|trg)",
        corpus="tatoeba",
    ),
)


def published(path: str, holds: str = "") -> Place | None:
    """Returns what a path says by the layout of a collection, of those that hold that or any."""
    plain = _plain(files.absolute(path))
    for layout in LAYOUTS:
        if not holds or layout.holds == holds:
            place = layout.place(plain)
            if place:
                return place
    return None


def place(path: str, holds: str = "") -> Place:
    """Returns what a path says, by a collection's layout or as jaxlt itself names files."""
    known = published(path, holds)
    if known:
        return known
    name = PurePosixPath(_plain(path)).name
    ending = max((e for e in _ENDINGS if name.endswith(e)), key=len, default="")
    name = name.removesuffix(ending)
    split = _SPLIT.search(name)
    corpus = name[: split.start()] if split else name
    code = _CODE.match(corpus)
    return Place(corpus, code[0] if code else "", SPLITS[split[1]] if split else "")


_ENDINGS = (".conllu", ".iob2", ".txt", ".tsv", ".jsonl", ".parquet", ".json")


def _plain(path: str) -> str:
    for packed in files.PACKED:
        path = path.removesuffix(packed)
    return path
