"""Snapshots: made from a store's view in the worker thread, offered by manifest, fetched as a stream.

A snapshot is one file: a header, then each record of the state as two lengths, key and value. Its manifest
carries the file's SHA-256, and nothing of it is installed before the whole file matches.
"""

import hashlib
import struct
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial

import structlog

from lockd.machine.state import State

from .codec import STATE, decode_records
from .envelopes import Manifest
from .errors import CodecError, LinkError
from .ports import Link, Offload, Shelf, View

log = structlog.get_logger(__name__)

CHUNK_BYTES = 256 * 1024
_MAGIC = b"lockd snapshot 1\n"
_LENGTHS = struct.Struct(">II")


@dataclass(frozen=True, slots=True)
class Body:
    """A snapshot that was fetched, verified and decoded."""

    manifest: Manifest
    state: State
    records: dict[bytes, bytes]


class Snapshots:
    """This node's snapshot files: the newest that it made, and the one that it is fetching."""

    def __init__(self, shelf: Shelf, offload: Offload) -> None:
        self._shelf, self._offload = shelf, offload
        self.newest: Manifest | None = None
        self._making = False
        self._fetching: bytes | None = None

    def tidy(self) -> None:
        """Removes what an earlier life of this process left. Blocks."""
        for name in self._shelf.names():
            self._shelf.remove(name)

    # -- making

    @property
    def is_making(self) -> bool:
        return self._making

    def make(self, view: View, index: int, term: int) -> Coroutine[None, None, None]:
        """Writes the state in view, which is that after entry index, and closes the view. One at a time."""
        assert not self._making
        self._making = True  # from this call on, not from the task's first step
        return self._make(view, index, term)

    async def _make(self, view: View, index: int, term: int) -> None:
        try:
            made = await self._offload(lambda: self._write(view, index, term))
            assert isinstance(made, Manifest)
            self.newest = made
            await self._offload(lambda: self._remove_made(but=_made_name(index, term)))
            log.info("snapshot made", index=index, term=term, bytes=made.size)
        finally:
            self._making = False

    def _write(self, view: View, index: int, term: int) -> Manifest:
        name, digest, size = _made_name(index, term), hashlib.sha256(), 0

        def measured() -> Iterator[bytes]:
            nonlocal size
            for chunk in _chunks(view.scan(STATE)):
                digest.update(chunk)
                size += len(chunk)
                yield chunk

        try:
            self._shelf.put(name, measured())
        finally:
            view.close()
        return Manifest(index, term, size, digest.digest())

    def _remove_made(self, *, but: str) -> None:
        for name in self._shelf.names():
            if name.startswith("made-") and name != but:
                self._shelf.remove(name)

    async def body(self, manifest: Manifest, offset: int) -> AsyncIterator[bytes]:
        """A snapshot's bytes from offset, for as long as it is the newest: a short body makes the peer ask again.

        The one worker thread does things in order: a read that it was given while the snapshot was the newest
        comes before the file's removal.
        """
        name = _made_name(manifest.index, manifest.term)
        while offset < manifest.size and self.newest == manifest:
            chunk = await self._offload(partial(self._shelf.read, name, offset, CHUNK_BYTES))
            assert isinstance(chunk, bytes)
            offset += len(chunk)
            yield chunk

    def serve(self, sha256: bytes, offset: int) -> AsyncIterator[bytes] | None:
        manifest = self.newest
        return self.body(manifest, offset) if manifest and manifest.sha256 == sha256 else None

    # -- fetching

    @property
    def is_fetching(self) -> bool:
        return self._fetching is not None

    def fetch(self, link: Link, peer: int, manifest: Manifest) -> Coroutine[None, None, Body | None]:
        """Fetches what is missing of the snapshot. None: it broke off, and the next call goes on from there."""
        assert self._fetching is None
        self._fetching = manifest.sha256
        return self._fetch(link, peer, manifest)

    async def _fetch(self, link: Link, peer: int, manifest: Manifest) -> Body | None:
        name = f"fetched-{manifest.sha256.hex()}"
        try:
            await self._receive(link, peer, manifest, name)
            body = await self._offload(lambda: self._read(manifest, name))
            assert isinstance(body, Body)
            return body
        except LinkError as error:
            log.info("snapshot fetch broke off", peer=peer, error=str(error))
        except CodecError as error:
            log.warning("snapshot refused", peer=peer, error=str(error))
            await self._offload(lambda: self._shelf.remove(name))
        finally:
            self._fetching = None
        return None

    async def _receive(self, link: Link, peer: int, manifest: Manifest, name: str) -> None:
        offset = await self._offload(lambda: self._shelf.size(name))
        assert isinstance(offset, int)
        if offset >= manifest.size:
            return
        async for chunk in link.fetch(peer, manifest.sha256, offset):
            if offset + len(chunk) > manifest.size:
                raise CodecError(f"more than its {manifest.size} bytes came")
            await self._offload(partial(self._shelf.append, name, offset, chunk))
            offset += len(chunk)
        if offset < manifest.size:
            raise LinkError(f"{offset} of {manifest.size} bytes came")

    def _read(self, manifest: Manifest, name: str) -> Body:
        """Decodes the file and removes it. Raises CodecError for one that is not what its manifest says."""
        data = self._shelf.read(name, 0, manifest.size + 1)
        self._shelf.remove(name)
        if len(data) != manifest.size or hashlib.sha256(data).digest() != manifest.sha256:
            raise CodecError("the fetched file does not match its checksum")
        records = dict(_records(data))
        try:
            state = State.restored(decode_records(iter(records.items())))
        except ValueError as error:
            raise CodecError(f"the snapshot contradicts itself: {error}") from error
        return Body(manifest, state, records)


def _made_name(index: int, term: int) -> str:
    return f"made-{index}-{term}"


def _chunks(records: Iterator[tuple[bytes, bytes]]) -> Iterator[bytes]:
    buffer = bytearray(_MAGIC)
    for key, value in records:
        buffer += _LENGTHS.pack(len(key), len(value)) + key + value
        if len(buffer) >= CHUNK_BYTES:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not data.startswith(_MAGIC):
        raise CodecError("not a snapshot of this format")
    at = len(_MAGIC)
    while at < len(data):
        if at + _LENGTHS.size > len(data):
            raise CodecError("the snapshot is cut short")
        key_size, value_size = _LENGTHS.unpack_from(data, at)
        at += _LENGTHS.size
        end = at + key_size + value_size
        if end > len(data):
            raise CodecError("the snapshot is cut short")
        yield data[at : at + key_size], data[at + key_size : end]
        at = end
