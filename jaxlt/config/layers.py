"""Which of several gin files wins: that of the later layer, in whatever order they are given.

    jaxlt train --gin_file=modules/lora.gin --gin_file=runs/adapt.gin ...   # the module's wins

A file has the layer of the folder it lies in (models, runs, modules, heads, data, hardware, mesh,
topologies, platforms), one that comes with jaxlt and one of your own alike. Any file may declare
one in its header, `# Layer: module`; `over run` and its like stand right over that layer, for what
changes it. The config.gin of a run, known by the header that it is written with, is the first:
whatever else is given changes what it recorded. Files of none of these (tiny.gin, too) are the
last, the later of them winning. What a file includes is of its own layer, or, where it has none,
of what is included.
"""

import re
from pathlib import Path

from jaxlt.errors import UserError, nearest

RECORDED, LAST = "recorded", ""
HEADER = "# The configuration of a jaxlt run."  # the first line of a config.gin
DECLARED = ("model", "run", "over run", "module", "over module", "data", "over data", "hardware")
LAYERS = (RECORDED, *DECLARED, LAST)
_FOLDERS = {
    "models": "model",
    "runs": "run",
    "modules": "module",
    "heads": "module",
    "data": "data",
    **dict.fromkeys(("mesh", "hardware", "topologies", "platforms"), "hardware"),
}


def layer_of(path: Path, text: str, shown: str) -> str:
    """Returns the layer of a gin file: what its text declares, or that of its folder."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("#"):
            break
        declared = re.match(r"#\s*Layer:\s*(.*?)\s*$", line)
        if declared and declared[1] not in DECLARED:
            raise UserError(
                f"{shown}, line {number}: there is no layer '{declared[1]}'."
                f"{nearest(declared[1], DECLARED)} Layers are {', '.join(DECLARED)}."
            )
        if declared:
            return declared[1]
    if text.startswith(HEADER):
        return RECORDED
    return _FOLDERS.get(path.absolute().parent.name, LAST)
