"""The laboratory: worlds of made languages, and backbones on them, which studies share.

    lab.pretrained(4)                   # ('qaa_Latn', 'qab_Latn', 'qba_Latn', 'qca_Latn')
    base = lab.backbone(at, lab.pretrained(4))                    # lab/SEED/mlm-4x1200
    tags = lab.tagger(at, "full", base, lab.source, [lab.target])

A seed is a world of its own. Languages come in families; the last of the first family, the
`target`, is a relative of the `source` that no backbone and no vocabulary has met. Stages of the
laboratory are named by what of it is not as usual: 'world', 'mlm-4x1200-width96'.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxlt.errors import UserError, check_least
from jaxlt.experiments.stage import Cell, Part, Stage
from jaxlt.experiments.verbs import PIECES

Languages = tuple[str, ...]
SHAPE, SIZES = ("families", "languages", "dialects"), ("sentences", "annotated", "labelled")
WORLD = (*SHAPE, *SIZES, "order", "cognates", "revision")
MODEL = ("width", "mlp", "layers", "rate", "batch", "length", "model", "text")
EPOCHS, MORE = 16, 3  # of 300 sentences; a fair start from scratch has so many times as many
_ROWS = 384  # of embeddings of bytes


@dataclasses.dataclass(frozen=True)
class Laboratory:
    """How large its worlds and models are.

    families: of so many languages each; the first has dialects too. sentences: of running text a
    language; annotated: with tags, of which those labelled train. order: of words, drawn where
    None. pieces: ids of the vocabulary, which is trained without the target; 0: bytes. steps: of
    pretraining, a language; batch: rows a step. model, text and heads are gin files.

    data: a folder of real texts and treebanks in the place of a world ('$NAME' of the environment),
    of the languages `real`, the source first, and `unseen`, the target: a seed is no world then.
    """

    families: int = 6
    languages: int = 3
    dialects: int = 1
    sentences: int = 20_000
    annotated: int = 1_400
    labelled: int = 300
    order: str | None = "SVO"
    cognates: float = 0.7
    revision: int = 2
    pieces: int = 1_000
    width: int = 64
    mlp: int = 160
    layers: int = 2
    steps: int = 600
    batch: int = 32
    length: int = 32
    rate: float = 3e-3
    model: str = "models/lab_mlm.gin"
    text: str = "runs/lab_mlm.gin"
    heads: str = "runs/lab_heads.gin"
    data: str = ""
    real: Languages = ()
    unseen: str = ""

    def __post_init__(self) -> None:
        check_least(self, 1, "families", "sentences", "width", "mlp", "layers", "steps", "batch")
        check_least(self, 2, "languages")
        if self.data and not (self.real and self.unseen):
            raise UserError(
                "laboratory.data is a folder of real text: laboratory.real names the languages "
                "that are read (the source first), laboratory.unseen the target."
            )

    @property
    def source(self) -> str:
        """The language that is labelled."""
        return self.real[0] if self.data else _code(0, 0)

    @property
    def target(self) -> str:
        """A relative of the source, unseen."""
        return self.unseen if self.data else _code(0, self.languages - 1)

    @property
    def dialect(self) -> str:
        """Of the source; unseen too."""
        return "qaz_Latn"

    def pretrained(self, count: int) -> Languages:
        """So many languages, nested: the source and its relatives, then others of all families."""
        found = self.real if self.data else self._made()
        if not 1 <= count <= len(found):
            raise UserError(
                f"A backbone is asked for {count} languages, and the laboratory has {len(found)} "
                "beside the target (laboratory.families, .languages; .real of real data)."
            )
        return found[:count]

    def _made(self) -> Languages:
        near = [_code(0, n) for n in range(self.languages - 1)]
        far = [_code(f, n) for n in range(self.languages) for f in range(1, self.families)]
        return (*near, *far)

    def world(self, at: Cell) -> Stage:
        """Texts, trees, tables of all languages."""
        return _world(self, at.seed)

    def texts(self, at: Cell, languages: Sequence[str]) -> list[Part]:
        """The files of some languages."""
        return [self.world(at) / f"text/{language}.txt" for language in languages]

    def vocabulary(self, at: Cell) -> Part | str:
        """Of all languages but the target (and its dialect), or bytes."""
        return _pieces(self, at.seed) / PIECES if self.pieces else "bytes"

    def settings(self, at: Cell) -> dict[str, Any]:
        """What all runs have: their vocabulary, seed and the size of the model."""
        usual = self.pieces == Laboratory.pieces
        most = -(-self.pieces // 128) * 128 or _ROWS
        rows = {} if usual else {"T5Config.vocab_rows": most}
        return rows | {
            "VOCABULARY": self.vocabulary(at),
            "SEED": at.seed,
            "T5Config.emb_dim": self.width,
            "T5Config.mlp_dim": self.mlp,
            "T5Config.encoder_layers": self.layers,
        }

    def mlm(
        self,
        at: Cell,
        name: str,
        languages: Sequence[str],
        files: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> Stage:
        """Masked language modelling: a backbone, or modules on one (INIT_FROM among settings)."""
        given = self.settings(at) | {
            "TEXT": self.texts(at, languages),
            "BATCH_SIZE": self.batch,
            "INPUTS_LENGTH": self.length,
            "LEARNING_RATE": self.rate,
        }
        files = (self.model, self.text, *files)
        return at.stage(name, "train", files=files, settings=given | dict(settings or {}), **how)

    def backbone(
        self,
        at: Cell,
        languages: Sequence[str],
        kind: str = "mlm",
        files: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        steps: int | None = None,
    ) -> Stage:
        """A model of several languages, as many steps for each; studies share it.

        kind: what else its name says, of `files` and `settings` that make it another.
        """
        steps = steps or self.steps * len(languages)
        name = f"{kind}-{len(languages)}x{steps}{self.odd((*WORLD, 'pieces', *MODEL))}"
        given = {"TRAIN_STEPS": steps} | dict(settings or {})
        return self.mlm(at, name, languages, files, given, lab=True)

    def tagger(
        self,
        at: Cell,
        name: str,
        base: Stage | None,
        targets: Sequence[str],
        files: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> Stage:
        """A tagger of the source, tested on targets; from scratch with more steps."""
        given = self.settings(at) | {
            "CORPORA": self.world(at) / "treebanks",
            "INIT_FROM": base,
            "EPOCHS": EPOCHS if base else MORE * EPOCHS,
            "SOURCES": self.source,
            "TARGETS": [] if self.data else list(targets),  # all that there are
        }
        files = (self.model, self.heads, "heads/tagging.gin", "data/transfer.gin", *files)
        return at.stage(name, "train", files=files, settings=given | dict(settings or {}), **how)

    def odd(self, fields: Sequence[str]) -> str:
        """What of these is not as usual: '-width96'."""
        usual = Laboratory()
        if self.data:
            fields = [name for name in fields if name not in WORLD]
        odd = [name for name in fields if getattr(self, name) != getattr(usual, name)]
        real = f"-real-{self.source}" if self.data else ""
        return real + "".join(f"-{name}{_short(getattr(self, name))}" for name in odd)


def _short(value: Any) -> Any:
    """A gin file by its name alone: 'runs/lab_mlm.gin' -> 'lab_mlm'."""
    return Path(value).stem if isinstance(value, str) else value


def _code(family: int, place: int) -> str:
    return f"q{chr(ord('a') + family)}{chr(ord('a') + place)}_Latn"


@functools.lru_cache(maxsize=64)
def _world(lab: Laboratory, seed: int) -> Stage:
    at = Cell(seed=seed)
    if lab.data:
        every = [*lab.real, lab.unseen]
        named = f"texts{lab.odd(())}"
        return at.stage(named, "gather", lab=True, data=lab.data, languages=every)
    shape = {"cognates": lab.cognates, "order": lab.order, "languages": lab.languages}
    first, others = shape | {"dialects": lab.dialects}, shape | {"copies": lab.families - 1}
    families = [first, others] if lab.families > 1 else [first]
    sizes = {n: getattr(lab, n) for n in (*SIZES, "revision")}
    sizes |= {"opinions": 0, "parallel": 0}
    named = f"world{lab.odd(WORLD)}"
    return at.stage(named, "synth", lab=True, families=families, **sizes)


@functools.lru_cache(maxsize=64)
def _pieces(lab: Laboratory, seed: int) -> Stage:
    every = lab.real if lab.data else lab.pretrained(lab.languages * lab.families - 1)
    return Cell(seed=seed).stage(
        f"pieces{lab.odd((*WORLD, 'pieces'))}",
        "vocabulary",
        lab=True,
        text=_world(lab, seed) / "text",
        languages=list(every),
        size=lab.pieces,
    )
