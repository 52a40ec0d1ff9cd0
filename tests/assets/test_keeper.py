"""Assets as engines ask for them: looked for, fetched by a process, told of."""

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import motet
from motet.assets import store
from motet.engines import assets
from motet.engines.assets import AssetKeeper, Needs
from motet.testing import PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("cache")]
WEIGHTS = bytes(range(256)) * 400
MODEL = {"config.json": b"{}", "model.safetensors": WEIGHTS}


def needs(service="Search", folder=Path(), environment=None, secrets=None, **declared):
    return Needs(
        service=service,
        place="app.py:1",
        folder=folder,
        assets=motet.Assets(**declared),
        environment=environment or {},
        secrets=secrets or {},
    )


async def have(*wanted, keeper=None):
    """Return the paths by service, and the lines that were reported."""
    lines = []
    keeper = keeper or AssetKeeper(lines.append)
    async with asyncio.timeout(PATIENCE):
        return await keeper.have(wanted), lines


def content(path):
    return Path(path).read_bytes()


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def descriptors():
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def children():
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


@pytest.fixture
def no_process(monkeypatch):
    """Have every process that is started fail the test."""
    monkeypatch.setattr(assets, "start_process", lambda *_, **__: pytest.fail("a process was started"))


async def test_local(tmp_path, no_process):
    (tmp_path / "data").mkdir()
    found, lines = await have(needs(folder=tmp_path, data=["data", str(tmp_path)]), needs("Other"))
    assert (found, lines) == ({"Search": {"data": str(tmp_path / "data"), str(tmp_path): str(tmp_path)}}, [])
    with pytest.raises(motet.StartError, match=f"(?s)Search: the asset nothing.csv doesn't exist.*app.py:1.*{tmp_path}/nothing.csv"):
        await have(needs(folder=tmp_path, data=["nothing.csv"]))


async def test_urls(files, monkeypatch):
    """Each is fetched once whoever wants it, told of, and found by the declared text with and without its checksum."""
    files.add("/a.bin", WEIGHTS)
    files.add("/b.bin", b"b")
    pinned = f"{files.url('/a.bin')}?sig=secret#sha256={hashlib.sha256(WEIGHTS).hexdigest()}"
    found, lines = await have(needs(data=[pinned]), needs("Other", data=[pinned, files.url("/b.bin")]))
    assert content(found["Search"][pinned]) == WEIGHTS
    assert found["Search"][pinned.partition("#")[0]] == found["Other"][pinned] == found["Search"][pinned]
    assert sorted(path for path, _ in files.requests) == ["/a.bin?sig=secret", "/b.bin"]
    assert any(line.startswith(f"Search, Other: {files.url('/a.bin')}?...: fetching, 0 B of 100 KiB, ") for line in lines)
    assert lines[-1].startswith("assets: 2 fetched (100 KiB), ")
    assert not any("secret" in line for line in lines)
    monkeypatch.setattr(assets, "start_process", lambda *_, **__: pytest.fail("a process was started"))
    again, lines = await have(needs(data=[pinned]))
    assert (again["Search"], lines) == (found["Search"], [])


async def test_once_in_the_life_of_a_server(files):
    """What has no checksum is asked for at the first start, and not at every reload."""
    files.add("/a", b"a")
    keeper = AssetKeeper(lambda _: None)
    for _ in range(2):
        found, _ = await have(needs(data=[files.url("/a")]), keeper=keeper)
    assert len(files.requests) == 1
    await have(needs(data=[files.url("/a")]))
    assert len(files.requests) == 2
    assert content(found["Search"][files.url("/a")]) == b"a"


async def test_kept_while_a_server_uses_it(files):
    """Replicas that start later, or again, find what was there at the first start."""
    files.add("/a", b"a")
    keeper = AssetKeeper(lambda _: None)
    found, _ = await have(needs(data=[files.url("/a")]), keeper=keeper)
    (kept,) = store.all_kept()
    assert store.prune(kept, wholly=True) == 0
    assert content(found["Search"][files.url("/a")]) == b"a"
    keeper.close()
    assert store.prune(kept, wholly=True) > 0


