"""From a URL to a file of the cache: checked, resumed, and never half."""

import asyncio
import hashlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading

import pytest

import motet
from motet.assets import store
from motet.assets.downloading import Download
from motet.assets.tasks import UrlTask
from motet.fetching import Fetcher, FetchLimits
from motet.testing import PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("cache")]
CONTENT = random.Random(7).randbytes(300_000)
SHA = hashlib.sha256(CONTENT).hexdigest()

# Fetches a URL as the process for assets does.
PROGRAM = """
import asyncio, sys
from motet.assets.downloading import Download
from motet.assets.tasks import UrlTask
from motet.fetching import Fetcher
print(asyncio.run(Download(UrlTask(*sys.argv[1:]), Fetcher(), progress=lambda *_: None, note=print).run()))
"""


async def download(url, sha256=None, *, limits=None):
    """Return the content of the file, how many bytes came for it, and what was said."""
    notes = []
    fetch = Download(UrlTask(url, sha256), Fetcher(limits=limits), progress=lambda *_: None, note=notes.append)
    path = await fetch.run()
    return path.read_bytes(), fetch.received, notes


def debris(cache):
    """Return all files of the cache but locks."""
    return [path for path in cache.rglob("*") if path.is_file() and path.name not in (store.LOCK, store.IN_USE)]


