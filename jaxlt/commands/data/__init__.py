"""Data on its own: tokenise, count, look at, clean, recognise and make it. Trains nothing."""

from jaxlt.commands.main import Verb

VERBS = {
    "stats": Verb("jaxlt.commands.data.stats", False, "count what lies in folders, by language"),
    "vocab": Verb("jaxlt.commands.data.vocab", True, "train a vocabulary, or report how one fits"),
    "inspect": Verb("jaxlt.commands.data.inspect", True, "print a run's data as people read it"),
    "cache": Verb("jaxlt.commands.data.cache", True, "write seqio's offline cache by Apache Beam"),
    "lid": Verb("jaxlt.commands.data.lid", False, "train, test and use language identification"),
    "clean": Verb(
        "jaxlt.commands.data.clean", False, "drop duplicates, overlaps and foreign lines"
    ),
    "synth": Verb("jaxlt.commands.data.synth", True, "make languages whose relations are known"),
}
