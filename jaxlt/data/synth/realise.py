"""How a language says a sentence: words with their tree, from meanings to written text.

said = speaker(spec).say(sentence, Draws(0, "say"))
said.text, [(w.form, w.gloss, w.upos, w.deprel) for w in said.words]
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass

from jaxlt.data.revisions import rules_of
from jaxlt.data.rows.batches import number_of
from jaxlt.data.synth.concepts import CONJUNCTIONS, GRAMMAR, NUMBERS, concepts
from jaxlt.data.synth.draws import Draws
from jaxlt.data.synth.grammar import Clause, Phrase, Sentence
from jaxlt.data.synth.morphology import Form, Morphology
from jaxlt.data.synth.script import CONSONANTS, SCRIPTS, VOWELS, writer
from jaxlt.data.synth.spec import LanguageSpec
from jaxlt.data.synth.world import Entity

_PERSON = {"I": "1SG", "you": "2SG", "she": "3SG", "they": "3PL"}


class Word:
    """One token of a sentence; `head` is another Word, or None for the root."""

    __slots__ = (
        "deprel", "entity", "features", "form", "gloss", "head", "language", "lemma", "morphs",
        "sounds", "upos",
    )  # fmt: skip

    def __init__(self, form: Form, lemma: str, upos: str, features: tuple[str, ...] = ()):
        self.sounds, self.gloss, self.morphs = form
        self.form = self.sounds
        self.lemma, self.upos, self.features = lemma, upos, features
        self.head: Word | None = None
        self.deprel = "root"
        self.entity: Entity | None = None
        self.language = ""

    def under(self, head: "Word", deprel: str) -> "Word":
        """Hangs the word below a head; returns it."""
        self.head, self.deprel = head, deprel
        return self


@dataclass(frozen=True)
class Said:
    """A sentence in one language: its words in order, its text, and what it means."""

    words: list[Word]
    text: str
    meaning: Sentence


class Speaker:
    """A language that speaks."""

    def __init__(self, spec: LanguageSpec):
        self.spec = spec
        self.forms = Morphology(spec)
        self._script = SCRIPTS[spec.script]
        self._write = functools.cache(writer(spec.script, script_key(spec)))
        local = spec.own_punctuation
        self._stop = self._script.stop if local else "."
        self._comma = self._script.comma if local else ","
        self._mark = self._script.question if local else "?"
        self._partner = Morphology(spec.partner) if spec.partner else None
        self._final = spec.order in ("SOV", "OSV")
        self._upos = {name: c.upos for name, c in concepts().items()}
        self._living = {name for name, c in concepts().items() if c.living}

    def say(self, sentence: Sentence, draws: Draws, careful: bool = False) -> Said:
        """Returns the sentence; `draws` decides what is free: order, spelling, mixing.

        `careful` speech has the standard's spelling and order, and mixes nothing in.
        """
        if careful and (self.spec.noise or self.spec.mixed or self.spec.freedom):
            plain = dataclasses.replace(self.spec, noise=0.0, mixed=0.0, freedom=0.0)
            return speaker(plain).say(sentence, draws)
        root, words = self._clause(sentence.clause, draws, "root")
        if sentence.question:
            particle = self._word("whether").under(root, "mark")
            words = [*words, particle] if self._final else [particle, *words]
        if sentence.link:
            relation = "cc" if sentence.link in CONJUNCTIONS else "advmod"
            words = [self._word(sentence.link).under(root, relation), *words]
        if self.spec.inverted:
            words = words[::-1]
        mark = self._mark if sentence.question else self._stop
        words = [*words, _punctuation(mark).under(root, "punct")]
        return Said(words, self._spell(words, draws), sentence)

    def _word(self, name: str, features: tuple[str, ...] = (), draws: Draws | None = None) -> Word:
        """Returns a word of a meaning with its bound features; mixed speech may switch its root."""
        upos = self._upos[name]
        spec = self.spec
        if draws and self._partner and draws.chance(spec.mixed):
            stem = self._partner.lexicon.roots[name].sounds
            word = Word(self.forms.inflect(stem, name, features, upos), stem, upos, features)
            word.language = spec.partner.code if spec.partner else ""
            return word
        lemma = self.forms.lexicon.roots[name].sounds
        return Word(self.forms.word(name, features, upos), lemma, upos, features)

    def _phrase(
        self, phrase: Phrase, case: str, draws: Draws, late: list[Word]
    ) -> tuple[Word, list[Word]]:
        """Returns (head, words in order) of a phrase; extraposed relative clauses go to `late`."""
        spec, forms = self.spec, self.forms
        plural = ("PL",) if phrase.plural and not phrase.entity else ()
        bound, free = forms.split((*plural, case) if case else plural)
        if phrase.entity:
            head, core = self._name(phrase.entity, bound)
        else:
            head = self._word(phrase.head, bound, draws)
            core = [head]
        before: list[Word] = []
        after: list[Word] = []

        def put(words: list[Word], side: str) -> None:  # the nearest to the head come first
            if side == "before":
                before[:0] = words
            else:
                after.extend(words)

        if phrase.quality:
            kind = ("LIV" if phrase.head in self._living else "THG", *plural)
            agreement = forms.split(kind)[0] if "agreement" in forms.bound else ()
            quality = self._word(phrase.quality, agreement, draws)
            put([quality.under(head, "amod")], spec.adjective)
        if phrase.count:
            put([self._number(phrase.count).under(head, "nummod")], spec.numeral)
        elif "PL" in free:
            put([self._particle("PL").under(head, "det")], spec.numeral)
        if spec.articles and not phrase.entity and self._upos[phrase.head] == "NOUN":
            article = "the" if phrase.definite else "" if phrase.plural else "a"
            if article:
                put([self._word(article).under(head, "det")], "before")
        if phrase.owner:
            owner, words = self._phrase(phrase.owner, "GEN", draws, late)
            owner.under(head, "nmod")
            put(words, spec.genitive)
        if phrase.relative:
            verb, words = self._clause(phrase.relative, draws, "acl:relcl")
            verb.under(head, "acl:relcl")
            if draws.chance(spec.extraposed):
                late.extend(words)
            else:
                put(words, spec.relative)
        words = [*before, *core, *after]
        for feature in free:
            if feature != "PL":
                particle = self._particle(feature).under(head, "case")
                words = [particle, *words] if spec.adposition == "before" else [*words, particle]
        if phrase.other:
            second, more = self._phrase(phrase.other, case, draws, late)
            link = self._word("and").under(second.under(head, "conj"), "cc")
            words = [*words, link, *more]
        return head, words

    def _name(self, entity: Entity, bound: tuple[str, ...]) -> tuple[Word, list[Word]]:
        """Returns the words of a name: the first is the head, the last has the affixes."""
        words = []
        for i, part in enumerate(entity.name):
            features = bound if i == len(entity.name) - 1 else ()
            form = self.forms.inflect(part, part.capitalize(), features, "PROPN")
            words.append(Word(form, part, "PROPN", features))
            words[-1].entity = entity
            if i:
                words[-1].under(words[0], "flat")
        return words[0], words

    def _number(self, count: int) -> Word:
        if count <= len(NUMBERS) and not self.spec.digits:
            return self._word(NUMBERS[count - 1])
        return Word(Form(str(count), str(count), str(count)), str(count), "NUM")

    def _particle(self, feature: str) -> Word:
        """Returns grammar as a word of its own."""
        sounds = self.forms.lexicon.affixes[feature].sounds
        return Word(Form(sounds, feature, sounds), sounds, GRAMMAR[feature], (feature,))

    def _clause(self, clause: Clause, draws: Draws, role: str) -> tuple[Word, list[Word]]:
        """Returns (the verb or predicate, words in order) of a clause."""
        spec = self.spec
        late: list[Word] = []
        head, verbal = self._verbal(clause, draws)
        blocks: dict[str, list[Word]] = {"V": verbal}
        if clause.subject:
            subject, blocks["S"] = self._phrase(clause.subject, "", draws, late)
            subject.under(head, "nsubj")
        if clause.object:
            thing, blocks["O"] = self._phrase(clause.object, "ACC", draws, late)
            thing.under(head, "obj")
        rest: list[Word] = []
        if clause.adverb:
            rest.append(self._word(clause.adverb, (), draws).under(head, "advmod"))
        for case, phrase in clause.places:
            place, words = self._phrase(phrase, case, draws, late)
            place.under(head, "obl")
            rest += words
        order = [block for block in spec.order if block in blocks]
        if draws.chance(spec.freedom):
            draws.shuffle(order)
        words = []
        for block in order:
            if block == "V" and self._final and rest:
                words, rest = words + rest, []
            words += blocks[block]
        words += rest + late
        if clause.gap:
            which = self._word("which").under(head, "nsubj" if clause.gap == "S" else "obj")
            words = [which, *words] if spec.relative == "after" else [*words, which]
        if clause.content:
            saying, inner = self._clause(clause.content, draws, "ccomp")
            words += self._marked("that", saying.under(head, "ccomp"), inner)
        if clause.reason:
            link, inner_clause = clause.reason
            why, inner = self._clause(inner_clause, draws, "advcl")
            inner = self._marked(link, why.under(head, "advcl"), inner)
            comma = _punctuation(self._comma).under(why, "punct")
            words = [*inner, comma, *words] if self._final else [*words, comma, *inner]
        return head, words

    def _marked(self, link: str, head: Word, words: list[Word]) -> list[Word]:
        """Puts a subordinating word where the language has it."""
        mark = self._word(link).under(head, "mark")
        return [*words, mark] if self._final else [mark, *words]

    def _verbal(self, clause: Clause, draws: Draws) -> tuple[Word, list[Word]]:
        """Returns (head, words) of the verb with its auxiliaries, or of the predicate with 'be'."""
        forms, subject = self.forms, clause.subject
        person = "3SG"
        if subject and not subject.entity:
            person = _PERSON.get(subject.head, "3PL" if subject.plural else "3SG")
        if subject and subject.other:
            person = "3PL"
        features = (*((clause.tense,) if clause.tense else ()), person)
        bound, free = forms.split((*features, "NEG") if clause.negated else features)
        if clause.predicate:
            agreement: tuple[str, ...] = ()
            if self._upos[clause.predicate] == "ADJ" and "agreement" in forms.bound and subject:
                kind = "LIV" if subject.entity or subject.head in self._living else "THG"
                plural = subject.plural and not subject.entity
                agreement = forms.split((kind, "PL") if plural else (kind,))[0]
            head = self._word(clause.predicate, agreement, draws)
            be = self._word("be", bound).under(head, "cop")
            words = [head, be] if self._final else [be, head]
        else:
            head = self._word(clause.verb, bound, draws)
            words = [head]
        for feature in free:
            particle = self._particle(feature).under(head, "advmod" if feature == "NEG" else "aux")
            words = [*words, particle] if self._final else [particle, *words]
        return head, words

    def _spell(self, words: list[Word], draws: Draws) -> str:
        """Writes the words' forms; returns the text."""
        spec, write = self.spec, self._write
        capitals = self._script.capitals
        first = True
        for word in words:
            if word.upos == "PUNCT":
                continue
            sounds = word.sounds
            if spec.noise and word.upos not in ("PROPN", "NUM") and draws.chance(spec.noise):
                sounds = misspell(sounds, draws)
            form = write(sounds)
            if capitals and (first or word.entity):
                form = form[0].upper() + form[1:]
            word.form, word.lemma = form, write(word.lemma)
            if capitals and word.entity:
                word.lemma = word.lemma[0].upper() + word.lemma[1:]
            first = False
        return joined(words)