def program(url, *more):
    return subprocess.Popen([sys.executable, "-c", PROGRAM, url, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def test_checked(files, cache):
    """With a checksum the file is fetched once, and nobody is asked again."""
    files.add("/m/model.bin", CONTENT)
    url = files.url("/m/model.bin")
    assert await download(url, SHA) == (CONTENT, len(CONTENT), [])
    files.close()
    assert await download(url, SHA) == (CONTENT, 0, [])
    entry = store.read(store.folder_of(url, SHA))
    assert (entry.sha256, entry.size, entry.pinned, entry.file) == (SHA, len(CONTENT), True, f"{SHA[:16]}/model.bin")
    assert sorted(path.name for path in debris(cache)) == ["entry.json", "model.bin"]


async def test_somebody_changed_the_file(files):
    """What isn't as it was written is fetched again."""
    files.add("/a", CONTENT)
    await download(files.url("/a"), SHA)
    folder = store.folder_of(files.url("/a"), SHA)
    path = folder / store.read(folder).file
    path.chmod(0o600)
    path.write_bytes(b"x" + CONTENT[1:])
    assert await download(files.url("/a"), SHA) == (CONTENT, len(CONTENT), [])


async def test_wrong_checksum(files, cache):
    files.add("/a", CONTENT)
    with pytest.raises(motet.FetchRefused, match=f"(?s)another checksum.*{SHA}.*{'b' * 64}"):
        await download(files.url("/a"), "b" * 64)
    assert debris(cache) == []


async def test_revalidated(files):
    """Without a checksum the server is asked whether the file has changed."""
    file = files.add("/a", b"old")
    assert (await download(files.url("/a")))[:2] == (b"old", 3)
    assert (await download(files.url("/a")))[:2] == (b"old", 0)
    assert files.headers_of("/a")[1]["if-none-match"] == file.tag
    files.add("/a", b"newer")
    assert (await download(files.url("/a")))[:2] == (b"newer", 5)


async def test_nothing_to_ask_by(files):
    """A server that gives no validators sends the file each time, and the advice is what to write."""
    files.add("/a", CONTENT, validators=False)
    for _ in range(2):
        content, received, (note,) = await download(files.url("/a"))
        assert (content, received) == (CONTENT, len(CONTENT))
        assert f"#sha256={SHA}" in note


@pytest.mark.parametrize("how", ["down", "failing"])
async def test_offline(files, how):
    """What is there is used when nobody can be asked, and that is said."""
    files.add("/a", b"old")
    await download(files.url("/a"))
    if how == "down":
        files.close()
    else:
        files.status = 503
    content, received, (note,) = await download(files.url("/a"))
    assert (content, received) == (b"old", 0)
    assert "nobody can be asked" in note


@pytest.mark.parametrize(("status", "error"), [(404, motet.FetchRefused), (403, motet.FetchRefused), (500, motet.FetchError)])
async def test_error_status(files, cache, status, error):
    files.status = status
    with pytest.raises(error, match=f"status {status}"):
        await download(files.url("/a"))
    assert debris(cache) == []


# -- interruptions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checksum", [SHA, None])
async def test_cut_connection(files, checksum):
    """The rest is fetched at once, and only the rest."""
    files.add("/a", CONTENT, cut=100_000)
    assert await download(files.url("/a"), checksum) == (CONTENT, len(CONTENT), [])
    first, second = files.headers_of("/a")
    assert "range" not in first
    assert (second["range"], second["if-range"]) == ("bytes=100000-", files.files["/a"].tag)


async def test_by_date(files):
    """A weak tag promises nothing about bytes; the date is used then."""
    files.add("/a", CONTENT, cut=100_000, etag='W/"weak"')
    assert await download(files.url("/a")) == (CONTENT, len(CONTENT), [])
    assert files.headers_of("/a")[1]["if-range"] == "Thu, 01 Jan 1970 00:00:00 GMT"


@pytest.mark.parametrize("how", [{"ranges": False}, {"validators": False}])
async def test_from_the_start(files, how):
    """A server that ignores ranges, or says nothing to know the file by, is asked for all of it."""
    files.add("/a", CONTENT, cut=100_000, **how)
    assert (await download(files.url("/a"), SHA))[:2] == (CONTENT, len(CONTENT) + 100_000)


async def test_changed_meanwhile(files):
    """The rest of another version is of no use."""
    files.add("/a", CONTENT, cut=100_000)
    limits = FetchLimits(size=10**9)
    files.files["/a"].hold, files.files["/a"].cut = 100_000, None
    task = asyncio.create_task(download(files.url("/a"), limits=limits))
    await asyncio.to_thread(files.files["/a"].held.wait, PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    files.add("/a", CONTENT[::-1])
    assert (await download(files.url("/a")))[0] == CONTENT[::-1]


async def test_resumed_to_something_else(files):
    """A server that lies about its ranges gets one more chance, from the start; the checksum tells."""
    files.add("/a", CONTENT, cut=100_000, etag='"same"')
    task = download(files.url("/a"), SHA)
    original = files.files["/a"]

    def head(start):
        return f'HTTP/1.1 206 Partial\r\nETag: "same"\r\nContent-Range: bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}\r\n'

    class Swap(dict):
        def get(self, key, default=None):
            if len(files.requests) == 2:
                rest = bytes(len(CONTENT) - 100_000)
                return head(100_000).encode() + f"Content-Length: {len(rest)}\r\n\r\n".encode() + rest
            return default

    files.raw = Swap()
    assert (await task)[0] == CONTENT
    assert "range" not in files.requests[2][1]
    assert original.cut is None


@pytest.mark.parametrize(
    ("etag", "validator"), [(None, b'ETag: "other"'), ('W/"weak"', b'ETag: W/"other"\r\nLast-Modified: Fri, 02 Jan 1970 00:00:00 GMT')]
)
async def test_part_of_another_file(files, etag, validator):
    """A server that knows ranges and no conditions sends the rest of what it has now; its tag gives it away, or its date."""
    files.add("/a", CONTENT, cut=100_000, etag=etag)
    part = b"HTTP/1.1 206 Partial\r\n%s\r\nContent-Range: bytes 100000-299999/300000\r\nContent-Length: 200000\r\n\r\n" % validator

    class Second(dict):
        def get(self, key, default=None):
            return part + bytes(200_000) if len(files.requests) == 2 else default

    files.raw = Second()
    assert (await download(files.url("/a")))[0] == CONTENT
    assert len(files.requests) == 3


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 10\r\n\r\n0123456789",
        b"HTTP/1.1 206 Partial\r\nContent-Length: 10\r\n\r\n0123456789",
    ],
)
async def test_part_that_nobody_asked_for(files, cache, answer):
    files.raw["/a"] = answer
    with pytest.raises(motet.FetchError, match="never sends the whole file"):
        await download(files.url("/a"))
    assert debris(cache) == []


async def test_end_that_nobody_tells(files, cache):
    """Without length or checksum an interruption wouldn't show."""
    files.raw["/a"] = b"HTTP/1.1 200 OK\r\n\r\n" + CONTENT
    with pytest.raises(motet.FetchRefused, match="where the file ends"):
        await download(files.url("/a"))
    assert debris(cache) == []
    assert (await download(files.url("/a"), SHA))[0] == CONTENT


async def test_killed(files, cache):
    """A process that is killed in the middle leaves the beginning, which is never taken for the file; the next one goes on from there."""
    file = files.add("/a", CONTENT, hold=100_000)
    killed = program(files.url("/a"), SHA)
    assert await asyncio.to_thread(file.held.wait, PATIENCE)
    partial = store.folder_of(files.url("/a"), SHA) / store.PARTIAL
    while not partial.exists() or not partial.stat().st_size:  # noqa: ASYNC110  # the other process says nothing of each byte
        await asyncio.sleep(0)
    killed.kill()
    killed.communicate()
    kept = partial.stat().st_size
    assert store.read(partial.parent) is None
    content, received, _ = await download(files.url("/a"), SHA)
    assert (content, received) == (CONTENT, len(CONTENT) - kept)
    assert len(debris(cache)) == 2


async def test_two_at_once(files):
    """Of two processes one fetches; the other waits, says so, and takes what the first has fetched."""
    file = files.add("/a", CONTENT, hold=100_000)
    first = program(files.url("/a"), SHA)
    assert await asyncio.to_thread(file.held.wait, PATIENCE)
    second = program(files.url("/a"), SHA)
    assert f"process {first.pid} fetches it just now" in await asyncio.to_thread(second.stdout.readline)
    file.release.set()
    outputs = [await asyncio.to_thread(process.communicate) for process in (first, second)]
    paths = {stdout.strip() for stdout, _ in outputs}
    assert len(paths) == 1, outputs
    assert len(files.requests) == 1


# -- the disk ----------------------------------------------------------------------------------------------------------


async def test_no_room(files, cache, monkeypatch):
    """What doesn't fit isn't begun."""
    files.add("/a", CONTENT)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 10, 10))
    with pytest.raises(motet.FetchRefused, match=r"(?s)no room.*293 KiB needed, 10 B free.*MOTET_CACHE_DIR"):
        await download(files.url("/a"))
    assert debris(cache) == []


