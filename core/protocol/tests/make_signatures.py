"""Writes fixtures/signatures.json: requests as the real SDKs sign them.

    pip install boto3; npm install @aws-sdk/client-bedrock-runtime @aws-sdk/client-bedrock-agent
    python make_signatures.py FOLDER_OF_NODE_MODULES > fixtures/signatures.json
"""

import base64
import json
import subprocess
import sys

import boto3
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.auth import SigV4QueryAuth
from botocore.credentials import Credentials

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
ARN = "arn:aws:bedrock:us-east-1:000000000000:inference-profile/us.amazon.nova-lite-v1:0"
MESSAGES = [{"role": "user", "content": [{"text": "Grüezi"}]}]

NODE = """
import { createRequire } from "node:module";
const require = createRequire(process.argv[1] + "/");
const { BedrockRuntimeClient, ConverseCommand, InvokeModelCommand } = require("@aws-sdk/client-bedrock-runtime");
const { BedrockAgentClient, GetAgentCommand, PrepareAgentCommand, ListTagsForResourceCommand } = require("@aws-sdk/client-bedrock-agent");
const [, , key, secret, arn, messages] = process.argv;
const seen = [];
class Handler {
  metadata = { handlerProtocol: "h2" };
  async handle(request) {
    const query = Object.entries(request.query ?? {}).map(([k, v]) => `${encodeURIComponent(k)}=${encodeURIComponent(v)}`).join("&");
    const body = request.body === undefined ? "" : Buffer.from(request.body).toString("base64");
    seen.push({ method: request.method, path: request.path, query, headers: Object.entries(request.headers), body });
    return { response: { statusCode: 200, headers: {}, body: Buffer.from("{}") } };
  }
  updateHttpClientConfig() {} httpHandlerConfigs() { return {}; } destroy() {}
}
const options = { region: "eu-west-1", endpoint: "http://127.0.0.1:8000", credentials: { accessKeyId: key, secretAccessKey: secret }, requestHandler: new Handler() };
const runtime = new BedrockRuntimeClient(options), agent = new BedrockAgentClient(options);
for (const client of [runtime, agent]) client.middlewareStack.remove("getUserAgentMiddleware");
const quietly = async (sent) => { try { await sent; } catch {} };
await quietly(runtime.send(new ConverseCommand({ modelId: arn, messages: JSON.parse(messages) })));
await quietly(runtime.send(new InvokeModelCommand({ modelId: "us.amazon.nova-lite-v1:0", body: "{}" })));
await quietly(agent.send(new PrepareAgentCommand({ agentId: "AGENTID123" })));
await quietly(agent.send(new ListTagsForResourceCommand({ resourceArn: arn })));
console.log(JSON.stringify(seen));
"""


def of_boto3():
    seen = []

    def hook(request, **_):
        _, _, rest = request.url.partition("//")
        host, _, target = rest.partition("/")
        path, _, query = target.partition("?")
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else bytes(body)
        headers = [(k, v.decode() if isinstance(v, bytes) else v) for k, v in request.headers.items()]
        headers.append(("Host", host))
        seen.append(dict(method=request.method, path="/" + path, query=query, headers=headers,
                         body=base64.b64encode(body).decode()))
        return AWSResponse(request.url, 200, {}, Raw())

    session = boto3.Session(KEY, SECRET, region_name="us-east-1")
    session.events.register("before-send", hook)
    runtime = session.client("bedrock-runtime")
    runtime.converse(modelId=ARN, messages=MESSAGES)
    runtime.converse(modelId="us.amazon.nova-lite-v1:0", messages=MESSAGES)
    runtime.list_async_invokes(statusEquals="Completed", nextToken="a+b/c=~ é*(1)")
    session.client("bedrock-agent").prepare_agent(agentId="AGENTID123")
    session.client("bedrock-agent").list_tags_for_resource(resourceArn=ARN)
    return seen + [presigned()]


def presigned():
    request = AWSRequest("POST", "https://bedrock.amazonaws.com/", params={"Action": "CallWithBearerToken"},
                         headers={"host": "bedrock.amazonaws.com"})
    SigV4QueryAuth(Credentials(KEY, SECRET), "bedrock", "us-east-1", expires=43200).add_auth(request)
    query = request.prepare().url.partition("?")[2]
    return dict(method="POST", path="/", query=query, headers=[("host", "bedrock.amazonaws.com")], body="")


class Raw:
    def stream(self, *_, **__):
        yield b"{}"

    def read(self, *_):
        return b"{}"


def of_node(modules):
    command = ["node", "--input-type=module", "-e", NODE, modules, KEY, SECRET, ARN, json.dumps(MESSAGES)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def lean(one):
    """Without the headers that say nothing to a signature."""
    keep = ("authorization", "host", ":authority", "content-", "x-amz-", "amz-sdk-")
    return dict(one, headers=[(k, v) for k, v in one["headers"] if k.lower().startswith(keep)])


if __name__ == "__main__":
    signed = [dict(by="boto3", **lean(one)) for one in of_boto3()] + [dict(by="node", **lean(one)) for one in of_node(sys.argv[1])]
    print(json.dumps(dict(access_key=KEY, secret=SECRET, signed=signed), indent=1, ensure_ascii=False))
