"""How good is outcrop.tiny-v1? Prints its scores on generated held-out sets and on the bank's questions.

The generated sets have names, numbers, sentence forms and tool schemas that training never saw. Every reply is the
model's most likely one.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import outcrop
from corpus import calls, grounded
from corpus.draw import Draw

HERE = Path(__file__).resolve().parent
CORPUS = HERE.parent / "examples" / "corpus"
# Of the held-out sets; training's seeds are others, and so are its forms and words.
SEED = 20_000
# How much of a reference's words an answer must hold, and of its own words the reference.
OVERLAP = 0.6


def rate(label: str, hits: int, of: int, target: float) -> None:
    print(f"{label:64} {hits:4} of {of:4}  {hits / max(of, 1):6.1%}  (target {target:.0%})", flush=True)


def show(verbose: bool, what: str, expected: object, got: object) -> None:
    if verbose:
        print(f"  {what}\n    expected {expected!r}\n    got      {got!r}")


def grounded_answers(model: outcrop.Model, count: int, verbose: bool) -> None:
    """Exact answers with their citation, and 'not in the documents'."""
    draw = Draw(SEED, held_out=True)
    exact = answerable = refused = absent = said = 0
    for _ in range(count):
        passages, sentences = draw.any([(1, 6), (2, 5), (3, 4), (4, 4), (5, 3)])
        line = grounded.conversation(draw, passages, sentences, 1, absent_part=0.3)
        question, reference = line["messages"][0], line["messages"][1]["content"][0]["text"]
        got = model.converse([question], system=line["system"][0]["text"], max_tokens=160).text
        says_no = got.strip() == grounded.NO_ANSWER
        said += says_no
        if reference == grounded.NO_ANSWER:
            absent += 1
            refused += says_no
        else:
            answerable += 1
            exact += got == reference
        if got != reference:
            show(verbose, question["content"][-1]["text"], reference, got)
    rate("grounded answer, exact with its citation", exact, answerable, 0.90)
    rate("'not in the documents', precision", refused, said, 0.90)
    rate("'not in the documents', recall", refused, absent, 0.90)


def parsed(text: str) -> tuple[str, object] | None:
    """The one call of a reply that no grammar constrained: its marks are special tokens, which text leaves out."""
    match = re.fullmatch(r"([\w-]+)(\{.*)", text.strip(), re.DOTALL)
    try:
        return (match[1], json.loads(match[2])) if match else None
    except ValueError:
        return None


def single_calls(model: outcrop.Model, render: Callable[[dict], str], count: int, verbose: bool) -> None:
    """One call with all its arguments, as the model writes it by itself; and its JSON under constraint."""
    draw = Draw(SEED + 1, held_out=True)
    right = valid = 0
    for _ in range(count):
        box = calls.toolbox(draw, draw.count(1, 5))
        chosen = draw.any(box)
        values = calls.arguments(draw, chosen)
        talk = calls.Conversation(box, calls.system(draw))
        talk.user(calls.request(draw, chosen, values))
        prompt = render(talk.line) + "<|assistant|>"
        got = parsed(model.generate(prompt, max_tokens=160).text)
        right += got == (chosen.name, values)
        if got != (chosen.name, values):
            show(verbose, talk.messages[0]["content"][0]["text"], (chosen.name, values), got)
        system = talk.line["system"][0]["text"] if "system" in talk.line else None
        reply = model.converse(talk.messages, system=system, tools=talk.line["toolConfig"]["tools"], tool_choice="any", max_tokens=200)
        uses = [use for use in reply.tool_uses if conforms(use.input, next(t for t in box if t.name == use.name))]
        valid += bool(reply.tool_uses) and len(uses) == len(reply.tool_uses)
    rate("single call, tool and all arguments right, unconstrained", right, count, 0.95)
    rate("single call, constrained: JSON of the tool's schema", valid, count, 1.0)


def conforms(given: object, tool: calls.Tool) -> bool:
    """Whether arguments are an object of the tool's schema."""
    kinds = {"string": str, "integer": int, "number": (int, float)}
    schemas = {one.name: one.schema for one in tool.parameters}
    if not isinstance(given, dict) or any(one.required and one.name not in given for one in tool.parameters):
        return False
    return all(
        name not in schemas
        or (isinstance(value, kinds[schemas[name]["type"]]) and ("enum" not in schemas[name] or value in schemas[name]["enum"]))
        for name, value in given.items()
    )


