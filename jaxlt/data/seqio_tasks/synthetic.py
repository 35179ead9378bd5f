"""Made languages as seqio tasks, without files."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import seqio

from jaxlt.data import revisions
from jaxlt.data.config import DataConfig
from jaxlt.data.seqio_tasks.text import register_documents_task
from jaxlt.data.synth.languages import LanguageSpec, generate


def register_synthetic(
    specs: Sequence[LanguageSpec], sentences: int, seed: int, config: DataConfig
) -> str:
    """Registers a task '<mixture>.<code>' a language and their equal mixture; returns its name.

    A DataConfig with that mixture and no sources then reads them, made by its revision.
    """
    drawn = config.shares.split(0)
    specs = [_made_by(config.revision, spec) for spec in specs]
    for spec in specs:

        def documents(split: str, spec: LanguageSpec = spec) -> Iterable[bytes]:
            texts = (text.encode() for text in generate(spec, sentences, seed))
            return (t for t in texts if drawn.of(t) == split)

        shares = dataclasses.astuple(drawn)
        said: list[Any] = [_said_of(spec), sentences, seed, shares]
        identity: Callable[[], list[Any]] = functools.partial(list, said)
        register_documents_task(f"{config.mixture}.{spec.code}", documents, config, identity)
    if config.mixture in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove(config.mixture)
    names = [f"{config.mixture}.{spec.code}" for spec in specs]
    seqio.MixtureRegistry.add(config.mixture, names, default_rate=1.0)
    return config.mixture


def _made_by(revision: int, spec: LanguageSpec) -> LanguageSpec:
    """Returns a spec, with those that it descends and borrows from, of a revision."""
    others = {name: getattr(spec, name) for name in ("parent", "donor", "partner")}
    of_it: dict[str, Any] = {
        name: _made_by(revision, other) for name, other in others.items() if other
    }
    return dataclasses.replace(spec, revision=revision, **of_it)


def _said_of(spec: LanguageSpec) -> list[Any]:
    """Returns a spec as JSON; of the first revision without it, as it was when there was none."""
    fields = (f.name for f in dataclasses.fields(spec) if f.name != "revision")
    values = (getattr(spec, name) for name in fields)
    said = [_said_of(value) if isinstance(value, LanguageSpec) else value for value in values]
    return said if spec.revision == revisions.FIRST else [*said, spec.revision]
