"""Cedar policies over the calls of agents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import checks

if TYPE_CHECKING:
    from .agent import Agent


@dataclass(frozen=True)
class Policy:
    """A text of Cedar policies, as a home keeps it."""

    #: Its name. Where the text has several policies, their ids are `name.1`, or `name.id` by the
    #: annotation `@id("id")`; of one alone it is the name.
    name: str
    #: The policies, in Cedar's language.
    text: str
    #: The name of the agent that they are over; `None` where they are over every agent.
    agent: str | None = None

    def __str__(self) -> str:
        return self.text


def policy_request(name: str, text: str, agent: Agent | str | None) -> str:
    """What a policy is put with, as JSON."""
    over = None if agent is None else checks.text("agent", getattr(agent, "id", agent))
    own, said = checks.text("name", name), checks.text("text", text)
    return checks.encode("request", {"name": own, "text": said, "agent": over})
