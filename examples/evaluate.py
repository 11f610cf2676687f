"""Is the right document found first? `make eval` asks examples/questions.json and prints how often.

Two parts. Retrieval: of the answerable questions, in how many does the best passage, or one of the three best, come
from a right document. Answers: how often the quoting reader quotes the right document, quotes the very words that
answer, and says of the other questions that the documents do not answer.

Exit status 1 where the best passage is right in less than 85 %, or the three best in less than 95 %.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import outcrop

HERE = Path(__file__).resolve().parent
FIRST, IN_THREE = 0.85, 0.95


def right_documents(question: dict) -> list[str]:
    """The documents that answer the question: one, or the two that contradict each other."""
    named = question["document"]
    return [named] if isinstance(named, str) else named


def holds(texts: list[str], question: dict) -> bool:
    """Whether one of the texts holds the words that answer, line breaks aside."""
    wanted = question["answer_contains"]
    wanted = [wanted] if isinstance(wanted, str) else wanted
    return any(literal in " ".join(text.split()) for text in texts for literal in wanted)


def rate(label: str, hits: int, of: int) -> float:
    print(f"{label:66} {hits:3} of {of:3}  {hits / of:6.1%}")
    return hits / of


def evaluate_retrieval(kb: outcrop.KnowledgeBase, questions: list[dict]) -> bool:
    """Prints the two rates and every miss; whether both are high enough."""
    first = in_three = in_passage = 0
    for question in questions:
        passages = kb.retrieve(question["question"], k=3)
        found = [passage.location.document for passage in passages]
        right = right_documents(question)
        first += found[0] in right
        in_three += any(document in right for document in found)
        in_passage += holds([passage.text for passage in passages], question)
        if found[0] not in right:
            rank = next((n for n, document in enumerate(found, 1) if document in right), None)
            best = ", ".join(f"{p.location.document} {p.score:.2f}" for p in passages)
            print(f"  {'at ' + str(rank) if rank else 'missed'}: {question['question']}")
            print(f"      wants {right[0]}; found {best}")
    print()
    enough_first = rate("the right document is first", first, len(questions)) >= FIRST
    enough_three = rate("the right document is among the three best", in_three, len(questions)) >= IN_THREE
    rate("the words that answer are in the three best passages", in_passage, len(questions))
    return enough_first and enough_three


def evaluate_answers(kb: outcrop.KnowledgeBase, answerable: list[dict], others: list[dict]) -> None:
    """Prints how the quoting reader does."""
    answered = right = exact = 0
    for question in answerable:
        answer = kb.ask(question["question"])
        cited = [passage.location.document for citation in answer.citations for passage in citation.passages]
        answered += answer.answered
        right += any(document in right_documents(question) for document in cited)
        exact += holds([quote for citation in answer.citations for quote in citation.quotes], question)
    refused = 0
    for question in others:
        answer = kb.ask(question["question"])
        refused += not answer.answered
        if answer.answered:
            print(f"  answered all the same: {question['question']}\n      {' '.join(answer.text.split())}")
    rate("the reader answers", answered, len(answerable))
    rate("it quotes the right document", right, len(answerable))
    rate("it quotes the very words that answer", exact, len(answerable))
    rate("it says that the documents do not answer, where they do not", refused, len(others))


def main() -> int:
    questions = json.loads((HERE / "questions.json").read_text(encoding="utf-8"))
    answerable = [question for question in questions if question.get("answerable") is not False]
    others = [question for question in questions if question.get("answerable") is False]
    with tempfile.TemporaryDirectory() as home, outcrop.Session(home=home) as session:
        kb = session.create_knowledge_base("evaluation")
        kb.add_source(HERE / "corpus")
        report = kb.sync(progress=sys.stderr.isatty())
        print(f"{report.added} documents read, {len(report.failed)} failed\n")
        enough = evaluate_retrieval(kb, answerable)
        print()
        evaluate_answers(kb, answerable, others)
    if not enough:
        print(f"\nnot enough: at least {FIRST:.0%} first and {IN_THREE:.0%} in three are asked for")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
