"""Languages: what is known of each, whatever its code is called, and ids that stay theirs.

    lookup("uig_Arab").family        'Turkic'
    lookup("zh-TW").code             'zho_Hant'
    lookup("Swiss German").seen      ()
    RoutingIds("languages.ids").assign(["eng_Latn", "swh_Latn"])   # [0, 1], today and ever after

Names and codes come from the library langcodes; what a user knows better, from tables of his own.
"""

from jaxlt.data.languages.backbones import BACKBONES, languages_of
from jaxlt.data.languages.codes import parse, same_language
from jaxlt.data.languages.facts import Facts, read_facts
from jaxlt.data.languages.routing import RoutingIds
from jaxlt.data.languages.scripts import direction
from jaxlt.data.languages.table import Language, LanguageTable, lookup

__all__ = [
    "BACKBONES",
    "Facts",
    "Language",
    "LanguageTable",
    "RoutingIds",
    "direction",
    "languages_of",
    "lookup",
    "parse",
    "read_facts",
    "same_language",
]