async def test_refused(files, monkeypatch):
    """The error names service, asset and cause, and what to set."""
    monkeypatch.delenv("MOTET_FETCH_ALLOW")
    before = children()
    with pytest.raises(motet.StartError, match=r"(?s)Search: the asset http://127\..*isn't a public one.*MOTET_FETCH_ALLOW") as caught:
        await have(needs(data=[files.url("/a")]))
    assert "for Search" in caught.value.where
    assert children() == before
    assert files.requests == []


async def test_no_process_can_be_started(files, monkeypatch):
    """Nothing that was opened for it stays open."""
    before = descriptors()
    monkeypatch.setattr(assets.start_process, "__kwdefaults__", {**assets.start_process.__kwdefaults__, "python": "/nowhere/python"})
    with pytest.raises(FileNotFoundError) as caught:
        await have(needs(data=[files.url("/a")]))
    assert caught.value.__traceback__ is not None  # which keeps what was opened from being collected
    assert descriptors() == before


async def test_process_that_dies(files):
    file = files.add("/a", WEIGHTS, hold=10)
    before = children()
    task = asyncio.create_task(have(needs(data=[files.url("/a")])))
    assert await asyncio.to_thread(file.held.wait, PATIENCE)
    (pid,) = children() - before
    os.kill(pid, 9)
    with pytest.raises(motet.StartError, match="the process that fetches ended"):
        await task


async def test_cancelled(files):
    """Whoever gives up waiting ends the process."""
    file = files.add("/a", WEIGHTS, hold=10)
    before = children()
    task = asyncio.create_task(have(needs(data=[files.url("/a")])))
    assert await asyncio.to_thread(file.held.wait, PATIENCE)
    assert len(children() - before) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == before


async def test_owner_is_killed(files):
    """The process ends with who started it, whatever ended that."""
    file = files.add("/a", WEIGHTS, hold=10)
    program = f"""if True:
        import asyncio
        from pathlib import Path
        import motet
        from motet.engines.assets import AssetKeeper, Needs
        needs = Needs(service="S", place="", folder=Path(), assets=motet.Assets(data=[{files.url("/a")!r}]))
        asyncio.run(AssetKeeper(print).have([needs]))
    """
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.DEVNULL)
    assert await asyncio.to_thread(file.held.wait, PATIENCE)
    (pid,) = map(int, content(f"/proc/{owner.pid}/task/{owner.pid}/children").split())
    descriptor = os.pidfd_open(pid)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, ended.set)
    owner.kill()
    async with asyncio.timeout(PATIENCE):
        await ended.wait()
        await owner.wait()
    asyncio.get_running_loop().remove_reader(descriptor)
    os.close(descriptor)


# -- the hub -----------------------------------------------------------------------------------------------------------