def joined(words: Sequence[Word]) -> str:
    """Returns words as text: spaces between, none before punctuation."""
    parts = [w.form if w.upos == "PUNCT" else f" {w.form}" for w in words]
    return "".join(parts)[1:]


def script_key(spec: LanguageSpec) -> str:
    """Returns what seeds a language's random script: a dialect writes as its parent does."""
    if not spec.random_script:
        return ""
    parent = spec.parent
    if parent and parent.random_script and parent.script == spec.script:
        return script_key(parent)
    return f"{spec.seed}.{spec.code}"


def _punctuation(mark: str) -> Word:
    return Word(Form(mark, mark, mark), mark, "PUNCT")


def misspell(sounds: str, draws: Draws) -> str:
    """Returns a word as someone without a standard spells it: one sound other, more or less."""
    at = draws.below(len(sounds))
    kind, sound = draws.below(4), sounds[at]
    if kind == 0 and len(sounds) > 2:
        return sounds[:at] + sounds[at + 1 :]
    if kind == 1:
        return sounds[:at] + sound + sounds[at:]
    if kind == 2 and at and sounds[at - 1] != sound:
        return sounds[: at - 1] + sound + sounds[at - 1] + sounds[at + 1 :]
    pool = VOWELS if sound in VOWELS else CONSONANTS
    place = pool.find(sound)
    return (
        sounds[:at] + pool[(place + 1 + draws.below(len(pool) - 1)) % len(pool)] + sounds[at + 1 :]
    )


speaker = functools.lru_cache(maxsize=128)(Speaker)  # of a spec


def voice(spec: LanguageSpec, seed: int, number: int) -> Draws:
    """Returns the choices of a language in its text `number`, apart from what is said there.

    In the first revision all languages had one stream where the seed was their own (own_seed).
    """
    if rules_of(spec.revision).voices:
        return Draws(number_of(seed, spec.code), "say", number)
    return Draws(seed ^ number_of(spec.code), "say", number)
