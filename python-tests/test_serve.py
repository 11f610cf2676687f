"""The server, as the clients of Amazon, OpenAI and Anthropic meet it."""

import base64
import http.client
import json
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest
from served import CHAT, EMBEDDER, LLAMA, SLOW, served

boto3 = pytest.importorskip("boto3")
openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")

from botocore.auth import SigV4QueryAuth  # noqa: E402
from botocore.awsrequest import AWSRequest  # noqa: E402
from botocore.config import Config  # noqa: E402
from botocore.credentials import Credentials  # noqa: E402
from botocore.exceptions import ClientError, EventStreamError  # noqa: E402

HI = [{"role": "user", "content": [{"text": "Hi"}]}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(tmp_path_factory.mktemp("serve") / "home") as server:
        yield server


def aws(server, secret=None, key=None, service="bedrock-runtime"):
    return boto3.client(
        service,
        region_name="eu-central-1",
        endpoint_url=server.url,
        aws_access_key_id=key or server.key["accessKeyId"],
        aws_secret_access_key=secret or server.key["secretAccessKey"],
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.fixture(scope="module")
def gpt(server):
    with openai.OpenAI(
        base_url=f"{server.url}/v1", api_key=server.key["bearerToken"], max_retries=0
    ) as client:
        yield client


@pytest.fixture(scope="module")
def claude(server):
    with anthropic.Anthropic(
        base_url=server.url, api_key=server.key["bearerToken"], max_retries=0
    ) as client:
        yield client


# Amazon's client.


def test_boto3_signs_and_is_answered(server):
    client = aws(server)
    answer = client.converse(modelId=CHAT, messages=HI)
    assert answer["output"]["message"]["content"] == [{"text": "Hello there!"}]
    assert answer["usage"]["totalTokens"] == 10
    events = list(client.converse_stream(modelId=CHAT, messages=HI)["stream"])
    assert [next(iter(event)) for event in events] == [
        "messageStart",
        *["contentBlockDelta"] * 3,
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]


def test_an_arn_is_signed_as_it_is_sent(server):
    with pytest.raises(ClientError) as caught:
        arn = "arn:aws:bedrock:us-east-1:000000000000:inference-profile/us.amazon.nova-lite-v1:0"
        aws(server).converse(modelId=arn, messages=HI)
    assert caught.value.response["Error"]["Code"] in (
        "ValidationException",
        "ResourceNotFoundException",
    )


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"secret": "another"}, "InvalidSignatureException"),
        ({"key": "AKIAIOSFODNN7EXAMPLE"}, "UnrecognizedClientException"),
    ],
)
def test_a_wrong_key_is_refused(server, given, code):
    with pytest.raises(ClientError) as caught:
        aws(server, **given).converse(modelId=CHAT, messages=HI)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def asked(server, token):
    body = json.dumps({"messages": HI}).encode()
    request = urllib.request.Request(
        f"{server.url}/model/{CHAT}/converse", body, {"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_bearer_tokens_and_short_term_keys(server):
    assert asked(server, server.key["bearerToken"])["stopReason"] == "end_turn"
    # What aws-bedrock-token-generator makes: a signed address, in base64.
    credentials = Credentials(server.key["accessKeyId"], server.key["secretAccessKey"])
    request = AWSRequest(
        "POST",
        "https://bedrock.amazonaws.com/",
        params={"Action": "CallWithBearerToken"},
        headers={"host": "bedrock.amazonaws.com"},
    )
    SigV4QueryAuth(credentials, "bedrock", "us-east-1", expires=3600).add_auth(request)
    address = request.prepare().url.removeprefix("https://")
    token = lambda text: f"bedrock-api-key-{base64.b64encode(text.encode()).decode()}"  # noqa: E731
    assert asked(server, token(f"{address}&Version=1"))["stopReason"] == "end_turn"
    with pytest.raises(urllib.error.HTTPError) as caught:
        asked(server, token(f"{address}&More=1&Version=1"))
    assert caught.value.code == 403


def test_faults_in_and_before_the_stream(server):
    client = aws(server)

    def ask(text):
        return client.converse_stream(
            modelId=CHAT, messages=[{"role": "user", "content": [{"text": text}]}]
        )  # noqa: E731

    with pytest.raises(EventStreamError) as caught:
        list(ask("break")["stream"])
    assert caught.value.response["Error"]["Code"] == "modelStreamErrorException"
    with pytest.raises(client.exceptions.ThrottlingException):
        list(ask("throttle")["stream"])


def test_tokens_come_as_they_are_made(server):
    events = aws(server).converse_stream(modelId=SLOW, messages=HI)["stream"]
    times = []
    for _event in events:
        times.append(time.monotonic())
        if len(times) == 40:
            break
    events.close()
    assert times[-1] - times[0] > 0.1, "they came at once"


# OpenAI's client.


def test_chat_completions(gpt):
    answer = gpt.chat.completions.create(
        model=CHAT,
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        max_completion_tokens=50,
        temperature=0.5,
        stop=["x"],
        seed=1,
        user="ada",
    )
    [choice] = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("Hello there!", "stop")
    assert (
        answer.usage.prompt_tokens,
        answer.usage.completion_tokens,
        answer.usage.total_tokens,
    ) == (7, 3, 10)


def test_chat_completions_in_chunks(gpt):
    chunks = list(
        gpt.chat.completions.create(
            model=CHAT,
            messages=[{"role": "user", "content": "Hi"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        == "Hello there!"
    )
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.total_tokens == 10 and chunks[-1].choices == []
    assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.parametrize("streams", [False, True])
def test_functions(gpt, streams):
    tools = [
        {
            "type": "function",
            "function": {"name": "weather", "description": "d", "parameters": WEATHER},
        }
    ]
    messages = [{"role": "user", "content": "The weather?"}]
    ask = {"model": CHAT, "messages": messages, "tools": tools, "tool_choice": "auto"}
    if streams:
        with gpt.chat.completions.stream(**ask) as stream:
            answer = stream.get_final_completion()
    else:
        answer = gpt.chat.completions.create(**ask)
    [choice] = answer.choices
    [call] = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls" and choice.message.content == "Let me see."
    assert (call.id, call.function.name, json.loads(call.function.arguments)) == (
        "call_1",
        "weather",
        {"city": "Bern"},
    )
    messages += [
        choice.message.model_dump(include={"role", "content", "tool_calls"}),
        {"role": "tool", "tool_call_id": call.id, "content": "sun"},
    ]
    if streams:
        for each in messages[1]["tool_calls"]:
            each["function"].pop("parsed_arguments", None)
    answer = gpt.chat.completions.create(model=CHAT, messages=messages, tools=tools)
    assert answer.choices[0].message.content == "It is sunny."


def test_log_probabilities_and_json_of_a_real_decoder(gpt):
    ask = {
        "model": LLAMA,
        "messages": [{"role": "user", "content": "Hi"}],
        "max_completion_tokens": 4,
        "logprobs": True,
        "top_logprobs": 2,
    }
    answer = gpt.chat.completions.create(**ask)
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == answer.usage.completion_tokens == 4
    assert all(each.logprob <= 0 and len(each.top_logprobs) == 2 for each in tokens)
    assert tokens[0].logprob == tokens[0].top_logprobs[0].logprob, "it is not greedy"
    chunks = list(gpt.chat.completions.create(stream=True, **ask))
    assert chunks[-1].choices[0].logprobs.content == tokens
    schema = {
        "type": "object",
        "properties": {"sure": {"type": "boolean"}},
        "required": ["sure"],
        "additionalProperties": False,
    }
    answer = gpt.chat.completions.create(
        model=LLAMA,
        messages=ask["messages"],
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    )
    assert isinstance(json.loads(answer.choices[0].message.content)["sure"], bool)


def test_embeddings(gpt):
    numbers = gpt.embeddings.create(model=EMBEDDER, input=["a", "b"], encoding_format="float")
    # The client asks for base64 where nothing is said.
    packed = gpt.embeddings.create(model=EMBEDDER, input=["a", "b"])
    assert [one.embedding for one in numbers.data] == [one.embedding for one in packed.data]
    assert numbers.data[0].embedding == [1.0, 0.0, 0.0] and numbers.usage.prompt_tokens > 0


def test_what_openai_fields_cannot_do_is_refused_by_name(gpt):
    for given in (
        {"n": 2},
        {"top_logprobs": 2},
        {"frequency_penalty": 0.5},
        {"extra_body": {"guided_regex": "x"}},
    ):
        name = next(iter(given.get("extra_body", given)))
        with pytest.raises(openai.BadRequestError, match=name):
            gpt.chat.completions.create(
                model=CHAT, messages=[{"role": "user", "content": "Hi"}], **given
            )
    with pytest.raises(openai.RateLimitError, match="later"):
        gpt.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": "throttle"}])
    with pytest.raises(openai.AuthenticationError):
        gpt.with_options(api_key="x").models.list()
    with pytest.raises(openai.APIError, match="it broke"):
        list(
            gpt.chat.completions.create(
                model=CHAT, messages=[{"role": "user", "content": "break"}], stream=True
            )
        )


# Anthropic's client.


def test_messages(claude):
    answer = claude.messages.create(
        model=CHAT,
        max_tokens=50,
        system="Be brief.",
        messages=[{"role": "user", "content": "Hi"}],
        stop_sequences=["x"],
    )
    assert [block.text for block in answer.content] == ["Hello there!"]
    assert (answer.stop_reason, answer.usage.input_tokens, answer.usage.output_tokens) == (
        "end_turn",
        7,
        3,
    )


def test_messages_in_events(claude):
    with claude.messages.stream(
        model=CHAT, max_tokens=50, messages=[{"role": "user", "content": "Hi"}]
    ) as stream:
        assert list(stream.text_stream) == ["Hello", " there", "!"]
        answer = stream.get_final_message()
    assert (answer.stop_reason, answer.usage.input_tokens, answer.usage.output_tokens) == (
        "end_turn",
        7,
        3,
    )
    with claude.messages.stream(
        model=CHAT, max_tokens=50, messages=[{"role": "user", "content": "think"}]
    ) as stream:
        assert [block.type for block in stream.get_final_message().content] == ["thinking", "text"]


@pytest.mark.parametrize("streams", [False, True])
def test_tools(claude, streams):
    tools = [{"name": "weather", "description": "d", "input_schema": WEATHER}]
    messages = [{"role": "user", "content": "The weather?"}]
    ask = {
        "model": CHAT,
        "max_tokens": 50,
        "messages": messages,
        "tools": tools,
        "tool_choice": {"type": "auto"},
    }
    if streams:
        with claude.messages.stream(**ask) as stream:
            answer = stream.get_final_message()
    else:
        answer = claude.messages.create(**ask)
    text, call = answer.content
    assert answer.stop_reason == "tool_use" and text.text == "Let me see."
    assert (call.id, call.name, call.input) == ("call_1", "weather", {"city": "Bern"})
    messages += [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": text.text},
                {"type": "tool_use", "id": call.id, "name": call.name, "input": call.input},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sun"}],
        },
    ]
    answer = claude.messages.create(model=CHAT, max_tokens=50, messages=messages, tools=tools)
    assert answer.content[0].text == "It is sunny."


def test_what_anthropic_fields_cannot_do_is_refused_by_name(claude):
    messages = [{"role": "user", "content": "Hi"}]
    with pytest.raises(anthropic.BadRequestError, match="container"):
        claude.messages.create(
            model=CHAT, max_tokens=5, messages=messages, extra_body={"container": "x"}
        )
    with pytest.raises(anthropic.BadRequestError, match="budget"):
        claude.messages.create(
            model=CHAT,
            max_tokens=5,
            messages=messages,
            thinking={"type": "enabled", "budget_tokens": 1024},
        )
    with pytest.raises(anthropic.AuthenticationError):
        claude.with_options(api_key="x").messages.create(
            model=CHAT, max_tokens=5, messages=messages
        )
    with pytest.raises(anthropic.RateLimitError, match="later"):
        claude.messages.create(
            model=CHAT, max_tokens=5, messages=[{"role": "user", "content": "throttle"}]
        )
    with pytest.raises(anthropic.APIStatusError, match="it broke"):
        with claude.messages.stream(
            model=CHAT, max_tokens=5, messages=[{"role": "user", "content": "break"}]
        ) as stream:
            stream.until_done()


# The server itself.


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_lets_answers_end_when_it_is_told_to_stop(tmp_path, how):
    with served(tmp_path / "home") as server:
        events = aws(server).converse_stream(modelId=SLOW, messages=HI)["stream"]
        next(iter(events))
        server.process.send_signal(how)
        assert "metadata" in list(events)[-1], "it was cut off"
        assert server.process.wait(30) == 0


def test_tls(tmp_path, monkeypatch):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate to serve by")
    chain, key = tmp_path / "server.crt", tmp_path / "server.key"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-keyout",
            key,
            "-out",
            chain,
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ],
        check=True,
        capture_output=True,
    )
    with served(tmp_path / "home", "--cert", str(chain), "--key", str(key)) as server:
        context = ssl.create_default_context(cafile=chain)
        with urllib.request.urlopen(f"{server.url}/healthz", context=context) as answer:
            assert json.load(answer) == {"status": "ok"}
        client = boto3.client(
            "bedrock-runtime",
            region_name="eu-central-1",
            endpoint_url=server.url,
            verify=str(chain),
            aws_access_key_id=server.key["accessKeyId"],
            aws_secret_access_key=server.key["secretAccessKey"],
        )
        assert client.converse(modelId=CHAT, messages=HI)["stopReason"] == "end_turn"
        # botocore sends bearer tokens over TLS only. It looks for keys all the same.
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", server.key["bearerToken"])
        client = boto3.client(
            "bedrock-runtime",
            region_name="eu-central-1",
            endpoint_url=server.url,
            verify=str(chain),
        )
        assert client.converse(modelId=CHAT, messages=HI)["stopReason"] == "end_turn"
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as plain:
            context.set_alpn_protocols(["h2"])
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
                assert secured.selected_alpn_protocol() == "h2"


def test_many_streams_among_bad_neighbours(server):
    """The short form of benches/serve_load.py."""
    port = int(server.url.rsplit(":", 1)[1])
    bad = []
    for _ in range(10):
        half_open = socket.create_connection(("127.0.0.1", port))
        half_open.sendall(b"POST /model/x/converse HTTP/1.1\r\nHost: x\r\n")
        slow = http.client.HTTPConnection("127.0.0.1", port)
        body = json.dumps({"messages": HI})
        slow.request(
            "POST",
            f"/model/{SLOW}/converse-stream",
            body,
            {"Authorization": f"Bearer {server.key['bearerToken']}"},
        )
        bad += [half_open, slow]
    for _ in range(5):
        reset = socket.create_connection(("127.0.0.1", port))
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reset.sendall(b"PRI * HTTP/2.0\r\n")
        reset.close()
    client, failures, whole = aws(server), [], []

    def one():
        try:
            events = list(client.converse_stream(modelId=CHAT, messages=HI)["stream"])
            whole.append("metadata" in events[-1])
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for each in bad:
        each.close()
    assert failures == [] and whole == [True] * 20


def test_both_vendors_lists_of_models(gpt, claude):
    assert CHAT in [model.id for model in gpt.models.list()]
    assert gpt.models.retrieve(CHAT).id == CHAT
    with pytest.raises(openai.NotFoundError, match="nobody"):
        gpt.models.retrieve("nobody")
    assert CHAT in [model.id for model in claude.models.list()]
