"""boto3's own clients, answered in this process."""

import io
import re
import threading
import time
from pathlib import Path

import boto3
import botocore.client
import botocore.session
import outcrop
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError, ReadTimeoutError
from botocore.stub import Stubber

import no_network

ROOT = Path(__file__).resolve().parents[1]
HELLO = [{"role": "user", "content": [{"text": "Hello"}]}]
ECHO = [{"answer": {"text": ["Good ", "morning", "."]}}]


def text_of(response):
    return response["output"]["message"]["content"][0]["text"]


def test_converse_is_boto3s_own(bedrock, scripted):
    client = bedrock()
    assert isinstance(client, botocore.client.BaseClient)
    response = client.converse(modelId=scripted(ECHO), messages=HELLO)
    assert text_of(response) == "Good morning."
    assert response["stopReason"] == "end_turn"
    assert response["usage"]["totalTokens"] > 0
    metadata = response["ResponseMetadata"]
    assert metadata["HTTPStatusCode"] == 200 and len(metadata["RequestId"]) == 36
    assert metadata["RetryAttempts"] == 0
    assert metadata["HTTPHeaders"]["x-outcrop-model-id"] == "acme.scripted-v1"


def test_streams(bedrock, scripted):
    stream = bedrock().converse_stream(modelId=scripted(ECHO), messages=HELLO)["stream"]
    events = list(stream)
    deltas = [e["contentBlockDelta"]["delta"]["text"] for e in events if "contentBlockDelta" in e]
    assert deltas == ["Good ", "morning", "."]
    assert events[-1]["metadata"]["usage"]["totalTokens"] > 0


def test_ids_are_percent_encoded_on_the_wire(bedrock, own_session, scripted):
    target = scripted(ECHO)
    for name in (
        "us.amazon.nova-lite-v1:0",
        "arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-text-express-v1",
    ):
        own_session.alias(name, target)
        response = bedrock().converse(modelId=name, messages=HELLO)
        assert text_of(response) == "Good morning."
        headers = response["ResponseMetadata"]["HTTPHeaders"]
        assert headers["x-outcrop-model-id"] == target
    assert set(own_session.aliases().values()) == {target}


def test_an_unknown_model_is_awss_error(bedrock):
    with pytest.raises(ClientError) as raised:
        bedrock().converse(modelId="no.such-model-v1", messages=HELLO)
    assert raised.value.response["Error"] == {
        "Code": "ValidationException",
        "Message": "The provided model identifier is invalid.",
    }


def test_boto3_checks_parameters_first(bedrock):
    with pytest.raises(ParamValidationError):
        bedrock().converse(modelId=5, messages=HELLO)


def test_what_is_not_here_says_so(bedrock):
    client = bedrock("bedrock-agent")
    with pytest.raises(ClientError, match="CreateFlow") as raised:
        client.create_flow(name="flow", executionRoleArn="arn:aws:iam::000000000000:role/r")
    assert raised.value.response["Error"]["Code"] == "NotImplementedException"
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


def test_paginators_and_the_control_plane(bedrock):
    client = bedrock("bedrock-agent")
    made = {client.create_prompt(name=f"prompt-{n}")["id"] for n in range(5)}
    pages = list(client.get_paginator("list_prompts").paginate(PaginationConfig={"PageSize": 2}))
    assert len(pages) == 3
    assert {p["id"] for page in pages for p in page["promptSummaries"]} == made


def test_credentials_and_regions_are_not_needed_nor_looked_for(bedrock, scripted, monkeypatch):
    before = list(no_network.refused)
    model = scripted(ECHO)
    assert bedrock().meta.region_name == "us-east-1"
    assert bedrock(region_name="eu-central-1").meta.region_name == "eu-central-1"
    assert bedrock(config=Config(region_name="eu-west-1")).meta.region_name == "eu-west-1"
    bedrock().converse(modelId=model, messages=HELLO)
    # A bearer token wins over keys in botocore; here nobody reads either.
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "a-token")
    bedrock().converse(modelId=model, messages=HELLO)
    assert no_network.refused == before


