"""Facts in the templates of their relation."""

import pytest

from jaxlt.data.readers.tables import Fact, Template
from jaxlt.data.tasks.facts import in_templates, key
from jaxlt.errors import UserError


def test_facts_in_their_templates():
    fact = Fact("en", "P1", "Q1", "Q2", "Ada [Y]", "maths")
    templates = [Template("en", "P1", "[X] does [Y]."), Template("en", "P1", "[Y]: [X]")]
    asked = list(in_templates([*templates, Template("de", "P1", "[X] [Y]")], [fact]))
    assert asked == [("Ada [Y] does [Y].", "maths"), ("[Y]: Ada [Y]", "maths")]
    assert list(in_templates(templates, [fact], most=1)) == asked[:1] and key(fact) == "P1 Q1 Q2"
    with pytest.raises(UserError, match="templates holds something else"):
        list(in_templates([fact], []))
