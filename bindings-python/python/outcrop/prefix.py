"""The beginning of prompts that a model's cache holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import checks, requests
from .checks import Path
from .handle import Handle

if TYPE_CHECKING:
    from . import _native


class Prefix(Handle):
    """A held prefix; :meth:`Model.prefix` gives it.

    Its pages stay in the KV cache until :meth:`release`, the end of a `with` block, the last
    reference to it, or the end of the session.
    """

    def __init__(self, native: _native.Prefix) -> None:
        self._native = native

    @property
    def ids(self) -> list[int]:
        """Its token ids."""
        return self._native.ids()

    def fork(self, more: str | Iterable[int] = ()) -> Prefix:
        """A prefix that goes on from this one; this one stays as it is.

        What both have is shared in the cache; a page in which they part is copied.

        Args:
            more: What follows: token ids, or a text, which is tokenised by itself and without
                special tokens. Default: nothing.

        Raises:
            ValidationException: This one was released, or both together do not fit the context.
            ServiceQuotaExceededException: The KV budget has no room for it.
        """
        return Prefix(self._native.fork(requests.prompt_json("more", more), False))

    async def afork(self, more: str | Iterable[int] = ()) -> Prefix:
        """The awaitable twin of :meth:`fork`."""
        return Prefix(await self._native.fork(requests.prompt_json("more", more), True))

    def save(self, path: Path) -> None:
        """Writes its tokens, keys and values to a file, for :meth:`Model.load_prefix`.

        The file is bound to the model's weights and `kv_dtype`, and notices damage. One that is
        there is replaced, whole or not at all.
        """
        self._native.save(checks.folder("path", path), False)

    async def asave(self, path: Path) -> None:
        """The awaitable twin of :meth:`save`."""
        await self._native.save(checks.folder("path", path), True)

    def release(self) -> None:
        """Gives its pages back. A second time does nothing."""
        self._native.release()

    def __enter__(self) -> Prefix:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<outcrop.Prefix of {len(self.ids)} tokens>"
