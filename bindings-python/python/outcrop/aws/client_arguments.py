"""What a Bedrock client of this process is made with, where its maker does not say."""

from __future__ import annotations

import inspect
from typing import Any

import botocore.session

from .wire import SERVICES

#: There is nobody to show credentials to; without some, botocore would ask the network for them.
CREDENTIAL = "in-process"
#: The region of clients whose maker names none.
REGION = "us-east-1"

_CREATE_CLIENT = inspect.signature(botocore.session.Session.create_client)


def local_arguments(
    maker: botocore.session.Session, given: tuple[Any, ...], named: dict[str, Any]
) -> dict[str, Any] | None:
    """The arguments of `create_client` for a client that is answered in this process.

    None for another service's client, and for one with an endpoint of its maker's own.
    """
    arguments = dict(_CREATE_CLIENT.bind(maker, *given, **named).arguments)
    arguments.pop("self")
    if arguments["service_name"] not in SERVICES or arguments.get("endpoint_url"):
        return None
    keys = [arguments.get("aws_access_key_id"), arguments.get("aws_secret_access_key")]
    if keys == [None, None]:
        arguments["aws_access_key_id"] = arguments["aws_secret_access_key"] = CREDENTIAL
    region = arguments.get("region_name") or getattr(arguments.get("config"), "region_name", None)
    if region is None and maker.get_config_variable("region") is None:
        arguments["region_name"] = REGION
    return arguments