def test_the_read_timeout_holds(bedrock, scripted):
    model = scripted([{"answer": {"text": "late", "delay_ms": 60_000}}])
    impatient = Config(read_timeout=0.2, retries={"max_attempts": 1, "mode": "standard"})
    client = bedrock(config=impatient)
    started = time.monotonic()
    with pytest.raises(ReadTimeoutError):
        client.converse(modelId=model, messages=HELLO)
    assert time.monotonic() - started < 5


def test_the_read_timeout_holds_between_chunks(bedrock, scripted):
    stalls = {"answer": {"text": ["one", "two"], "fault": {"stall": True, "after_deltas": 1}}}
    model = scripted([stalls])
    client = bedrock(config=Config(read_timeout=0.3))
    stream = client.converse_stream(modelId=model, messages=HELLO)["stream"]
    seen = []
    with pytest.raises(ReadTimeoutError):
        for event in stream:
            seen.append(event)
    assert any("contentBlockDelta" in event for event in seen)


def test_closing_a_stream_ends_a_wait_in_another_thread(own_session, scripted):
    stalls = {"answer": {"text": ["one", "two"], "fault": {"stall": True, "after_deltas": 1}}}
    client = own_session.client("bedrock-runtime")
    stream = client.converse_stream(modelId=scripted([stalls]), messages=HELLO)["stream"]
    ended = threading.Event()

    def read():
        for _ in stream:
            pass
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    time.sleep(0.2)
    assert not ended.is_set()
    stream.close()
    assert ended.wait(2)


def test_many_threads_share_a_client(bedrock, scripted):
    client, model = bedrock(), scripted(ECHO)
    answers, errors = [], []

    def ask():
        try:
            for _ in range(10):
                answers.append(text_of(client.converse(modelId=model, messages=HELLO)))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and answers == ["Good morning."] * 80


def test_bodies_may_be_files(bedrock, own_session):
    hashed = {"dimensions": 256, "others": "hashed"}
    own_session.register_model("amazon.titan-embed-text-v2:0", {"embeddings": hashed})
    client = bedrock()
    body = io.BytesIO(b'{"inputText": "a river", "dimensions": 256}')
    response = client.invoke_model(modelId="amazon.titan-embed-text-v2:0", body=body)
    assert response["contentType"] == "application/json"
    assert b'"embedding"' in response["body"].read()


def test_a_session_for_libraries(own_session, scripted):
    session = own_session.boto_session()
    assert isinstance(session, boto3.Session)
    assert session is own_session.boto_session()
    client = session.client("bedrock-runtime", region_name="us-west-2")
    assert text_of(client.converse(modelId=scripted(ECHO), messages=HELLO)) == "Good morning."


def test_other_services_are_boto3s(own_session):
    client = own_session.client(
        "s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    with Stubber(client) as stub:
        stub.add_response("list_buckets", {"Buckets": []})
        assert client.list_buckets()["Buckets"] == []
    with pytest.raises(Exception, match="tests reach nothing but this machine"):
        client.list_buckets()


def test_an_endpoint_of_ones_own_is_asked(own_session):
    client = own_session.client(
        "bedrock-runtime",
        endpoint_url="http://127.0.0.1:9",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries={"max_attempts": 1}),
    )
    with pytest.raises(Exception, match="127.0.0.1:9"):
        client.converse(modelId="m", messages=HELLO)


def test_install_answers_clients_that_others_build(own_session, scripted):
    model = scripted(ECHO)
    made = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
    older = boto3.client("bedrock-runtime", **made)
    outcrop.install(own_session)
    try:
        # One that was there before, one that brings nothing, and one of a session of its own.
        newer = boto3.client("bedrock-runtime")
        own = boto3.Session().client("bedrock-runtime")
        for client in (older, newer, own):
            answer = client.converse(modelId=model, messages=HELLO)
            assert text_of(answer) == "Good morning."
        slow = scripted([{"answer": {"text": "late", "delay_ms": 60_000}}], "acme.slow-v1")
        config = Config(read_timeout=0.2, retries={"max_attempts": 1})
        impatient = boto3.client("bedrock-runtime", config=config)
        with pytest.raises(ReadTimeoutError):
            impatient.converse(modelId=slow, messages=HELLO)
    finally:
        outcrop.uninstall()
        boto3.DEFAULT_SESSION = None
    with pytest.raises(Exception, match="tests reach nothing but this machine"):
        older.converse(modelId=model, messages=HELLO)