def plans(model: outcrop.Model, count: int, verbose: bool) -> None:
    """Requests of two steps: both calls with all their arguments, then an answer."""
    draw = Draw(SEED + 2, held_out=True)
    right = answered = 0
    for _ in range(count):
        line = calls.plan(draw, draw.count(2, 4), 2)
        system = line["system"][0]["text"] if "system" in line else None
        good, so_far = True, []
        for message in line["messages"]:
            if message["role"] == "assistant" and good:
                reply = model.converse(so_far, system=system, tools=line["toolConfig"]["tools"], max_tokens=200)
                block = message["content"][0]
                if "toolUse" in block:
                    wanted = (block["toolUse"]["name"], block["toolUse"]["input"])
                    got = [(use.name, use.input) for use in reply.tool_uses]
                    good = got == [wanted]
                    if not good:
                        show(verbose, so_far[0]["content"][0]["text"], wanted, got or reply.text)
                else:
                    answered += reply.text == block["text"]
            so_far.append(message)
        right += good
    rate("two-step plan, both calls with all arguments right", right, count, 0.85)
    rate("  and the answer that reads the result out", answered, count, 0.85)


def words(text: str) -> Counter:
    return Counter(re.findall(r"[a-z0-9][a-z0-9.,]*[a-z0-9]|[a-z0-9]", text.lower()))


def overlaps(answer: str, reference: str) -> bool:
    """Whether the answer has most of the reference's words, and not many more."""
    got, wanted = words(re.sub(r"\[\d+\]", "", answer)), words(reference)
    shared = sum((got & wanted).values())
    return shared >= OVERLAP * sum(wanted.values()) and shared >= OVERLAP * sum(got.values())


def bank(name: str, session: outcrop.Session, verbose: bool) -> None:
    """The bank's documents, asked by hand-written questions, with retrieval."""
    questions = json.loads((HERE / "bank_questions.json").read_text(encoding="utf-8"))
    kb = session.create_knowledge_base("bank")
    kb.add_source(CORPUS)
    kb.sync(progress=False)
    right = found = cited = unsupported = 0
    for question in questions:
        answer = kb.ask(question["question"], model=name, k=3)
        right += overlaps(answer.text, question["reference"])
        found += any(overlaps(part, question["reference"]) for p in answer.passages for part in re.split(r"(?<=[.!?])\s+|\n", p.text))
        for citation in answer.citations:
            claim = re.sub(r"\s*\[\d+\]", "", answer.text[citation.span.start : citation.span.end])
            cited += 1
            unsupported += not any(" ".join(claim.split()) in " ".join(p.text.split()) for p in citation.passages)
        if not overlaps(answer.text, question["reference"]):
            show(verbose, question["question"], question["reference"], answer.text)
    rate("bank: right by word overlap with the reference", right, len(questions), 0.70)
    rate("bank: the reference stands in the three passages found", found, len(questions), 1.0)
    rate("bank: citations whose passage does not hold the words", unsupported, cited, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="outcrop.tiny-v1", help="an id, or a path to a model in training")
    parser.add_argument("--count", type=int, default=200, help="examples of each generated set")
    parser.add_argument("--only", nargs="*", default=["grounded", "calls", "plans", "bank"])
    parser.add_argument("--verbose", action="store_true", help="show what went wrong")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, outcrop.Session(home=home) as session:
        model = session.model(given.model)
        print(f"{given.model}: {model.info.parameters:,} parameters\n")
        if "grounded" in given.only:
            grounded_answers(model, given.count, given.verbose)
        if "calls" in given.only:
            from render import Renderer

            single_calls(model, Renderer(), given.count, given.verbose)
        if "plans" in given.only:
            plans(model, given.count, given.verbose)
        if "bank" in given.only:
            bank(given.model, session, given.verbose)


if __name__ == "__main__":
    sys.exit(main())
