"""langchain-aws, unchanged, on clients of a session."""

import pytest
from langchain_aws import (
    AmazonKnowledgeBasesRetriever,
    BedrockEmbeddings,
    BedrockRerank,
    ChatBedrockConverse,
)
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from outcrop import Document

#: langchain knows what a model can by its id: the scripted model stands for a real one's.
MODEL = "anthropic.claude-3-5-sonnet-20240620-v1:0"


@tool
def get_limit(user_id: str) -> int:
    """The credit limit of a user."""
    return 5000


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@pytest.fixture
def chat(bedrock, own_session, scripted):
    def make(script):
        own_session.alias(MODEL, scripted(script))
        return ChatBedrockConverse(client=bedrock(), bedrock_client=bedrock("bedrock"), model=MODEL)

    return make


def test_chat(chat):
    reply = chat([{"match": {"system": "Be brief."}, "answer": "Good morning."}]).invoke(
        [("system", "Be brief."), ("human", "Hello")]
    )
    assert reply.content == "Good morning."
    assert reply.response_metadata["stopReason"] == "end_turn"
    assert reply.usage_metadata["total_tokens"] > 0


def test_streaming(chat):
    model = chat([{"answer": {"text": ["Good ", "morning", "."]}}])
    pieces = [chunk.text for chunk in model.stream("Hello") if chunk.text]
    assert pieces == ["Good ", "morning", "."]


def test_tools(chat):
    script = [
        {"match": {"tool_result": {"name": "get_limit"}}, "answer": "It is 5000."},
        {"answer": {"tool_uses": [{"name": "get_limit", "input": {"user_id": "12345"}}]}},
    ]
    model = chat(script).bind_tools([get_limit])
    question = HumanMessage("What is the limit of 12345?")
    called = model.invoke([question])
    [call] = called.tool_calls
    assert (call["name"], call["args"]) == ("get_limit", {"user_id": "12345"})
    result = ToolMessage(get_limit.invoke(call["args"]), tool_call_id=call["id"])
    assert model.invoke([question, called, result]).content == "It is 5000."
    streamed = None
    for chunk in model.stream([question]):
        streamed = chunk if streamed is None else streamed + chunk
    assert streamed.tool_calls[0]["args"] == {"user_id": "12345"}


def test_structured_output(chat):
    script = [{"answer": {"tool_uses": [{"name": "Person", "input": {"name": "Ada", "age": 36}}]}}]
    model = chat(script).with_structured_output(Person)
    assert model.invoke("Who wrote the first program?") == Person(name="Ada", age=36)


def test_embeddings(bedrock, own_session):
    hashed = {"dimensions": 1024, "others": "hashed"}
    own_session.register_model("amazon.titan-embed-text-v2:0", {"embeddings": hashed})
    model = BedrockEmbeddings(client=bedrock(), model_id="amazon.titan-embed-text-v2:0")
    one, other = model.embed_documents(["a river", "a mountain"])
    assert len(one) == 1024 and one != other
    assert model.embed_query("a river") == one


def test_retriever(bedrock, own_session):
    own_session.register_model(
        "acme.vectors-v1", {"embeddings": {"dimensions": 256, "others": "hashed"}}
    )
    base = own_session.create_knowledge_base("rivers", embedding_model="acme.vectors-v1")
    base.add(
        [
            Document("The Nile is a river.", id="nile", metadata={"continent": "Africa"}),
            Document("The Rhine is a river.", id="rhine", metadata={"continent": "Europe"}),
        ]
    )
    retriever = AmazonKnowledgeBasesRetriever(
        client=bedrock("bedrock-agent-runtime"),
        knowledge_base_id=base.id,
        retrieval_config={
            "vectorSearchConfiguration": {
                "numberOfResults": 2,
                "filter": {"equals": {"key": "continent", "value": "Europe"}},
            }
        },
    )
    [found] = retriever.invoke("The Rhine is a river.")
    assert found.page_content == "The Rhine is a river."
    assert found.metadata["score"] > 0.9


def test_rerank(bedrock, own_session):
    scores = [
        {"text": {"contains": "blue"}, "score": 3},
        {"text": {"contains": "red"}, "score": -1},
    ]
    own_session.register_model("amazon.rerank-v1:0", {"rerank": scores})
    model = BedrockRerank(
        client=bedrock("bedrock-agent-runtime"),
        model_arn="arn:aws:bedrock:us-west-2::foundation-model/amazon.rerank-v1:0",
        top_n=2,
    )
    ranked = model.rerank(["a red rose", "a blue sky"], "the sky")
    assert [one["index"] for one in ranked] == [1, 0]
    assert ranked[0]["relevance_score"] > 0.9 > 0.5 > ranked[1]["relevance_score"]