def test_import_outcrop_as_boto3(run_python):
    program = """
import json
import outcrop as boto3

boto3.setup_default_session(offline=True, region_name="eu-west-1")
default = boto3.client("bedrock-runtime")
named = boto3.Session(region_name="us-west-2", offline=True).client("bedrock-runtime")
of_module = boto3.session.Session(offline=True).client("bedrock")
s3 = boto3.client("s3", aws_access_key_id="a", aws_secret_access_key="b")
print(json.dumps([
    default.meta.region_name, named.meta.region_name, of_module.meta.service_model.service_name,
    s3.meta.service_model.service_name, boto3.exceptions.Boto3Error.__name__,
    hasattr(boto3, "no_such_name"),
]))
"""
    assert run_python(program) == [
        "eu-west-1", "us-west-2", "bedrock", "s3", "Boto3Error", False,
    ]  # fmt: skip


def test_without_boto3_the_package_says_what_to_install(run_python):
    program = """
import json, sys
sys.modules["boto3"] = sys.modules["botocore"] = sys.modules["aiobotocore"] = None
import outcrop
said = []
session = outcrop.Session(offline=True)
for call in (lambda: session.client("bedrock-runtime"), lambda: outcrop.install(session),
             lambda: session.aiobotocore_session(), lambda: outcrop.exceptions):
    try:
        call()
    except (ImportError, AttributeError) as error:
        said.append("pip install 'outcrop[" in str(error))
outcrop.uninstall()
print(json.dumps(said))
"""
    assert run_python(program) == [True] * 4


def test_a_wrong_argument_of_the_session():
    with pytest.raises(TypeError, match="regoin_name"):
        outcrop.Session(regoin_name="us-east-1")


def test_a_closed_session(own_session, bedrock, scripted):
    client, model = bedrock(), scripted(ECHO)
    own_session.close()
    with pytest.raises(outcrop.OutcropError, match="session is closed"):
        client.converse(modelId=model, messages=HELLO)


FORKED = """
import json, os, sys
import outcrop
session = outcrop.Session(offline=True)
session.register_model("acme.scripted-v1", {"script": [{"answer": "Good morning."}]})
client = session.client("bedrock-runtime")
asked = dict(modelId="acme.scripted-v1", messages=[{"role": "user", "content": [{"text": "Hi"}]}])
client.converse(**asked)
stream = client.converse_stream(**asked)["stream"]
pid = os.fork()
if pid == 0:
    answer = client.converse(**asked)["output"]["message"]["content"][0]["text"]
    streamed = sum("contentBlockDelta" in e for e in client.converse_stream(**asked)["stream"])
    os._exit(0 if (answer, streamed) == ("Good morning.", 1) else 1)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(json.dumps([code, sum("contentBlockDelta" in event for event in stream)]))
"""


def test_a_client_works_in_a_forked_child(run_python):
    assert run_python(FORKED) == [0, 1]


INTERRUPTED = """
import json, os, signal, threading, time
import outcrop
signal.signal(signal.SIGINT, signal.default_int_handler)
session = outcrop.Session(offline=True)
session.register_model("acme.slow-v1", {"script": [{"answer": {"text": "late", "delay_ms": 60000}}]})
client = session.client("bedrock-runtime")
asked = dict(modelId="acme.slow-v1", messages=[{"role": "user", "content": [{"text": "Hi"}]}])
took = []
for call in (client.converse, lambda **a: list(client.converse_stream(**a)["stream"])):
    for _ in range(3):
        sent = []
        def interrupt():
            time.sleep(0.3)
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt).start()
        try:
            call(**asked)
        except KeyboardInterrupt:
            took.append(time.perf_counter() - sent[0])
print(json.dumps(took))
"""


def test_ctrl_c(run_python):
    took = run_python(INTERRUPTED)
    assert len(took) == 6 and sorted(took)[3] < 0.1, took


def test_the_examples_of_the_docs(run_python):
    page = (ROOT / "docs" / "aws-sdk.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    said = run_python("\n".join([*blocks, "print()", "import json", "print(json.dumps(hello))"]))
    assert len(blocks) == 3 and said[0]["role"] == "user"
