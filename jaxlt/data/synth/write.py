"""A folder of made data, in the formats that jaxlt reads from anybody.

text/CODE.txt             a text a line             parallel.tsv         a column a language
conllu/CODE.conllu        trees, glosses, MISC Lang of mixed words
iob2/CODE.iob2            entities                  dictionaries/A-B.tsv word, word, meaning
sentiment/CODE.tsv        category, text            provenance.tsv       who tells which fact
facts/CODE.tsv            names, told how often     templates.tsv        how relations are said
made_languages.tsv        types and shares          distances.tsv        of every pair
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

from jaxlt.data.readers import conllu, iob2
from jaxlt.data.synth import facts as known
from jaxlt.data.synth.concepts import concepts
from jaxlt.data.synth.distances import WEIGHTS, table
from jaxlt.data.synth.families import FactoryConfig, languages, size_of
from jaxlt.data.synth.grammar import SENTENCES_A_TEXT, Teller
from jaxlt.data.synth.languages import lines, own_seed, texts, write_lines
from jaxlt.data.synth.lexicon import lexicon
from jaxlt.data.synth.realise import Said, script_key, speaker, voice
from jaxlt.data.synth.script import SCRIPTS, writer
from jaxlt.data.synth.spec import LanguageSpec
from jaxlt.data.synth.trees import tagged, tree
from jaxlt.data.synth.world import world

# Purposes have seeds apart, so that no sentence is asked about that was trained on by design.
_ANNOTATED, _OPINIONS, _PARALLEL = 1 << 40, 1 << 41, 1 << 42


def write(
    config: FactoryConfig, folder: str | Path, note: Callable[[str], None] = lambda line: None
) -> tuple[LanguageSpec, ...]:
    """Writes everything; returns the languages. `note` is told of each language that is done."""
    specs, root = languages(config), Path(folder)
    codes = [spec.code for spec in specs]
    told = world(config.seed).facts
    shares = config.facts_in_one, config.facts_in_all
    holders = known.assign(told, codes, *shares, config.seed)
    for spec in specs:
        own = known.told(told, holders, spec)
        seed = own_seed(spec, config.seed)
        told_texts = texts(spec, size_of(config, spec, "sentences"), seed, own, config.fact_texts)
        words = write_lines(root / "text" / f"{spec.code}.txt", lines(told_texts))
        _annotations(config, spec, root)
        write_lines(root / "sentiment" / f"{spec.code}.tsv", opinions(spec, config))
        write_lines(root / "facts" / f"{spec.code}.tsv", _questions(config, spec, own))
        note(f"{spec.code}: {words:,} words of text")
    write_lines(root / "parallel.tsv", parallel(config, specs))
    write_lines(root / "templates.tsv", _templates(config, specs))
    write_lines(root / "provenance.tsv", _provenance(config, holders))
    for one, other in combinations(specs, 2):
        path = root / "dictionaries" / f"{one.code}-{other.code}.tsv"
        write_lines(path, _dictionary(one, other))
    write_lines(root / "made_languages.tsv", _languages(specs))
    write_lines(root / "distances.tsv", _distances(specs))
    return specs


def annotated(spec: LanguageSpec, config: FactoryConfig) -> Iterator[tuple[str, Said]]:
    """Yields (sent_id, sentence) of the language's own annotated sentences."""
    seed = own_seed(spec, config.seed) ^ _ANNOTATED
    for number, text in enumerate(texts(spec, size_of(config, spec, "annotated"), seed)):
        for i, spoken in enumerate(text, 1):
            yield f"{spec.code}-{number + 1}-{i}", spoken


def opinions(spec: LanguageSpec, config: FactoryConfig) -> Iterator[str]:
    """Yields rows of sentences with their category: positive, negative or neutral."""
    yield "lang\tid\tcategory\ttext"
    for number, category, text in judged(spec, config):
        yield f"{spec.code}\t{number}\t{category}\t{text}"


def judged(spec: LanguageSpec, config: FactoryConfig) -> Iterator[tuple[int, str, str]]:
    """Yields (number from 1, category, sentence) of what the language's speakers think."""
    teller, speaks = Teller(world(spec.seed)), speaker(spec)
    seed = own_seed(spec, config.seed) ^ _OPINIONS
    for number in range(size_of(config, spec, "opinions")):
        meant = teller.opinion(seed, number)
        spoken = speaks.say(meant, voice(spec, seed, number))
        category = ("neutral", "positive", "negative")[meant.feeling]
        yield number + 1, category, spoken.text


