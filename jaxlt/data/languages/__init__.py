"""Languages: what is known of each, whatever its code is called.

    lookup("uig_Arab").family        'Turkic'
    lookup("zh-TW").code             'zho_Hant'
    lookup("Swiss German").seen      ()

Names and codes come from the library langcodes; what a user knows better, from tables of his own.
"""

from jaxlt.data.languages.codes import parse, same_language
from jaxlt.data.languages.table import Language, LanguageTable, default_table, lookup

__all__ = ["Language", "LanguageTable", "default_table", "lookup", "parse", "same_language"]
