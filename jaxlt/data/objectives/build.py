"""The objective of a DataConfig: of text, or the labels that heads learn."""

from jaxlt.data.config import DataConfig
from jaxlt.data.inventory import NOTHING, Inventory
from jaxlt.data.labelling import Labels, Task
from jaxlt.data.objectives.objectives import Objective
from jaxlt.data.objectives.of_text import text_objective
from jaxlt.data.tasks.kind import head_kind
from jaxlt.data.vocabulary.label_units import PieceUnits, Reader, WordUnits
from jaxlt.data.vocabulary.vocabularies import Vocabulary


def build_objective(
    config: DataConfig, vocabulary: Vocabulary, inventory: Inventory = NOTHING
) -> Objective:
    """Returns the objective of a config; heads have the names of an inventory."""
    if config.objective != "heads":
        return text_objective(config, vocabulary)
    reader: Reader = PieceUnits(vocabulary)
    if config.reads == "words":
        reader = WordUnits(inventory, config.word_chars)
    tasks = [Task(task.label, head_kind(task.kind).shape) for task in config.tasks]
    return Labels(
        tasks, reader, inventory, config.inputs_length, config.words_length, config.overlength
    )