def parallel(config: FactoryConfig, specs: Sequence[LanguageSpec]) -> Iterator[str]:
    """Yields a header of codes, then the same sentence in every language, row by row."""
    yield "\t".join(spec.code for spec in specs)
    columns = [texts(spec, config.parallel, config.seed ^ _PARALLEL) for spec in specs]
    for row in zip(*columns, strict=True):
        for same in zip(*row, strict=True):
            yield "\t".join(spoken.text for spoken in same)


def dictionary(one: LanguageSpec, other: LanguageSpec) -> list[tuple[str, str, str]]:
    """Returns (word, word, meaning) of every meaning, in the languages' scripts."""
    a, b = lexicon(one).roots, lexicon(other).roots
    first, second = writer(one.script, script_key(one)), writer(other.script, script_key(other))
    return [(first(a[m].sounds), second(b[m].sounds), m) for m in concepts()]


def _annotations(config: FactoryConfig, spec: LanguageSpec, root: Path) -> None:
    trees, spans = [], []
    for identity, spoken in annotated(spec, config):
        trees.append(conllu.render(tree(spoken, identity))[:-1])
        spans.append(iob2.render(tagged(spoken, identity))[:-1])
    write_lines(root / "conllu" / f"{spec.code}.conllu", trees)
    write_lines(root / "iob2" / f"{spec.code}.iob2", spans)


def _questions(
    config: FactoryConfig, spec: LanguageSpec, own: Sequence[known.Fact]
) -> Iterator[str]:
    yield "fact\tlang\trelation\tsub_uri\tobj_uri\tsub_label\tobj_label\ttold"
    count = -(-size_of(config, spec, "sentences") // SENTENCES_A_TEXT)
    often = known.mentions(own, count, config.fact_texts) if own else {}
    for fact in world(config.seed).facts:
        asked = known.question(speaker(spec), fact)
        names = (fact.subject.label, fact.answer, asked.subject, asked.answer)
        row = (fact.number, spec.code, fact.relation, *names, often.get(fact.number, 0))
        yield "\t".join(map(str, row))


def _templates(config: FactoryConfig, specs: Sequence[LanguageSpec]) -> Iterator[str]:
    yield "lang\trelation\tpattern\tchecked_by_human"
    firsts = {fact.relation: fact for fact in reversed(world(config.seed).facts)}
    for spec in specs:
        for relation, fact in firsts.items():
            asked = known.question(speaker(spec), fact)
            yield f"{spec.code}\t{relation}\t{asked.pattern}\t1"


def _dictionary(one: LanguageSpec, other: LanguageSpec) -> Iterator[str]:
    yield "pair\tsource\ttarget\tsplit\tmeaning"
    for number, (a, b, meaning) in enumerate(dictionary(one, other)):
        split = "train" if number % 5 else "test"
        yield f"{one.code}-{other.code}\t{a}\t{b}\t{split}\t{meaning}"


def _provenance(config: FactoryConfig, holders: dict[int, tuple[str, ...]]) -> Iterator[str]:
    yield "fact\tsubject\trelation\tobject\tlanguages"
    for fact in world(config.seed).facts:
        who = ",".join(holders[fact.number]) or "-"
        yield f"{fact.number}\t{fact.subject.label}\t{fact.relation}\t{fact.answer}\t{who}"


def _languages(specs: Sequence[LanguageSpec]) -> Iterator[str]:
    columns = ("family", "order", "adposition", "synthesis", "fusion", "affixes", "cognates")
    yield "\t".join(("code", "name", "script", "direction", "dialect_of", "noise", *columns))
    for spec in specs:
        direction = "rtl" if SCRIPTS[spec.script].right_to_left else "ltr"
        parent = spec.parent.code if spec.parent else "-"
        values = (getattr(spec, column) for column in columns)
        row = (spec.code, spec.name, spec.script, direction, parent, spec.noise, *values)
        yield "\t".join(map(str, row))


def _distances(specs: Sequence[LanguageSpec]) -> Iterator[str]:
    columns = ("overall", *WEIGHTS, "cognates", "false_friends")
    yield "\t".join(("language", "other", *columns))
    for (one, other), far in table(specs).items():
        yield "\t".join((one, other, *(f"{getattr(far, column):.4f}" for column in columns)))
