"""From a URL to a file of the cache: resumed, checked, never half."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from motet import locks
from motet.assets import store
from motet.assets.store import Entry, Partial
from motet.assets.tasks import UrlTask
from motet.caching import size_text
from motet.errors import FetchError, FetchRefused
from motet.fetching import Answer, Fetcher, FetchLimits
from motet.sources import shown

LIMITS = FetchLimits(size=10**12, total=86400.0, stall=60.0)
MAX_ATTEMPTS = 20  # with at least one byte each
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)").fullmatch
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_OK, _PARTIAL, _NOT_MODIFIED, _UNSATISFIABLE = 200, 206, 304, 416
_SERVER_ERRORS = 500

Tell = Callable[[int, int | None], None]  # bytes that are there, and all


class _FromTheStart(Exception):
    """What there is of a file is of no use."""


class Download:
    """Has one URL's file in the cache.

    Args:
        task: what to fetch.
        fetcher: to fetch by.
        progress: hears of bytes.
        note: hears what a person should know.
    """

    def __init__(self, task: UrlTask, fetcher: Fetcher, *, progress: Tell, note: Callable[[str], None]) -> None:
        self._task = task
        self._fetcher = fetcher
        self._progress = progress
        self._note = note
        self._folder = store.folder_of(task.url, task.sha256)
        self._waits = False
        self.received = 0

    async def run(self) -> Path:
        """Return the file.

        Raises:
            FetchError: it can't be had; the cache is as before, or has the beginning of the file for the next time.
        """
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(locks.holding(self._folder / store.LOCK, waiting=self._wait))
            except OSError as error:
                return self._folder / self._as_it_is(error).file
            entry = store.read(self._folder)
            if entry is None or not entry.pinned:
                try:
                    entry = await self._fetch(entry)
                except OSError as error:
                    store.drop_partial(self._folder)
                    raise _disk_error(error, self._folder) from error
            store.note_use(self._folder)
            return self._folder / entry.file

    def _wait(self, fetcher: str) -> None:
        if not self._waits:
            self._waits = True
            self._note(f"{fetcher} fetches it just now; waiting for that")

    async def _fetch(self, known: Entry | None) -> Entry:
        """Fetch the file, or what is missing of it; an interruption after at least one byte is followed by another attempt."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            before = self.received
            try:
                return await self._attempt(known)
            except _FromTheStart:
                store.drop_partial(self._folder)
            except FetchRefused:
                store.drop_partial(self._folder)
                raise
            except FetchError as error:
                if self.received == before and known is not None:
                    return self._offline(known, error)
                if self.received == before or attempt == MAX_ATTEMPTS:
                    raise
        raise FetchError("the server never sends the whole file", where=shown(self._task.url), found=f"{MAX_ATTEMPTS} attempts")

    def _as_it_is(self, error: OSError) -> Entry:
        """Return what is in a cache that can't be written to, such as one within an image."""
        known = store.read(self._folder)
        if known is None:
            raise _disk_error(error, self._folder) from error
        self._note(f"the cache can't be written to ({error.strerror}); the one of {_day(known)} is used")
        return known

    def _offline(self, known: Entry, error: FetchError) -> Entry:
        self._note(f"nobody can be asked for a newer one ({error.found or error.message}); the one of {_day(known)} is used")
        return known

    async def _attempt(self, known: Entry | None) -> Entry:
        partial = self._folder / store.PARTIAL
        begun = _begun(self._folder)
        start = partial.stat().st_size if begun is not None else 0
        headers: dict[str, str] = {}
        if begun is not None and start:
            headers = {"Range": f"bytes={start}-", "If-Range": begun.etag or begun.last_modified or ""}
        elif known is not None:
            headers = _unless_as(known)
        async with self._fetcher.open(self._task.url, headers) as answer:
            if answer.status == _NOT_MODIFIED and known is not None:
                return known
            if answer.status == _UNSATISFIABLE and start:
                raise _FromTheStart
            if answer.status not in (_OK, _PARTIAL):
                raise _status_error(self._task.url, answer, known)
            total = self._check(answer, start, begun)
            if answer.status == _OK:
                start = 0
                store.drop_partial(self._folder)
                store.write(self._folder / store.PARTIAL_STATE, msgspec.json.encode(_validators(answer)))
            digest = await self._take(answer, start, total)
        return await self._finish(answer, digest, resumed=start > 0)

    def _check(self, answer: Answer, start: int, begun: Partial | None) -> int | None:
        """Return the size of the whole file, if the answer tells; it has to be what was asked for, and to fit on the disk."""
        if answer.status == _PARTIAL:
            found = _RANGE(answer.headers.get("content-range", ""))
            if begun is None or answer.encoded or found is None or int(found.group(1)) != start or _is_another(answer, begun):
                raise _FromTheStart
            total = None if found.group(2) == "*" else int(found.group(2))
        else:
            total = None if answer.encoded else answer.length
        if total is None and not answer.tells_end and self._task.sha256 is None:
            raise FetchRefused(
                "the server doesn't tell where the file ends, so an interruption wouldn't show",
                where=shown(self._task.url),
                instead="#sha256=... behind the URL",
            )
        needed = answer.length or 0
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise _no_room(self._folder, f"{size_text(needed)} needed, {size_text(free)} free")
        return total

    async def _take(self, answer: Answer, start: int, total: int | None) -> str:
        """Write the body behind what there is, and return the checksum of the whole."""
        path = self._folder / store.PARTIAL
        digest = hashlib.sha256()
        if start:
            await asyncio.to_thread(_hash_into, digest.update, path)
        done = start
        with path.open("ab" if start else "wb") as file:
            self._progress(done, total)
            async for piece in answer.pieces():
                file.write(piece)
                digest.update(piece)
                self.received += len(piece)
                done += len(piece)
                self._progress(done, total)
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        if total is not None and done != total:
            raise FetchError("the file ends too early", where=shown(self._task.url), found=f"{done} of {total} bytes")
        return digest.hexdigest()

    async def _finish(self, answer: Answer, sha256: str, *, resumed: bool) -> Entry:
        wanted = self._task.sha256
        if wanted is not None and sha256 != wanted:
            store.drop_partial(self._folder)
            if resumed:
                raise _FromTheStart
            raise FetchRefused(
                "the content has another checksum than declared",
                where=shown(self._task.url),
                found=f"sha256 {sha256}",
                instead=f"sha256 {wanted}; find out which is right before changing it",
            )
        validators = _validators(answer)
        if wanted is None and validators == Partial(None, None):
            self._note(
                f"the server says nothing by which a change would show, so it is fetched each time; #sha256={sha256} behind it ends that"
            )
        return store.keep(
            self._folder,
            self._task.url,
            sha256,
            pinned=wanted is not None,
            etag=validators.etag,
            last_modified=validators.last_modified,
        )


