"""Every error of the runtime arises as the SDK's own class, with its fields, after AWS's retries."""

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

HELLO = [{"role": "user", "content": [{"text": "Hello"}]}]
ONCE = Config(retries={"mode": "standard", "max_attempts": 1})

#: What Converse declares: the error and its HTTP status.
DECLARED = {
    "AccessDeniedException": 403,
    "InternalServerException": 500,
    "ModelErrorException": 424,
    "ModelNotReadyException": 429,
    "ModelTimeoutException": 408,
    "ResourceNotFoundException": 404,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 429,
    "ValidationException": 400,
}

#: The same, of InvokeModel only.
INVOKED = {"ServiceQuotaExceededException": 400}


def fault(name, **members):
    return [{"answer": {"fault": {"error": name, "message": f"{name} was scripted", **members}}}]


@pytest.mark.parametrize("name", DECLARED)
@pytest.mark.parametrize("operation", ["converse", "converse_stream"])
def test_each_is_its_own_class(bedrock, scripted, name, operation):
    client = bedrock(config=ONCE)
    with pytest.raises(getattr(client.exceptions, name)) as raised:
        getattr(client, operation)(modelId=scripted(fault(name)), messages=HELLO)
    response = raised.value.response
    assert response["Error"]["Code"] == name
    assert f"{name} was scripted" in response["Error"]["Message"]
    assert response["ResponseMetadata"]["HTTPStatusCode"] == DECLARED[name]
    assert len(response["ResponseMetadata"]["RequestId"]) == 36


@pytest.mark.parametrize("name", INVOKED)
def test_each_of_invoke_model(bedrock, own_session, scripted, name):
    own_session.alias("meta.llama3-8b-instruct-v1:0", scripted(fault(name)))
    client = bedrock(config=ONCE)
    with pytest.raises(getattr(client.exceptions, name)) as raised:
        client.invoke_model(modelId="meta.llama3-8b-instruct-v1:0", body=b'{"prompt": "Hello"}')
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == INVOKED[name]


def test_members_of_an_error(bedrock, scripted):
    client = bedrock(config=ONCE)
    members = {"original_status_code": 418, "resource_name": "acme"}
    with pytest.raises(client.exceptions.ModelErrorException) as raised:
        client.converse(modelId=scripted(fault("ModelErrorException", **members)), messages=HELLO)
    assert raised.value.response["originalStatusCode"] == 418
    assert raised.value.response["resourceName"] == "acme"


@pytest.mark.parametrize(
    "name", ["ThrottlingException", "InternalServerException", "ServiceUnavailableException"]
)
def test_retries_are_awss(bedrock, scripted, name):
    answers = [fault(name)[0]["answer"], fault(name)[0]["answer"], "At last."]
    client = bedrock(config=Config(retries={"mode": "standard", "max_attempts": 3}))
    response = client.converse(modelId=scripted([{"answers": answers}]), messages=HELLO)
    assert response["output"]["message"]["content"] == [{"text": "At last."}]
    assert response["ResponseMetadata"]["RetryAttempts"] == 2


def test_a_wrong_request_is_not_tried_again(bedrock):
    client = bedrock(config=Config(retries={"mode": "standard", "max_attempts": 3}))
    with pytest.raises(client.exceptions.ValidationException) as raised:
        client.converse(modelId="no.such-model-v1", messages=HELLO)
    assert raised.value.response["ResponseMetadata"]["RetryAttempts"] == 0


@pytest.mark.parametrize(
    "name",
    [
        "InternalServerException",
        "ModelStreamErrorException",
        "ServiceUnavailableException",
        "ThrottlingException",
        "ValidationException",
    ],
)
def test_errors_in_a_stream(bedrock, scripted, name):
    script = [{"answer": {"text": ["one", "two"], "fault": {
        "error": name, "message": "broke off", "after_deltas": 1,
    }}}]  # fmt: skip
    stream = bedrock().converse_stream(modelId=scripted(script), messages=HELLO)["stream"]
    seen = []
    with pytest.raises(EventStreamError, match="broke off") as raised:
        for event in stream:
            seen.append(event)
    assert raised.value.response["Error"]["Code"] == name[0].lower() + name[1:]
    assert [e["contentBlockDelta"]["delta"]["text"] for e in seen if "contentBlockDelta" in e] == [
        "one"
    ]


def test_a_request_that_no_rule_matches_is_an_error(bedrock, scripted):
    model = scripted([{"match": {"text": "something else"}, "answer": "no"}])
    with pytest.raises(ClientError) as raised:
        bedrock(config=ONCE).converse(modelId=model, messages=HELLO)
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] >= 400
