"""Agents of other frameworks, unchanged, run their tools through chat models of a session."""

import strands
from langchain.agents import create_agent
from langchain_aws import ChatBedrockConverse
from langchain_core.tools import tool as langchain_tool
from strands.models import BedrockModel

#: The frameworks know what a model can by its id: the scripted model stands for a real one's.
MODEL = "anthropic.claude-3-5-sonnet-20240620-v1:0"
QUESTION = "What's the credit limit for user ID 12345?"
SCRIPT = [
    {
        "match": {"tool_result": {"name": "get_credit_limit", "content": {"contains": "5000"}}},
        "answer": "It is 5000.",
    },
    {
        "match": {"text": QUESTION},
        "answer": {
            "text": "I look it up.",
            "tool_uses": [{"name": "get_credit_limit", "input": {"user_id": "12345"}}],
        },
    },
]


def test_strands(own_session, scripted):
    own_session.alias(MODEL, scripted(SCRIPT))
    asked = []

    @strands.tool
    def get_credit_limit(user_id: str) -> int:
        """The credit limit of a user.

        Args:
            user_id: Whose.
        """
        asked.append(user_id)
        return 5000

    model = BedrockModel(model_id=MODEL, boto_session=own_session.boto_session())
    agent = strands.Agent(model=model, tools=[get_credit_limit], callback_handler=None)
    result = agent(QUESTION)
    assert asked == ["12345"]
    assert str(result).strip() == "It is 5000."
    assert result.stop_reason == "end_turn"


def test_langchain(bedrock, own_session, scripted):
    own_session.alias(MODEL, scripted(SCRIPT))
    asked = []

    @langchain_tool
    def get_credit_limit(user_id: str) -> int:
        """The credit limit of a user."""
        asked.append(user_id)
        return 5000

    chat = ChatBedrockConverse(client=bedrock(), bedrock_client=bedrock("bedrock"), model=MODEL)
    agent = create_agent(chat, tools=[get_credit_limit])
    state = agent.invoke({"messages": [("human", QUESTION)]})
    assert asked == ["12345"]
    assert state["messages"][-1].content == "It is 5000."
