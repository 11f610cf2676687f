"""Lines of training data as the text that the model sees, as core/inference renders them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jinja2

from corpus import grounded

TEMPLATE = Path(__file__).parent / "chat_template.jinja"


# A sentence and the number of its passage.
QUOTE = re.compile(r"(.+) \[\d+\]", re.DOTALL)


POINTING = [{"text": grounded.POINT}]


def dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def turns(line: dict) -> list[dict]:
    """The messages in Hugging Face's form."""
    found = [{"role": "system", "content": line["system"][0]["text"]}] if "system" in line else []
    for message in line["messages"]:
        parts, calls, passages = [], [], 0
        for block in message["content"]:
            match block:
                case {"text": text}:
                    parts.append(text)
                case {"searchResult": result}:
                    passages += 1
                    parts.append(f"[{passages}] {result['title']} ({result['source']})\n{result['content'][0]['text']}")
                case {"toolUse": use}:
                    calls.append({"function": {"name": use["name"], "arguments": use["input"]}})
                case {"toolResult": given}:
                    content = given["content"][0]
                    found.append({"role": "tool", "content": content["text"] if "text" in content else dumped(content["json"])})
        if parts or calls:
            found.append({"role": message["role"], "content": "\n\n".join(parts), "tool_calls": calls})
    return found


def tools(line: dict) -> list[dict]:
    specs = [tool["toolSpec"] for tool in line.get("toolConfig", {}).get("tools", [])]
    return [{"function": {"name": s["name"], "description": s["description"], "parameters": s["inputSchema"]["json"]}} for s in specs]


class Renderer:
    """The chat template, compiled."""

    def __init__(self) -> None:
        environment = jinja2.Environment()
        environment.filters["tojson"] = dumped
        self.template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))

    def __call__(self, line: dict) -> str:
        return self.template.render(messages=turns(line), tools=tools(line), add_generation_prompt=False)

    def numbered(self, line: dict) -> dict:
        """The line with the number of its sentence before each answer that quotes one."""
        text = self(line)
        for message in line["messages"]:
            for block in message["content"] if message["role"] == "assistant" else []:
                quote = QUOTE.fullmatch(block.get("text", ""))
                # A sentence that holds the end of another is numbered twice: by its beginning it is known.
                first = quote and re.split(r"\n|\. ", quote[1])[0]
                found = first and re.search(r"<\|(\d+)\|>(?:- )?" + re.escape(first), text)
                if found:
                    number = f"<|{found[1]}|>"
                    block["text"] = number if line.get("system") == POINTING else number + block["text"]
        return line