async def test_cache_that_cannot_be_written_to(files):
    """What is there is used, and else it is said what to do. (A folder in the lock's place can't be opened by root either.)"""
    files.add("/a", CONTENT)
    await download(files.url("/a"))
    lock = store.folder_of(files.url("/a"), None) / store.LOCK
    lock.unlink()
    lock.mkdir()
    content, received, (note,) = await download(files.url("/a"))
    assert (content, received) == (CONTENT, 0)
    assert note.startswith("the cache can't be written to (Is a directory); the one of 2")
    (lock.parent / store.ENTRY).unlink()
    with pytest.raises(motet.FetchRefused, match=r"(?s)can't be written.*MOTET_CACHE_DIR"):
        await download(files.url("/a"))


async def test_disk_full_in_the_middle(files, cache):
    """A write that fails leaves nothing behind."""
    files.add("/a", CONTENT)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(motet.FetchRefused, match="no room"):
            await download(files.url("/a"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert debris(cache) == []


async def test_too_large(files, cache):
    files.add("/a", CONTENT)
    with pytest.raises(motet.FetchRefused, match="too large"):
        await download(files.url("/a"), limits=FetchLimits(size=1000))
    assert debris(cache) == []


def test_names():
    assert store.file_name("https://host/a/b/model.tar.gz?x=/y") == "model.tar.gz"
    assert store.file_name("https://host") == "file"
    assert store.file_name("https://host/") == "file"
    assert store.file_name("https://host/..") == "file"
    assert store.file_name("https://host/%2e%2e%2fetc") == "_2e_2e_2fetc"
    assert store.file_name("https://host/" + "a" * 300) == "a" * 100


async def test_prune(files, cache):
    """Old versions and what is half go; what is used stays, unless all is asked for."""
    files.add("/a", b"old")
    await download(files.url("/a"))
    files.add("/a", b"newer")
    await download(files.url("/a"))
    (cache / "assets" / "urls" / "half").mkdir()
    (cache / "assets" / "urls" / "half" / "partial").write_bytes(bytes(10))
    kept = list(store.all_kept())
    assert sum(store.prune(one, wholly=False) for one in kept) == 13
    assert (await download(files.url("/a")))[:2] == (b"newer", 0)
    assert [path.read_bytes() for path in debris(cache) if path.name == "a"] == [b"newer"]
    for one in store.all_kept():
        store.prune(one, wholly=True)
    assert debris(cache) == []
    assert list(store.all_kept()) == []


async def test_prune_leaves_what_is_used(files):
    """Files that a server uses stay, the newest version and older ones; what nobody uses any more goes."""
    url = files.url("/a")
    files.add("/a", b"old")
    await download(url)
    folder = store.folder_of(url, None)
    old = folder / store.read(folder).file
    with store.hold(old):
        files.add("/a", b"newer")
        await download(url)
        new = folder / store.read(folder).file
        with store.hold(new):
            assert [store.prune(one, wholly=True) for one in store.all_kept()] == [0]
            assert (old.read_bytes(), new.read_bytes()) == (b"old", b"newer")
        assert [store.prune(one, wholly=True) for one in store.all_kept()] == [5]
        assert (old.exists(), new.exists()) == (True, False)
    assert [store.prune(one, wholly=True) > 3 for one in store.all_kept()] == [True]
    assert list(store.all_kept()) == []
    with pytest.raises(motet.StartError, match="thrown away before it was used"):
        store.hold(old)


async def test_listed_while_others_fetch_and_prune(cache):
    """What goes while it is looked at is no obstacle."""
    folder = store.urls_folder() / "one"
    done = threading.Event()

    def change():
        while not done.is_set():
            (folder / "version").mkdir(parents=True)
            for name in "abcdef":
                (folder / "version" / name).touch()
            shutil.rmtree(folder)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        for _ in range(500):
            assert len(list(store.all_kept())) < 2
    finally:
        done.set()
        changing.join()


async def test_prune_leaves_what_is_new_since_it_looked(files):
    url = files.url("/a")
    files.add("/a", b"old")
    await download(url)
    looked = list(store.all_kept())
    files.add("/a", b"newer")
    await download(url)
    assert [store.prune(one, wholly=wholly) for one in looked for wholly in (False, True)] == [0, 0]
    folder = store.folder_of(url, None)
    assert (folder / store.read(folder).file).read_bytes() == b"newer"
