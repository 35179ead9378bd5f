"""Made languages as seqio tasks, without files."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import seqio

from jaxlt.data.synth.languages import LanguageSpec, generate
from jaxlt.data.tasks.text import register_documents_task

if TYPE_CHECKING:
    from jaxlt.data.config import DataConfig


def register_synthetic(
    specs: Sequence[LanguageSpec], sentences: int, seed: int, config: "DataConfig"
) -> str:
    """Registers a task '<mixture>.<code>' a language and their equal mixture; returns its name.

    A DataConfig with that mixture and no sources then reads them.
    """
    drawn = config.shares.split(0)
    for spec in specs:

        def documents(split: str, spec: LanguageSpec = spec) -> Iterable[bytes]:
            texts = (text.encode() for text in generate(spec, sentences, seed))
            return (t for t in texts if drawn.of(t) == split)

        shares = dataclasses.astuple(drawn)
        said: list[Any] = [dataclasses.astuple(spec), sentences, seed, shares]
        identity: Callable[[], list[Any]] = functools.partial(list, said)
        register_documents_task(f"{config.mixture}.{spec.code}", documents, config, identity)
    if config.mixture in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove(config.mixture)
    names = [f"{config.mixture}.{spec.code}" for spec in specs]
    seqio.MixtureRegistry.add(config.mixture, names, default_rate=1.0)
    return config.mixture
