"""Importing this makes the mixtures of gin files known to seqio, in any process: T5X's, or yours.

    export JAXLT_MIXTURES=out/swahili/config.gin      # several are joined as in $PATH
    python -c "import seqio, jaxlt.config.mixtures; seqio.get_mixture_or_task('text')"

A file is a run's config.gin or one that configures a run; its mixture is DataConfig.mixture. T5X's
own gin files name the module: `import jaxlt.config.mixtures`.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from jaxlt.config import load, recorded
from jaxlt.errors import UserError


def register(paths: Sequence[str]) -> list[str]:
    """Registers the mixture of each gin file with seqio; returns their names."""
    from jaxlt.data.seqio_tasks import mixtures

    names = []
    for path in paths:
        behind = recorded.behind(str(Path(path).parent)) if Path(path).name == "config.gin" else {}
        run = load([path], [], [], {"WORKDIR": "", "INIT_FROM": None, **behind})
        name = mixtures.register(run.data)
        if name in names:
            raise UserError(
                f"Two files of JAXLT_MIXTURES have the mixture '{name}': give one another "
                "DataConfig.mixture."
            )
        names.append(name)
    return names


register([path for path in os.environ.get("JAXLT_MIXTURES", "").split(os.pathsep) if path])