def _day(entry: Entry) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(entry.fetched))


def _begun(folder: Path) -> Partial | None:
    """Return by what the rest of a file can be asked for."""
    try:
        state = msgspec.json.decode((folder / store.PARTIAL_STATE).read_bytes(), type=Partial)
    except (OSError, msgspec.MsgspecError):
        return None
    return state if (state.etag or state.last_modified) and (folder / store.PARTIAL).exists() else None


def _validators(answer: Answer) -> Partial:
    """Return by what the server would know the file again; a weak tag doesn't promise the same bytes, a date to ranges neither."""
    if answer.encoded:
        return Partial(None, None)
    etag = answer.headers.get("etag")
    return Partial(etag if etag is not None and not etag.startswith("W/") else None, answer.headers.get("last-modified"))


def _is_another(answer: Answer, begun: Partial) -> bool:
    """Whether a part is of another file than the beginning, which a server that knows no conditions sends all the same."""
    told = ((begun.etag, answer.headers.get("etag")), (begun.last_modified, answer.headers.get("last-modified")))
    return next((was != now for was, now in told if was is not None and now is not None), False)


def _unless_as(known: Entry) -> dict[str, str]:
    """Return the headers that ask for a file only if it is another one."""
    if known.etag is not None:
        return {"If-None-Match": known.etag}
    return {"If-Modified-Since": known.last_modified} if known.last_modified is not None else {}


def _hash_into(update: Callable[[bytes], None], path: Path) -> None:
    with path.open("rb") as file:
        while piece := file.read(2**20):
            update(piece)


def _status_error(url: str, answer: Answer, known: Entry | None) -> FetchError:
    found = f"status {answer.status}"
    if answer.status >= _SERVER_ERRORS:  # it may work later: what there is counts meanwhile
        return FetchError("the server fails", where=shown(url), found=found)
    was = "; the file was there before" if known is not None else ""
    return FetchRefused("the server doesn't give the file", where=shown(url), found=found + was, instead="a URL that works without a login")


def _no_room(folder: Path, found: str) -> FetchRefused:
    return FetchRefused(
        "the disk has no room for the file",
        where=str(folder),
        found=found,
        instead="free some, or MOTET_CACHE_DIR=a folder of a larger disk",
    )


def _disk_error(error: OSError, folder: Path) -> FetchError:
    if error.errno in _FULL:
        return _no_room(folder, os.strerror(error.errno or 0))
    return FetchRefused("the file can't be written", where=str(folder), found=str(error), instead="MOTET_CACHE_DIR=a folder of your own")
