"""The errors of every call, by AWS's names.

Each is an :class:`OutcropError`. Its message says what was wrong, with the value, and what would
be right.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AccessDeniedException",
    "BadGatewayException",
    "CancelledException",
    "ConflictException",
    "DependencyFailedException",
    "InternalServerException",
    "ModelErrorException",
    "ModelNotReadyException",
    "ModelStreamErrorException",
    "ModelTimeoutException",
    "NotImplementedException",
    "OutcropError",
    "ResourceInUseException",
    "ResourceNotFoundException",
    "ServiceQuotaExceededException",
    "ServiceUnavailableException",
    "ThrottlingException",
    "TooManyTagsException",
    "ValidationException",
]


class OutcropError(Exception):
    """What every error of Outcrop is."""

    #: The HTTP status that Bedrock answers with.
    http_status: ClassVar[int] = 500
    #: Whether the same call may succeed when it is made again.
    retryable: ClassVar[bool] = False

    #: What was wrong, with the value, and what would be right.
    message: str
    #: The id, ARN or path that the error concerns, where there is one.
    resource: str | None

    def __init__(self, message: str, resource: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.resource = resource


class ValidationException(OutcropError, ValueError):
    """An argument is wrong: the message names it, the value and what was expected."""

    http_status = 400


class AccessDeniedException(OutcropError):
    """The policy does not allow the call."""

    http_status = 403


class ResourceNotFoundException(OutcropError, LookupError):
    """Nothing is there by that id, ARN or path."""

    http_status = 404


class ConflictException(OutcropError):
    """The resource exists already, or changed under the call."""

    http_status = 409


class ServiceQuotaExceededException(OutcropError):
    """A stated limit of the account is used up."""

    http_status = 400


class ThrottlingException(OutcropError):
    """The engine's queue is full."""

    http_status = 429
    retryable = True


class ModelNotReadyException(OutcropError):
    """The model is still being loaded or fetched."""

    http_status = 429
    retryable = True


class ModelTimeoutException(OutcropError):
    """The model took longer than the caller allows."""

    http_status = 408


class ModelErrorException(OutcropError):
    """The model failed: its files are damaged, or it is not of a known architecture."""

    http_status = 424


class ModelStreamErrorException(OutcropError):
    """The model failed in the middle of its stream."""

    http_status = 424


class ServiceUnavailableException(OutcropError):
    """A service that the call rests on, such as a remote model, cannot be reached now."""

    http_status = 503
    retryable = True


class DependencyFailedException(OutcropError):
    """Something that the call rests on failed."""

    http_status = 424


class BadGatewayException(OutcropError):
    """Something that the call rests on answered what cannot be used."""

    http_status = 502
    retryable = True


class ResourceInUseException(OutcropError):
    """The resource is in use and cannot be changed now."""

    http_status = 400


class TooManyTagsException(OutcropError):
    """A resource would have more tags than it may."""

    http_status = 400


class NotImplementedException(OutcropError):
    """The operation is one of Bedrock's that is not here."""

    http_status = 501


class CancelledException(OutcropError):
    """The call was given up: its session was closed, or its job cancelled."""

    http_status = 499


class InternalServerException(OutcropError):
    """A fault of Outcrop or of the machine under it, such as a full disk."""

    http_status = 500
