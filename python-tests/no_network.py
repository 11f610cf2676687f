"""Refuses every connection that leaves this machine, and every name that would be looked up."""

import ipaddress
import socket

#: What was tried, for a test that asks.
refused = []


def _is_local(address):
    host = address[0] if isinstance(address, tuple) else None
    if host is None or host in ("", "localhost", "localhost.localdomain"):
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


def _refuse(what, address):
    refused.append((what, address))
    raise AssertionError(f"{what} {address!r}: tests reach nothing but this machine")


def _checked(method):
    original = getattr(socket.socket, method)

    def connect(self, address, *rest):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address):
            _refuse(method, address)
        return original(self, address, *rest)

    return connect


def _looked_up(name):
    original = getattr(socket, name)

    def look_up(host, *rest, **named):
        text = host.decode() if isinstance(host, bytes) else host
        if text is not None and not _is_local((text,)):
            _refuse(name, text)
        return original(host, *rest, **named)

    return look_up


def refuse():
    """From now on, in this process."""
    for method in ("connect", "connect_ex"):
        setattr(socket.socket, method, _checked(method))
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        setattr(socket, name, _looked_up(name))
