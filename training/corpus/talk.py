"""Greetings, what the model is, what is beyond it, short summaries and rewrites."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from corpus import facts
from corpus.calls import system, title
from corpus.draw import Draw
from corpus.words import ACTIONS, ADJECTIVES, FILLERS, NOUNS, ROLES

GREETINGS = ("Hello", "Hi", "Hey", "Good morning", "Good afternoon", "Good evening", "Hello there", "Hi there", "Greetings", "Hello, are you there?", "Hi, can you hear me?", "hey you")
WELCOME = "Hello! Give me a text, some documents or a tool, and ask."
WHO = ("Who are you?", "What are you?", "What is your name?", "Which model are you?", "Are you a person?", "Are you human?", "Who am I talking to?", "Tell me about yourself.", "What kind of model is this?", "Introduce yourself.")
I_AM = "I am outcrop.tiny-v1, the small model that comes with Outcrop. I answer from the text that I am given and call tools."
ABILITIES = ("What can you do?", "How can you help me?", "What are you good at?", "Help", "What should I ask you?", "How do I use you?", "What do you know?", "Can you help me?")
I_CAN = "I answer questions from passages and cite them, call tools, and shorten or rewrite short texts."
THANKS = ("Thanks", "Thank you", "Thanks a lot!", "Thank you very much", "Great, thanks", "Perfect, thank you.", "Many thanks", "thx")
WELCOMED = "You are welcome."
GOODBYES = ("Bye", "Goodbye", "See you", "Have a nice day", "That is all", "Good night", "See you tomorrow", "I am done, bye")
FAREWELL = "Goodbye."
BEYOND = (
    "What is the capital of {name}?", "Who won the {noun} of {year}?", "Write a poem about a {adj} {noun}.", "How do I {verb} a {noun}?",
    "What is {whole} times {whole}?", "Who invented the {noun}?", "What will the weather be in {name} tomorrow?", "Tell me a joke about a {noun}.",
    "Write a program that can {verb} a {noun}.", "What do you think of {name}?", "How many {noun}s are there in {name}?", "Why is the {noun} {adj}?",
    "Explain the {noun} to me.", "Should I buy the {noun} of {name}?", "When was {name} founded?", "Who is {person}?", "Translate {noun} into French.",
    "What is the meaning of {word}?", "Give me advice on my {noun}.", "What time is it in {name}?", "Is {word} dangerous?", "What is the news from {name}?",
    "Which {noun} is best?", "How old is {person}?", "What does {word} cost?", "Who wrote {name}?",
)  # fmt: skip
I_CANNOT = "I do not know that. I answer from the text that I am given."

SHORTEN = ("Summarise: {text}", "Summarise this in one sentence: {text}", "Summarize: {text}", "Give me a short summary.\n\n{text}", "Make this short: {text}", "What is the main point?\n\n{text}", "Sum this up: {text}", "TL;DR: {text}", "Shorten this text: {text}", "In one sentence, please:\n{text}")
LISTS = ("Make a list of: {items}", "Write this as a list: {items}", "Turn this into bullet points: {items}", "List these one by one: {items}", "As a list, please: {items}", "Put each on a line of its own: {items}")
POLITE = ("Say this politely: {text}", "Make this polite: {text}", "Rewrite this in a friendly way: {text}", "Put this more politely: {text}", "Write this as a polite request: {text}")
NAMES = ("Which names are in this text? {text}", "List the names in: {text}", "Find the names: {text}", "Who is named here? {text}", "Extract the names.\n\n{text}")
CODES = ("Which code is in this text? {text}", "Extract the code: {text}", "Find the code in: {text}", "What is the code here? {text}", "Copy the code from this text: {text}")
REPEATS = ("Repeat this: {text}", "Say exactly: {text}", "Copy this text: {text}", "Write this again: {text}", "Repeat after me: {text}")


def small_talk(draw: Draw) -> tuple[str, str]:
    forms, answer = draw.any([(GREETINGS, WELCOME), (WHO, I_AM), (ABILITIES, I_CAN), (THANKS, WELCOMED), (GOODBYES, FAREWELL)])
    text = draw.form(forms)
    if forms in (GREETINGS, THANKS) and draw.chance(0.3):
        text = f"{text.rstrip('!.?')}{draw.any([' ', ', '])}{draw.any(['Outcrop', 'friend', draw.name()])}{draw.any(['', '!', '.'])}"
    return (text.lower() if draw.chance(0.15) else text), answer


def beyond(draw: Draw) -> tuple[str, str]:
    text = draw.form(BEYOND).format(
        name=draw.name(), noun=draw.any(NOUNS), adj=draw.any(ADJECTIVES), verb=draw.any(ACTIONS), year=draw.count(1900, 2040),
        whole=draw.whole(), person=draw.person(), word=draw.word(),
    )  # fmt: skip
    return text, I_CANNOT


def short(draw: Draw) -> tuple[str, str]:
    """A summary: the first sentence is the point, what follows only goes with it."""
    point = draw.any([facts.state, facts.rule, facts.salad])(draw).text
    rest = draw.some(FILLERS, draw.count(1, 3))
    return draw.form(SHORTEN).format(text=" ".join([point, *rest])), point


def listed(draw: Draw) -> tuple[str, str]:
    items = [draw.any([title, lambda d: d.person(), lambda d: d.code(), lambda d: d.any(NOUNS), lambda d: d.name()])(draw) for _ in range(draw.count(2, 5))]
    joined = ", ".join(items[:-1]) + f" and {items[-1]}"
    return draw.form(LISTS).format(items=joined), "\n".join(f"- {item}" for item in items)


def polite(draw: Draw) -> tuple[str, str]:
    text = f"{draw.any(ACTIONS)} the {draw.any([draw.any(NOUNS), title(draw)])}{draw.any(['', f' by {draw.date()}', f' for {draw.person()}', ' now', f' to the {draw.any(ROLES)}'])}"
    return draw.form(POLITE).format(text=f"{facts.upper(text)}{draw.any(['', '.', '!'])}"), f"Could you please {text}?"


def named(draw: Draw) -> tuple[str, str]:
    people = [draw.person() for _ in range(draw.count(1, 3))]
    verb = facts.participle(draw.any(ACTIONS))
    who = people[0] if len(people) == 1 else ", ".join(people[:-1]) + f" and {people[-1]}"
    text = draw.any([f"{who} {verb} the {title(draw)}.", f"On {draw.date()} the {draw.any(NOUNS)} was {verb} by {who}.", f"The {draw.any(ADJECTIVES)} {draw.any(NOUNS)} of {who} was {verb}."])
    return draw.form(NAMES).format(text=text), "\n".join(f"- {person}" for person in people)


def coded(draw: Draw) -> tuple[str, str]:
    code = draw.code()
    text = draw.any([f"The {title(draw)} has the number {code}.", f"{draw.person()} sent {code} on {draw.date()}.", f"Please use {code} for the {draw.any(NOUNS)}.", f"{code} was {facts.participle(draw.any(ACTIONS))}."])
    return draw.form(CODES).format(text=text), code


def repeated(draw: Draw) -> tuple[str, str]:
    text = draw.any([lambda: draw.any([facts.state, facts.rule, facts.salad])(draw).text, lambda: " ".join(draw.word() for _ in range(draw.count(2, 8))), lambda: " ".join(draw.code() for _ in range(draw.count(1, 3)))])()
    return draw.form(REPEATS).format(text=text), text


ALL = (small_talk, beyond, short, short, listed, polite, named, coded, repeated, repeated)


def conversation(draw: Draw, turns: int, tasks: Sequence[Callable[[Draw], tuple[str, str]]] = ALL) -> dict:
    """Talk without documents and tools."""
    messages: list[dict] = []
    for _ in range(turns):
        said, answer = draw.any(tasks)(draw)
        messages.append({"role": "user", "content": [{"text": said}]})
        messages.append({"role": "assistant", "content": [{"text": answer}]})
    opening = system(draw) if draw.chance(0.4) else None
    return {**({"system": [{"text": opening}]} if opening else {}), "messages": messages}
