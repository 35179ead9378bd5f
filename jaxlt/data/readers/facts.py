"""Facts said in sentences: triples and the templates of their relation, language by language.

for statement in facts.statements(templates, triples):
    statement.question, statement.answer      # 'Marie Curie works in [Y]', 'chemistry'
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jaxlt.data.readers.tables import Fact, Record, Template
from jaxlt.errors import UserError


@dataclass(frozen=True)
class Statement:
    """A fact in one template: `question` keeps [Y] where the `answer` belongs."""

    fact: Fact
    template: Template

    @property
    def question(self) -> str:
        """The sentence with [Y] for the object."""
        return self.template.fill(self.fact.subject)

    @property
    def answer(self) -> str:
        """The object's name."""
        return self.fact.object

    @property
    def text(self) -> str:
        """The whole sentence."""
        return self.template.fill(self.fact.subject, self.fact.object)


def key(fact: Fact) -> str:
    """Returns what is the same for a fact in every language."""
    return f"{fact.relation} {fact.subject_id} {fact.object_id}"


def statements(
    templates: Iterable[Record], facts: Iterable[Record], most: int | None = None
) -> Iterator[Statement]:
    """Yields every fact in every template of its language and relation, `most` of them at most.

    Templates are held in memory, facts are not. A fact whose relation has no template in its
    language yields nothing.
    """
    by_relation: dict[tuple[str, str], list[Template]] = {}
    for template in templates:
        if not isinstance(template, Template):
            raise UserError("The table of templates holds something else: expected patterns.")
        by_relation.setdefault((template.language, template.relation), []).append(template)
    for fact in facts:
        if not isinstance(fact, Fact):
            raise UserError("The table of facts holds something else: expected triples.")
        for template in by_relation.get((fact.language, fact.relation), [])[:most]:
            yield Statement(fact, template)
