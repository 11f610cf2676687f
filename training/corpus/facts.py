"""Facts as sentences or rows of a table, and questions that only they answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from corpus.draw import Draw
from corpus.words import ACTIONS, ACTORS, ADJECTIVES, ATTRIBUTES, KINDS, NOUNS, OBJECTS, PLACES, ROLES, VERBS


@dataclass
class Fact:
    """A statement as it stands in a text, and what makes questions that it answers."""

    text: str
    ask: Callable[[], str]
    # What the statement is about; two facts of one key would answer each other's questions.
    key: str


def upper(text: str) -> str:
    """The text with a capital at its beginning."""
    return text[:1].upper() + text[1:]


# Words that no question needs.
LIGHT = frozenset("a an the is was given new that to from by with as it its has had now will be and may must can have at keeps who".split())


def roughened(draw: Draw, text: str) -> str:
    """The text with words put in, left out or changed: what is copied must be read, not known by its form."""
    words = text.split(" ")
    for _ in range(draw.any([0, 0, 1, 1, 2, 3])):
        at, new = draw.count(1, max(1, len(words) - 1)), draw.any([draw.word, lambda: draw.any(NOUNS), lambda: draw.any(ADJECTIVES), lambda: draw.any(ACTIONS), draw.whole])()
        match draw.count(0, 3):
            case 0 | 1:
                words.insert(at, new)
            case 2 if at < len(words) - 1 and words[at] in LIGHT:
                words[at] = new
            case 3 if at < len(words) - 1 and words[at] in LIGHT:
                del words[at]
    return " ".join(words)


# Properties of things.

STATES = (
    "The {attr} of {ent} is {val}.",
    "{Ent} has a {attr} of {val}.",
    "For {ent}, the {attr} is {val}.",
    "{Ent}'s {attr} is {val}.",
    "The {attr} for {ent} was set to {val} by {person}.",
    "{val} is the {attr} of {ent}.",
    "Since {date}, {ent} has had {val} as its {attr}.",
    "As of {date} the {attr} of {ent} stands at {val}.",
    "{Ent}: {attr} {val}.",
    "Anyone who asks about {ent} should know that its {attr} is {val}.",
    "According to {person}, the {attr} of {ent} is {val}, and this will not change before {date}.",
    "With {ent}, the {attr} comes to {val}; see also the notes of {person}.",
    "The {attr} of {ent}, which {person} looks after, is {val} from {date}.",
    "In the {noun} of {name}, {ent} is listed with the {attr} {val}.",
    "{Ent} was given a new {attr}: {val}.",
    "It was agreed on {date} that {ent} keeps {val} as its {attr}.",
    "Please note that {val} is now the {attr} for {ent}, as the {role} has decided.",
    "{Ent} comes with a {attr} of {val} and is looked after by the {role}.",
    "The {role} gives the {attr} of {ent} as {val}.",
    "Under the {adj} rules the {attr} of {ent} will be {val}.",
)

STATE_QUESTIONS = (
    "What is the {attr} of {ent}?",
    "What {attr} does {ent} have?",
    "Tell me the {attr} of {ent}.",
    "{Ent}: what is the {attr}?",
    "I need the {attr} for {ent}.",
    "Can you give me {ent}'s {attr}?",
    "Do you know the {attr} of {ent}?",
    "which {attr} has {ent}",
    "What about the {attr} of {ent}?",
    "Please look up the {attr} of {ent}.",
    "What is {ent}'s {attr}?",
    "Could you find out the {attr} for {ent}?",
    "For {ent}, what is the {attr}?",
    "{attr} of {ent}?",
    "My colleague wants to know the {attr} of {ent}.",
)

# Openings of questions that fit what kind of value is asked for.
KIND_QUESTIONS = {
    "amount": ("How much is the {attr} of {ent}?", "How much {attr} is there for {ent}?", "How high is the {attr} of {ent}?"),
    "percent": ("How high is the {attr} of {ent}?", "How much is the {attr} of {ent}?", "At how many percent is the {attr} of {ent}?"),
    "date": ("When is the {attr} of {ent}?", "On which day is the {attr} of {ent}?", "For {ent}, when is the {attr}?"),
    "period": ("How long is the {attr} of {ent}?", "How long is {ent}'s {attr}?", "How many days or weeks is the {attr} of {ent}?"),
    "person": ("Who is the {attr} of {ent}?", "Who is {ent}'s {attr}?", "Whom do I see as the {attr} of {ent}?"),
    "clock": ("At what time is the {attr} of {ent}?", "When is the {attr} of {ent}?", "What time is {ent}'s {attr}?"),
    "whole": ("How many is the {attr} of {ent}?", "How much is the {attr} of {ent}?", "How great is the {attr} of {ent}?"),
}


def entity(draw: Draw) -> str:
    """A thing with a name of its own."""
    kind, name = draw.any(KINDS), draw.name()
    return draw.any(
        [
            lambda: f"the {name} {kind}",
            lambda: f"the {name} {kind}",
            lambda: f"{kind} {draw.code()}",
            lambda: f"the {kind} {name}",
            lambda: f"the {kind} in {name}",
            lambda: f"{name} {draw.name()}",
            lambda: f"the {draw.any(ADJECTIVES)} {name} {kind}",
            lambda: draw.person(),
        ]
    )()


def value(draw: Draw, kind: str) -> str:
    made = {"whole": lambda: draw.whole(2, 50_000)}.get(kind) or getattr(draw, kind)
    return made()


def attribute(draw: Draw) -> tuple[str, str, list[str]]:
    """A property: its name, the kind of its values, what else it may be called."""
    name, *others = draw.any(ATTRIBUTES)
    name, kind = name.split(":")
    # Any noun can be a property too.
    if draw.chance(0.25):
        return f"{draw.any(NOUNS)} {draw.any(['code', 'name', 'word', 'mark', 'class'])}", draw.any(["code", "name", "word"]), []
    return name, kind, others


def state(draw: Draw, ent: str | None = None, attr: tuple | None = None) -> Fact:
    """What a property of a thing is."""
    ent, (name, kind, others) = ent or entity(draw), attr or attribute(draw)
    val, form = value(draw, kind), draw.form(STATES)
    text = form.format(
        attr=name, ent=ent, Ent=upper(ent), val=val, person=draw.person(), date=draw.date(), noun=draw.any(NOUNS),
        name=draw.name(), role=draw.any(ROLES), adj=draw.any(ADJECTIVES),
    )  # fmt: skip

    def ask() -> str:
        said = draw.any(others) if others and draw.chance(0.35) else name
        forms = KIND_QUESTIONS.get(kind) if draw.chance(0.4) else None
        question = draw.form(forms or STATE_QUESTIONS).format(attr=said, ent=ent, Ent=upper(ent))
        return question if draw.chance(0.9) else question.lower() if draw.chance(0.3) else upper(question)

    return Fact(upper(text), ask, f"{ent}|{name}")


# Rules: who may or must do what.

RULES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("{Actors} must {act} within {period}.", ("How long do {actors} have to {ask}?", "By when must {actors} {ask}?", "What is the time limit to {ask}?", "How many days do I have to {ask}?")),
    ("{Actors} may {act} up to {period} after the {noun}.", ("Until when may {actors} {ask}?", "How long can I wait before I {ask}?", "For how long is it possible to {ask}?")),
    ("To {act}, {actors} need the consent of the {role}.", ("Whose consent is needed to {ask}?", "Who has to agree before {actors} {ask}?", "Can I just {ask}?")),
    ("The {role} decides whether {actors} may {act}.", ("Who decides whether {actors} may {ask}?", "Who says if I may {ask}?", "May {actors} {ask}?")),
    ("It costs {amount} to {act}.", ("How much does it cost to {ask}?", "What do I pay to {ask}?", "Is it free to {ask}?", "What is the price if I {ask}?")),
    ("{Actors} who {act} pay a fee of {amount}.", ("What do {actors} pay who {ask}?", "How much is the fee for {actors} to {ask}?", "Do I have to pay anything to {ask}?")),
    ("{Actors} may {act} at most {whole} times a {unit}.", ("How often may {actors} {ask}?", "How many times can I {ask}?", "What is the limit for {actors} to {ask}?")),
    ("{Actors} are not allowed to {act}.", ("Are {actors} allowed to {ask}?", "May {actors} {ask}?", "Can {actors} {ask}?", "Is it permitted to {ask}?")),
    ("Nobody may {act} without a {adj} {noun}.", ("What do I need to {ask}?", "May I {ask} without anything?", "Without what may nobody {ask}?")),
    ("{Actors} {act} in the {place}.", ("Where do {actors} {ask}?", "Where can I {ask}?", "In which place do I {ask}?")),
    ("To {act}, write to {mail}.", ("Which address do I write to if I want to {ask}?", "Whom do I mail to {ask}?", "How do I {ask}?", "Where do I {ask}?")),
    ("{Actors} can {act} from {date} on.", ("When can {actors} {ask}?", "From when on may I {ask}?", "On which day can {actors} begin to {ask}?")),
    ("If {actors} {act} too late, the {noun} is {pp}.", ("What happens if {actors} {ask} too late?", "What if I {ask} too late?", "I am too late to {ask}, what now?")),
    ("{Actors} who {act} get {amount} back.", ("What do I get back if I {ask}?", "How much do {actors} get who {ask}?", "Is there money for {actors} who {ask}?")),
    ("The {role} helps {actors} to {act}.", ("Who helps {actors} to {ask}?", "Who can help me to {ask}?", "I want to {ask}: who helps?")),
    ("Before {actors} {act}, they show a {noun} and a {noun2}.", ("What do {actors} show before they {ask}?", "What must I bring to {ask}?", "Which papers do I need to {ask}?")),
    ("{Actors} have to be at least {age} years old to {act}.", ("How old must {actors} be to {ask}?", "Am I old enough to {ask}?", "From which age can I {ask}?")),
    ("{Actors} {act} by calling {phone}.", ("Which number do I call to {ask}?", "How can {actors} {ask} by telephone?", "Whom do I ring to {ask}?")),
    ("As a rule, {actors} {act} on the {ordinal} working day of the {unit}.", ("On which day do {actors} {ask}?", "When do {actors} {ask}?", "When will I {ask}?")),
    ("The {noun} covers up to {amount} when {actors} {act}.", ("How much is covered when {actors} {ask}?", "Up to what sum am I covered if I {ask}?", "How much money is there when I {ask}?")),
)

LEADS = ("In the first {period}, ", "Since {date}, ", "At {name}, ", "In general, ", "During the {noun}, ", "For safety, ", "Outside the {noun} area, ")
TAILS = (
    ", unless the {noun} is {adj}", ", as the {role} decides", ", and a note is kept in the {place}", ", apart from the {adj} ones",
    ", because the {noun} needs it", ", for example in {name}", ", also where the {noun} was {pp}", " (see {code})",
    ", at the latest by {date}", ", with a copy to the {role}", "; the {role} keeps a list",
)  # fmt: skip
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth last".split()
UNITS = "day week month quarter year".split()


def participle(verb: str) -> str:
    """The past participle of a regular verb."""
    double = {"permit": "permitted", "submit": "submitted", "split": "split", "hold": "held", "catch": "caught", "keep": "kept", "lead": "led"}
    irregular = {"choose": "chosen", "draw": "drawn", "drive": "driven", "learn": "learned", "prove": "proven", "write": "written"}
    if verb in double or verb in irregular:
        return double.get(verb) or irregular[verb]
    if verb.endswith("e"):
        return verb + "d"
    return verb[:-1] + "ied" if verb.endswith("y") and verb[-2] not in "aeiou" else verb + "ed"


def rule(draw: Draw, actors: str | None = None, act: tuple | None = None) -> Fact:
    """Who may or must do what, when, where and for how much."""
    actors = actors or (draw.any(ACTORS) if draw.chance(0.8) else f"{draw.name()} {draw.any(ACTORS)}")
    verbs, objects = act or (draw.any(VERBS), draw.any(OBJECTS))
    extra = f" {draw.any(['of', 'for', 'from'])} {draw.name()}" if draw.chance(0.25) else ""
    form, questions = draw.any(RULES)

    def fill(text: str) -> str:
        return text.format(
            Actors=upper(actors), actors=actors, act=f"{verbs[0]} {objects[0]}{extra}", period=draw.period(), noun=draw.any(NOUNS),
            noun2=draw.any(NOUNS), role=draw.any(ROLES), amount=draw.amount(), whole=draw.whole(), unit=draw.any(UNITS),
            adj=draw.any(ADJECTIVES), place=draw.any(PLACES), mail=draw.mail(), date=draw.date(), pp=participle(draw.any(ACTIONS)),
            age=draw.count(12, 99), phone=draw.phone(), ordinal=draw.any(ORDINALS), name=draw.name(), code=draw.code(),
        )  # fmt: skip

    text = form
    if draw.chance(0.25) and form.startswith("{Actors}"):
        text = draw.form(LEADS) + text.replace("{Actors}", "{actors}")
    if draw.chance(0.35):
        text = text[:-1] + draw.form(TAILS) + "."
    text = fill(text)

    def ask() -> str:
        verb = draw.any(verbs) if draw.chance(0.45) else verbs[0]
        thing = draw.any(objects) if draw.chance(0.45) else objects[0]
        return upper(draw.form(questions).format(actors=actors, ask=f"{verb} {thing}{extra}"))

    return Fact(upper(text), ask, f"{actors}|{verbs[0]}|{objects[0]}")


# Sentences of any words: what counts is which words a question and a sentence share.

SALADS = (
    "The {a} {n} of {N} {v} the {n2} and the {n3} near {M} when the {n4} is {a2}.",
    "A {a} {n} {v} {a2} {n2} for the {n3} in {N}.",
    "When {N} {v} a {n}, the {a} {n2} is no longer {a2} for {M}.",
    "{N} and {M} {v} the {n} with {q} {n2}s, because the {n3} was {a}.",
    "Every {n} with a {a} {n2} {v} {w} before the {n3} of {N}.",
    "The {n} {v} {q} {n2}s in {y}, of which {q2} were {a}; the {n3} of {M} did not.",
    "In {y} the {a} {n} of {N} began to {V} {w} and {n2} by {n3}.",
    "{w} is a {a} {n} that {v} {n2} at the {n3}, as {M} wrote in {y}.",
    "There were {q} {a} {n}s and {q2} {n2}s in the {n3} of {N}, and {M} {v} them.",
    "Only the {n} of {M} {v} a {n2} whose {n3} is {a} or {a2}.",
    "Without {w}, no {n} can {V} the {a} {n2} that {N} keeps for the {n3}.",
    "{N} {v} {n} - a {a} {n2}, mostly - to {M} on {d}.",
    "The {n} must {V} the {a} {n2} within {p}, and the {n3} {v} it by {d}.",
    "After {p} the {n} of the {n2} is {a} and costs {m}; each further {n3} costs {m2}.",
    "The {n} {v} the {n2} once in {p}, unless the {n3} has a {a} {n4} or is {a2}.",
    "A {n} without a {n2} is not {a}; the {n3} {v} it with the {n4} of the {a2} {w}.",
    "The {a} {n} may {V} up to {m} for {n2} and {n3}, and above that the {n4} decides.",
    "Each {n} gets {q} {n2}s a month, at most {q2} of them {a}, and {v} the {n3} beforehand.",
    "If the {n} is {a}, the {n2} {v} the {n3} at the latest {p} after the {n4}.",
    "{n} and {n2} are {a}, while {n3} and {n4} need the consent of {M} and a fee of {m}.",
    "No {n} is {a} before the {n2} and the {n3} {V}, and never on a {a2} {n4}.",
    "The {n} of a {a} {n2} stays for {p} in the {n3} and then goes to the {n4} of {N}.",
    "For a {a} {n} of up to {m} the {n2} {v} the {n3}, at most {q} times in {p} for one {n4}.",
    "Two {n}s {V} a {n2} together, never one alone, and the {a} {n3} waits for {p}.",
)

SALAD_QUESTIONS = (
    "What is said about {x} and {y}?",
    "What does the text say about {x}, {y} and {z}?",
    "Where are {x} and {y} mentioned?",
    "What do we know of {x} and {y}?",
    "Is there anything on {x}, {z} and {y}?",
    "How are {x} and {y} connected?",
    "{x} and {y}?",
    "Tell me about {x}, {y} and {z}.",
    "I remember something with {x} and {y}. What was it?",
    "Which part speaks of {z}, {x} and {y}?",
    "When does {x} come to {y}?",
    "How long does {x} of {y} last?",
    "How much is {x} with {y}?",
    "Who decides on {x} and {y}?",
    "How many {x} are there for {y}?",
    "What happens with {x} in {y}?",
    "By when must {x} have {y}?",
    "Is {x} allowed for {y}?",
    "What does {x} cost for {y} and {z}?",
    "How often is {x} of {y} possible?",
    "May I have {x} without {y}?",
    "What is {x} of {y}?",
    "Does {x} need {y}?",
    "Where does {x} go with {y}?",
    "What is the limit of {x} for {z} and {y}?",
    "In which case is {x} for {y}?",
    "Can {x} be used by {y} and {z}?",
    "After how many days is {x} at {y}?",
)


def third(verb: str) -> str:
    """The verb with `s`."""
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("ch", "sh", "ss", "x", "o")) else "s")


def salad(draw: Draw) -> Fact:
    """A sentence of any words, about which questions name two or three of them."""
    verb = draw.any(ACTIONS)
    n, n2, n3, n4 = draw.some(NOUNS, 4)
    a, a2 = draw.some(ADJECTIVES, 2)
    parts = {
        "n": n, "n2": n2, "n3": n3, "n4": n4, "a": a, "a2": a2, "N": draw.name(), "M": draw.name(), "w": draw.word(),
        "p": draw.period(), "m": draw.amount(), "m2": draw.amount(), "v": third(verb), "V": verb, "q": draw.whole(), "q2": draw.whole(), "y": str(draw.count(1700, 2040)), "d": draw.date(),
    }  # fmt: skip
    form = draw.form(SALADS)
    text = form.format(**parts)
    named = [parts[key] for key in ("n", "n2", "n3", "n4", "N", "M", "w") if "{" + key + "}" in form]
    named += [f"the {a} {n}"] if f"{a} {n}" in text else []

    def ask() -> str:
        x, y, z = draw.some(named, 3)
        return upper(draw.form(SALAD_QUESTIONS).format(x=x, y=y, z=z))

    return Fact(upper(text), ask, text)


# Sentences of words in no order that a language has: nothing about their form can be known by heart.

BETWEEN = """a an the the the of of of for for in to to and and or with at at from by on is is are was has have must may can will
not no than per about after before when if as its their only any all each every that which who over under between during
within without up at most at least more less again also until since because while where how""".split()
OPENINGS = (
    "What is", "What are", "What does", "What was", "Which", "Who", "Who is", "Whose", "When is", "When does", "When must", "Where is", "Where do",
    "How much is", "How much", "How many", "How long is", "How long does", "How often", "How do I", "How", "Why", "Is", "Are", "Does", "Do", "May", "Can", "Must",
    "Tell me", "Tell me about", "I need", "I want", "Please find", "Please look up", "What about", "Is there", "In which", "By when", "At what", "To whom",
    "Do you know", "My question is about", "Somebody asked for", "Find", "Anything on", "Give me", "From when", "Until when", "", "",
)  # fmt: skip


def content(draw: Draw) -> str:
    """A word that a question may name."""
    makes = {
        "noun": lambda: draw.any(NOUNS), "adjective": lambda: draw.any(ADJECTIVES), "action": lambda: draw.any(ACTIONS), "word": draw.word,
        "name": draw.name, "role": lambda: draw.any(ROLES), "actor": lambda: draw.any(ACTORS), "object": lambda: draw.any(OBJECTS)[0],
        "kind": lambda: draw.any(KINDS), "person": draw.person, "code": draw.code,
    }  # fmt: skip
    return makes[draw.any("noun noun noun noun noun adjective adjective action action word name role actor object kind person code".split())]()


def figure(draw: Draw) -> str:
    return draw.any([draw.code, draw.amount, draw.date, draw.whole, draw.percent, draw.period, draw.clock])()


def glued(draw: Draw, words: list[str], most: int) -> str:
    """The words with up to so many small ones between each two."""
    parts: list[str] = []
    for word in words:
        parts += [draw.any(BETWEEN) for _ in range(draw.count(0, most))]
        parts.append(word)
    return " ".join(parts)


def bent(draw: Draw, word: str) -> str:
    """The word as another sentence may have it: of another number, of another tense."""
    if not word.isalpha() or not word.islower() or len(word) < 3:
        return word
    return draw.any([third, participle, lambda verb: (verb[:-1] if verb.endswith("e") else verb) + "ing", lambda noun: noun.removesuffix("s")])(word)


def jumble(draw: Draw, shared: list[str] | None = None) -> Fact:
    """A sentence of any words in any order, about which questions name two or three of them."""
    words = [content(draw) for _ in range(draw.count(3, 6))]
    named = list(words)
    if shared and draw.chance(0.6):
        words.insert(draw.count(0, len(words)), draw.any(shared))
    for _ in range(draw.any([0, 1, 1, 2])):
        words.insert(draw.count(0, len(words)), figure(draw))
    text = glued(draw, words, draw.count(1, 2))
    if draw.chance(0.3):
        at = text.find(" ", draw.count(0, len(text)))
        text = text if at < 0 else f"{text[:at]}{draw.any([',', ',', ';', ':', ' -'])}{text[at:]}"
    others = [word for word in words if word not in named]

    def ask() -> str:
        chosen = draw.some(named, draw.any([2, 2, 3]))
        if others and draw.chance(0.3):
            chosen.insert(draw.count(0, len(chosen)), draw.any(others))
        if draw.chance(0.25):  # What the sentence does not say, people ask too.
            chosen.insert(draw.count(0, len(chosen)), content(draw))
        chosen = [bent(draw, word) if draw.chance(0.2) else word for word in chosen]
        said = f"{draw.any(OPENINGS)} {glued(draw, chosen, 1)}".strip()
        return upper(said) + draw.any(["?", "?", "?", "?", ".", ""])

    return Fact(upper(text) + ".", ask, text)


# Rows of tables.

ROW_QUESTIONS = {
    "amount": ("How much is {row}?", "What does {row} cost?", "What is the price of {row}?", "What do I pay for {row}?", "How much do you charge for {row}?"),
    "period": ("How long for {row}?", "How long does {row} take?", "What time is set for {row}?"),
    "percent": ("How much is {row}?", "What is the rate for {row}?", "How many percent for {row}?"),
    "code": ("What is the entry for {row}?", "Which code belongs to {row}?", "What stands beside {row}?"),
    "whole": ("How many are there for {row}?", "What number stands at {row}?", "How many for {row}?"),
}


def row(draw: Draw, kind: str, separator: str) -> Fact:
    """A row of a table: what it is about, and a value."""
    verbs, objects = draw.any(VERBS), draw.any(OBJECTS)
    choice = draw.count(0, 3)
    label = [
        lambda: f"{draw.any(ADJECTIVES)} {draw.any(NOUNS)} {draw.any(['for', 'of', 'by', 'with', 'without'])} {draw.any(ADJECTIVES)} {draw.any(NOUNS)}",
        lambda: f"{draw.any(NOUNS)} {draw.any(NOUNS)} {draw.any(['in', 'at', 'from'])} {draw.name()}",
        lambda: f"{objects[0].removeprefix('a ')} {draw.any(['for', 'of', 'by'])} {draw.any(ACTORS)}",
        lambda: f"{draw.name()} {draw.any(NOUNS)}",
    ][choice]()
    text = f"{upper(label)}{separator}{draw.any(['', '', '', 'at most ', 'from ', 'up to ']) if kind == 'amount' else ''}{value(draw, kind)}"

    def ask() -> str:
        said = label
        if choice == 2 and draw.chance(0.5):
            said = label.replace(objects[0].removeprefix("a "), draw.any(objects), 1)
        elif choice == 0 and draw.chance(0.5):
            said = f"the {label}" if draw.chance(0.5) else f"a {label}"
        return upper(draw.form(ROW_QUESTIONS[kind]).format(row=said))

    return Fact(text, ask, label)