async def test_hub(hub):
    """A model lands where `from_pretrained(name)` looks; the same weights in other formats are left out."""
    model = hub.add("org/model", {**MODEL, "pytorch_model.bin": b"twin", "tf_model.h5": b"twin", "onnx/model.onnx": b"other"})
    found, lines = await have(needs(models=["org/model"]))
    folder = Path(found["Search"]["org/model"])
    assert folder == Path(os.environ["HF_HOME"]) / "hub" / "models--org--model" / "snapshots" / model.commit
    assert names(folder) == ["config.json", "model.safetensors", "onnx/model.onnx"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert (folder.parent.parent / "refs" / "main").read_text() == model.commit
    assert lines[-1].startswith("assets: 1 fetched (100 KiB)")


async def test_hub_without_safetensors(hub):
    hub.add("org/model", {"config.json": b"{}", "pytorch_model.bin": b"weights", "adapter.safetensors": b"x"})
    found, _ = await have(needs(models=["org/model"]))
    assert (Path(found["Search"]["org/model"]) / "pytorch_model.bin").exists()


async def test_hub_again(hub, monkeypatch):
    """A branch is asked for at each start, and only what changed is fetched; a commit can't change, and nobody is asked."""
    model = hub.add("org/model", dict(MODEL))
    await have(needs(models=["org/model"]))
    model.files["config.json"] = b'{"new": 1}'
    hub.requests.clear()
    found, _ = await have(needs(models=["org/model"]))
    assert (Path(found["Search"]["org/model"]) / "config.json").read_bytes() == b'{"new": 1}'
    assert hub.fetched() == ["config.json"]
    await have(needs(models=[f"org/model@{model.commit}"]))
    hub.requests.clear()
    monkeypatch.setattr(assets, "start_process", lambda *_, **__: pytest.fail("a process was started"))
    again, _ = await have(needs(models=[f"org/model@{model.commit}"]))
    assert list(again["Search"].values()) == list(found["Search"].values())
    assert hub.requests == []


@pytest.mark.parametrize("how", ["down", "failing", "offline"])
async def test_hub_offline(hub, how):
    """The model in the cache is used, and that is said; one that isn't there, or not whole, is an error."""
    hub.add("org/model", {**MODEL, "pytorch_model.bin": b"twin"})
    found, _ = await have(needs(models=["org/model"]))
    environment = {"HF_HUB_OFFLINE": "1"} if how == "offline" else {}
    if how == "down":
        hub.close()
    hub.status = 503 if how == "failing" else 200
    again, lines = await have(needs(models=["org/model"], environment=environment))
    assert again == found
    assert any("the model in its cache is used" in line for line in lines)
    with pytest.raises(motet.StartError, match="the model isn't there in its cache"):
        await have(needs(models=["org/other"], environment=environment))
    (Path(found["Search"]["org/model"]) / "config.json").unlink()
    with pytest.raises(motet.StartError, match="the model isn't whole in its cache"):
        await have(needs(models=["org/model"], environment=environment))


async def test_hub_killed_in_the_middle(hub):
    """What was cut short is no model, offline or not, and the next start completes it."""
    model = hub.add("org/model", dict(MODEL), hold="model.safetensors")
    before = children()
    task = asyncio.create_task(have(needs(models=["org/model"])))
    assert await asyncio.to_thread(model.held.wait, PATIENCE)
    for pid in children() - before:
        os.kill(pid, 9)
    with pytest.raises(motet.StartError, match="process that fetches ended"):
        await task
    model.release.set()
    with pytest.raises(motet.StartError, match="isn't whole"):
        await have(needs(models=["org/model"], environment={"HF_HUB_OFFLINE": "1"}))
    found, _ = await have(needs(models=["org/model"]))
    assert (Path(found["Search"]["org/model"]) / "model.safetensors").read_bytes() == WEIGHTS


async def test_hub_errors(hub):
    hub.add("org/model", dict(MODEL))
    hub.add("org/gated", dict(MODEL), token="t", gated=True)
    with pytest.raises(motet.StartError, match=r"(?s)no such model on the hub, nor a folder of this name.*HF_TOKEN"):
        await have(needs(models=["org/nothing"]))
    with pytest.raises(motet.StartError, match="no such revision"):
        await have(needs(models=["org/model@nothing"]))
    with pytest.raises(motet.StartError, match=r"(?s)the model is gated.*HF_TOKEN"):
        await have(needs(models=["org/gated"]))


async def test_hub_token(hub):
    """The service's own secret opens a model; it isn't seen anywhere."""
    hub.add("org/private", dict(MODEL), token="s3cret")
    with pytest.raises(motet.StartError, match="no such model"):
        await have(needs(models=["org/private"]))
    found, lines = await have(needs(models=["org/private"], secrets={"HF_TOKEN": "s3cret"}))
    assert (Path(found["Search"]["org/private"]) / "config.json").exists()
    assert "s3cret" not in "".join(lines)
    need = needs(secrets={"HF_TOKEN": "s3cret"}, models=["org/private"])
    assert "s3cret" not in repr(need) + repr(assets._task(need.sources()[0][1], need))


async def test_hub_of_a_service(hub, tmp_path):
    """Where the service's own variables say that the cache is, the model is put."""
    hub.add("org/model", dict(MODEL))
    found, _ = await have(needs(models=["org/model"], environment={"HF_HOME": str(tmp_path / "own")}))
    assert Path(found["Search"]["org/model"]).is_relative_to(tmp_path / "own" / "hub")


async def test_hub_library_is_missing(hub, tmp_path, monkeypatch):
    (tmp_path / "huggingface_hub.py").write_text("raise ImportError('No module named huggingface_hub')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    with pytest.raises(motet.StartError, match=r"(?s)isn't installed.*pip install 'motet\[hub\]'"):
        await have(needs(models=["org/model"]))
