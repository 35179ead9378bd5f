"""Words and their translations, from dictionaries, both ways: `<2fin_Latn> su` -> `vesi`."""

from jaxlt.data.tasks.kind import Reading, Stream
from jaxlt.data.tasks.translation import Directed


class Words(Directed):
    """Words of dictionaries."""

    def streams(self, reading: Reading) -> list[Stream]:
        return self.of_pairs(reading, "dictionary")
