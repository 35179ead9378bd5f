"""Modules on their own: list a library, save a run's modules to it, merge them into a backbone."""

from jaxlt.commands.main import Verb

VERBS = {
    "list": Verb("jaxlt.commands.modules.list", False, "show what a library holds"),
    "merge": Verb(
        "jaxlt.commands.modules.merge", True, "merge a run's modules into a plain backbone"
    ),
    "save": Verb("jaxlt.commands.modules.save", True, "save a trained run's modules, each alone"),
    "sparsify": Verb(
        "jaxlt.commands.modules.sparsify", True, "cut what a run changed down to a sparse delta"
    ),
}
