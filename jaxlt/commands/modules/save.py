"""Save a trained run's modules to a library: of a bank one a language, of others one by its name.

  jaxlt modules save --workdir=runs/languages --library=library
  jaxlt modules save --workdir=runs/pos --library=library --plug=task --name=task/pos

Without --plug all that the run trained are saved. A bank's modules are named PLUG/LANGUAGE, others
PLUG/RUN by the name of the run's folder. Each keeps the scores of the run's last evaluation.
"""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from jaxlt.commands import run_flags
from jaxlt.data.near import nearest_language
from jaxlt.errors import UserError, nearest
from jaxlt.inference import trained

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.inference.predictor import Predictor
    from jaxlt.modules.library import Saved
    from jaxlt.modules.site import Plug


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    run_flags.add_run_arguments(parser)
    group = parser.add_argument_group("what is saved, and where")
    group.add_argument("--library", metavar="DIR", help="the library's folder (run.library)")
    group.add_argument("--plug", help="only this one (all that the run trained)")
    group.add_argument("--languages", metavar="A,B", help="of a bank only these (all of the run's)")
    group.add_argument("--name", help="of a module that is no bank's (PLUG/RUN)")
    run_flags.add_machine_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Saves what the flags name."""
    run = run_flags.load_run(args)
    library = args.library or run.library
    if not library:
        raise UserError("Which library? Give its folder (--library=DIR); a new one is made.")
    run_flags.start_jax(args)
    predictor, _ = run_flags.open_model(run, args)
    plugs = chosen_plugs(predictor, args.plug)
    if args.name and (len(plugs) > 1 or plugs[0].routes):
        raise UserError("--name names one module that is no bank's: choose it with --plug.")
    for saved in save_all(run, predictor, plugs, library, args.languages, args.name):
        print(f"{saved.path}: {saved.parameters:,} parameters")
    return 0


def chosen_plugs(predictor: "Predictor", name: str | None) -> "list[Plug]":
    """The plug of that name, or all that the run trained."""
    from jaxlt.modules.site import owner

    plugs = {p.name: p for p in predictor.config.plugs}
    if name is not None:
        if name not in plugs:
            raise UserError(
                f"The run has no plug '{name}'.{nearest(name, plugs)} It has: "
                f"{', '.join(plugs) or 'none'}."
            )
        return [plugs[name]]
    trains = {owner(n) for n in predictor.program.layout.trainable if n.startswith("modules/")}
    if not trains:
        raise UserError("The run trained no module: there is nothing to save.")
    return [p for p in plugs.values() if p.name in trains]


def save_all(
    run: "RunConfig",
    predictor: "Predictor",
    plugs: "list[Plug]",
    library: str,
    languages: str | None = None,
    name: str | None = None,
) -> "list[Saved]":
    """Writes the modules of these plugs; returns their records."""
    from jaxlt.config import operative_config
    from jaxlt.inference.compose import stacked_modules
    from jaxlt.models.config import T5Config
    from jaxlt.modules.library import save
    from jaxlt.modules.site import owner

    base, training = predictor.backbone(), operative_config(run)
    out = []
    for p in plugs:
        mine = {n: v for n, v in predictor.params.items() if owner(n) == p.name}
        assert isinstance(predictor.config, T5Config)  # what has plugs
        flat, axes = stacked_modules(predictor.config, mine)
        if not p.routes:
            called = name or f"{p.name}/{Path(run.workdir).name}"
            metrics = dict(predictor.evaluation)
            out.append(
                save(
                    library,
                    called,
                    p,
                    flat,
                    axes=axes,
                    base=base,
                    metrics=metrics,
                    training=training,
                )
            )
            continue
        known = predictor.languages or trained.languages_of(run.data)
        for language in (languages or ",".join(known)).split(","):
            if language not in known:
                raise UserError(
                    f"The run has no language '{language}'.{nearest_language(language, known)} Its "
                    f"languages: {', '.join(known)}."
                )
            out.append(
                save(
                    library,
                    f"{p.name}/{language}",
                    p,
                    flat,
                    known.index(language),
                    axes=axes,
                    base=base,
                    language=language,
                    metrics=_of_language(predictor.evaluation, language),
                    training=training,
                )
            )
    return out


def _of_language(metrics: "dict[str, float]", language: str) -> dict[str, float]:
    """Metrics named '.../LANGUAGE', without that ending."""
    ending = re.compile(rf"/{re.escape(language)}$")
    return {ending.sub("", n): v for n, v in metrics.items() if ending.search(n)}
