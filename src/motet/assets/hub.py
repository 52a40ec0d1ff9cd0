"""From a name on a model hub to a folder of the hub's own cache, where `from_pretrained(name)` of a service finds it."""

from __future__ import annotations

import fnmatch
import importlib
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from motet.assets import store
from motet.assets.tasks import HubTask
from motet.errors import FetchError, FetchRefused

INSTALL = "pip install 'motet[hub]'"
_COMMIT = re.compile(r"[0-9a-f]{40}").fullmatch
_SERVER_ERRORS = 500

# The same weights once more, under the names that transformers gives them in each format. With safetensors there, it reads none of these.
_TWINS = (
    *("pytorch_model*.bin", "pytorch_model*.bin.index.json", "tf_model*.h5", "tf_model*.h5.index.json"),
    *("flax_model*.msgpack", "flax_model*.msgpack.index.json", "rust_model.ot"),
)
_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")

Progress = Callable[[int, int | None], None]


def ready(task: HubTask) -> Path | None:
    """Return where a model is that was fetched before by its commit, which can't change; None if somebody has to be asked."""
    if task.revision is None or _COMMIT(task.revision) is None:
        return None
    try:
        path = Path(task.marker().read_text())
    except OSError:
        return None
    return path if path.is_dir() else None


def superfluous(files: Sequence[str]) -> list[str]:
    """Return which files of a model are its weights in another format than the one that transformers prefers."""
    if not any(name in files for name in _SAFETENSORS):
        return []
    return [file for file in files if any(fnmatch.fnmatchcase(file, twin) for twin in _TWINS)]


class HubDownload:
    """Has one model in the cache; blocks, so it runs in a thread.

    Args:
        task: what to fetch.
        progress: hears of bytes.
        note: hears what a person should know.
    """

    def __init__(self, task: HubTask, *, progress: Progress, note: Callable[[str], None]) -> None:
        self._task = task
        self._progress = progress
        self._note = note
        self.received = 0
        self._total = 0

    def run(self) -> Path:
        """Return the model's folder.

        Raises:
            FetchError: it can't be had.
        """
        try:
            import huggingface_hub as hub  # noqa: PLC0415  # an extra
        except ImportError as error:
            raise FetchRefused(
                "models of the hub are fetched by huggingface_hub, which isn't installed", found=str(error), instead=INSTALL
            ) from None
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        folder = self._from_cache(hub, "HF_HUB_OFFLINE is set") if self._task.offline else self._fetch(hub)
        if self._task.revision is not None and _COMMIT(self._task.revision):
            marker = self._task.marker()
            marker.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            store.write(marker, str(folder).encode())
        return folder

    def _fetch(self, hub: Any) -> Path:
        task = self._task
        try:
            info = hub.HfApi(endpoint=task.endpoint, token=task.token).model_info(task.name, revision=task.revision)
            left_out = superfluous([sibling.rfilename for sibling in info.siblings or ()])
            return Path(self._snapshot(hub, ignore_patterns=left_out))
        except hub.errors.GatedRepoError as error:
            instead = "a token that has access, as HF_TOKEN: Assets(secrets=['HF_TOKEN']) or an environment variable"
            raise FetchRefused("the model is gated", found=_first_line(error), instead=instead) from None
        except hub.errors.RevisionNotFoundError as error:
            raise FetchRefused(
                "the model has no such revision", found=_first_line(error), instead="a branch, tag or commit of it"
            ) from None
        except (hub.errors.RepositoryNotFoundError, hub.errors.HFValidationError) as error:
            instead = "the name of a model on the hub, of a folder that exists, or, if it is private, a token as HF_TOKEN"
            raise FetchRefused(
                "there is no such model on the hub, nor a folder of this name", found=_first_line(error), instead=instead
            ) from None
        except hub.errors.HfHubHTTPError as error:
            if error.response.status_code < _SERVER_ERRORS:
                raise FetchRefused("the hub refuses", found=_first_line(error)) from None
            return self._from_cache(hub, _first_line(error))
        except OSError as error:
            if not isinstance(error, ConnectionError) and error.errno is not None:  # of the disk
                raise FetchRefused("the model can't be written", found=str(error), instead="HF_HOME=a folder of a larger disk") from None
            return self._from_cache(hub, _first_line(error))
        except Exception as error:  # noqa: BLE001  # of whichever HTTP library it uses
            return self._from_cache(hub, _first_line(error))

    def _from_cache(self, hub: Any, why: str) -> Path:
        """Return what is there already; a snapshot that isn't whole doesn't count."""
        task = self._task
        try:
            tree = hub.get_cached_repo_tree(task.name, revision=task.revision, cache_dir=task.cache)
            left_out = superfluous([file.path for file in tree])
        except hub.errors.CachedRepoTreeNotFoundError:
            left_out = []
        try:
            folder = self._snapshot(hub, ignore_patterns=left_out, local_files_only=True)
        except (hub.errors.LocalEntryNotFoundError, hub.errors.IncompleteSnapshotError) as error:
            instead = "a hub that can be reached (HF_ENDPOINT names a mirror), or the name of a folder that has the model"
            state = "isn't whole" if isinstance(error, hub.errors.IncompleteSnapshotError) else "isn't there"
            raise FetchError(f"the hub can't be asked, and the model {state} in its cache", found=why, instead=instead) from None
        self._note(f"the hub can't be asked ({why}); the model in its cache is used")
        return Path(folder)

    def _snapshot(self, hub: Any, **options: Any) -> str:
        task = self._task
        folder: str = hub.snapshot_download(
            task.name,
            revision=task.revision,
            cache_dir=task.cache,
            endpoint=task.endpoint,
            token=task.token,
            tqdm_class=_counter(self._count, self._expect),
            **options,
        )
        return folder

    def _count(self, size: int) -> None:
        self.received += size
        self._progress(self.received, self._total or None)

    def _expect(self, total: int) -> None:
        self._total = total


def _counter(count: Callable[[int], None], expect: Callable[[int], None]) -> type:
    """Return a class to stand in for progress bars: it draws nothing, and tells of the bytes that are written."""
    base: Any = importlib.import_module("huggingface_hub.utils").tqdm  # others aren't told what they count

    def begin(self: Any, *args: Any, **options: Any) -> None:
        self.counted = options.pop("name", None) == "huggingface_hub.snapshot_download"
        base.__init__(self, *args, **{**options, "disable": True})

    def update(self: Any, n: float | None = 1) -> None:
        if self.counted:
            expect(int(self.total or 0))
            count(int(n or 0))

    return type("Counter", (base,), {"__init__": begin, "update": update})


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2])[:300]}" if lines else type(error).__name__
