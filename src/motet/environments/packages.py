"""What has to be installed for an environment: read off the option and the requirements files that it names."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from motet.errors import DefinitionError, Fault
from motet.options import Environment
from motet.requirements import checked_requirement, is_location, redacted

WHOLE = 16 * 2**20  # bytes up to which a local file is known by its content, beyond by size and time
PROJECT_FILES = frozenset({"pyproject.toml", "setup.cfg", "setup.py"})  # what an editable project's environment depends on
NOT_SOURCE = frozenset({".git", ".hg", ".venv", "__pycache__", "build", "dist", "node_modules"})

_COMMENT = re.compile(r"(^|\s+)#.*$")
_BEHIND_PATH = re.compile(r"\[|\s*;|\s--")  # extras, a marker, options
_NESTED = {"-r": False, "--requirement": False, "-c": True, "--constraint": True}
_VALUED = {
    "-i": "--index-url",
    "-f": "--find-links",
    **{name: name for name in ("--index-url", "--extra-index-url", "--find-links", "--trusted-host", "--no-binary", "--only-binary")},
}
_FLAGS = frozenset({"--no-index", "--pre", "--prefer-binary", "--require-hashes"})
_EDITABLE = ("-e", "--editable")


class Packages(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be installed for an environment, with every path absolute.

    Attributes:
        requirements: as pip writes them, those of nested files included.
        constraints: the same, of files of constraints.
        options: of pip's, such as `--find-links /wheels`, that stood among them.
        contents: digest of local files and folders that are named.
        python: version that was asked for, or None for the server's.
        isolated: whether it was asked for without the server's packages.
    """

    requirements: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    contents: str = ""
    python: str | None = None
    isolated: bool = False

    @property
    def is_own_python(self) -> bool:
        """Whether the Python that was asked for is that of this process."""
        wanted = () if self.python is None else tuple(map(int, self.python.split(".")))
        return sys.version_info[: len(wanted)] == wanted

    @property
    def layered(self) -> bool:
        """Whether the server's packages are there too."""
        return self.is_own_python and not self.isolated


def packages_of(
    environment: Environment, folder: str | os.PathLike[str], *, subject: str = "Environment", place: str | None = None
) -> Packages | None:
    """Return what has to be installed for an environment, or None if nothing has to be.

    Args:
        environment: the option of the service.
        folder: of the file that defines the service; paths are relative to it.
        subject: name of the service, for messages.
        place: `file:line` of the option, for messages; None for the folder.

    Raises:
        DefinitionError: a file is missing, or something in one is no requirement; lists all faults.
    """
    reader = _Reader(subject)
    base = Path(folder).absolute()
    around = _Around(place if place is not None else str(base), base)
    for text in environment.pip:
        reader.line(text, around)
    if environment.requirements is not None:
        reader.file(base / environment.requirements, around)
    if reader.faults:
        raise DefinitionError(reader.faults)
    packages = Packages(
        requirements=tuple(dict.fromkeys(reader.requirements)),
        constraints=tuple(dict.fromkeys(reader.constraints)),
        options=tuple(dict.fromkeys(reader.options)),
        contents=hashlib.sha256(b"".join(reader.contents)).hexdigest() if reader.contents else "",
        python=environment.python,
        isolated=environment.isolated,
    )
    return None if packages.layered and not packages.requirements else packages


@dataclass(frozen=True, slots=True)
class _Around:
    """Where a line stands: its place for messages, the folder that its paths are relative to, and whether it only constrains."""

    place: str
    folder: Path
    constrains: bool = False


@dataclass
class _Reader:
    subject: str
    requirements: list[str] = field(default_factory=list[str])
    constraints: list[str] = field(default_factory=list[str])
    options: list[str] = field(default_factory=list[str])
    faults: list[Fault] = field(default_factory=list[Fault])
    contents: list[bytes] = field(default_factory=list[bytes])  # digests of what is named
    _seen: set[tuple[Path, bool]] = field(default_factory=set[tuple[Path, bool]])

    def file(self, path: Path, named_at: _Around) -> None:
        """Read a file of requirements or constraints, each once."""
        path = Path(os.path.normpath(path))
        if (path, named_at.constrains) in self._seen:
            return
        self._seen.add((path, named_at.constrains))
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeError) as error:
            kind = "file of constraints" if named_at.constrains else "requirements file"
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self._fault(named_at, f"the {kind} can't be read: {reason}", str(path), "a path relative to the file that names it")
            return
        for number, line in _logical_lines(text):
            self.line(line, _Around(f"{path}:{number}", path.parent, named_at.constrains))

    def line(self, text: str, around: _Around) -> None:
        """Take one line of a requirements file."""
        option, value = _option(text)
        if option in _NESTED:
            inner = _Around(around.place, around.folder, around.constrains or _NESTED[option])
            if "://" in value:
                self._keep(f"{'--constraint' if inner.constrains else '--requirement'} {value}", inner)
            else:
                self.file(around.folder / value, inner)
        elif option in _VALUED:
            if _VALUED[option] == "--find-links" and "://" not in value and "${" not in value:
                value = self._existing(value, around, only=frozenset())
            self.options.append(f"{_VALUED[option]} {value}")
        elif option in _FLAGS:
            self.options.append(option)
        elif option in _EDITABLE:
            self._keep(f"--editable {self._located(value, around, only=PROJECT_FILES)}", around)
        elif option:
            known = sorted({*_NESTED, *_VALUED, *_FLAGS, *_EDITABLE})
            self._fault(around, f"the option {option} can't stand among requirements", text, "one of: " + ", ".join(known))
        else:
            self._requirement(text, around)

    def _requirement(self, text: str, around: _Around) -> None:
        if "${" not in text:  # the installer puts in environment variables
            try:
                text = checked_requirement(text)
            except ValueError as error:
                self._fault(around, "this is no requirement", text, str(error).rpartition("; ")[2])
                return
            name, at, url = text.partition(" @ ")
            if at:
                text = f"{name} @ {self._located(url.strip(), around)}"
            elif is_location(text):
                text = self._located(text, around)
        self._keep(text, around)

    def _keep(self, text: str, around: _Around) -> None:
        (self.constraints if around.constrains else self.requirements).append(text)

    def _located(self, text: str, around: _Around, *, only: frozenset[str] | None = None) -> str:
        """Return a path or URL, with what stands behind it, with its path absolute; what is local counts with its content."""
        if text.startswith("file:"):
            location = re.split(r"[\s;#\[]", text, maxsplit=1)[0]
            self._existing(unquote(urlsplit(location).path), around)
            return text
        if "://" in text or "${" in text:
            return text
        behind = _BEHIND_PATH.search(text)
        path = text[: behind.start()] if behind is not None else text
        return self._existing(path, around, only=only) + text[len(path) :]

    def _existing(self, value: str, around: _Around, *, only: frozenset[str] | None = None) -> str:
        """Return a path, absolute; the files in it count by their content, or those of certain names alone."""
        path = Path(os.path.normpath(around.folder / value))
        if not path.exists():
            self._fault(around, "there is no such file or folder", str(path), "a path relative to the file that names it")
        elif only is None or only:
            self.contents.append(_digest(path, only))
        return str(path)

    def _fault(self, around: _Around, message: str, found: str, instead: str) -> None:
        self.faults.append(Fault(place=around.place, subject=self.subject, message=message, found=redacted(found), instead=instead))


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Return the lines of a requirements file that say something, joined where one is continued, with the number of the first."""
    joined, first = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        first = first or number
        if line.endswith("\\") and not _COMMENT.search(line):
            joined += line[:-1].strip() + " "
            continue
        joined = _COMMENT.sub("", joined + line.strip()).strip()
        if joined:
            yield first, joined
        joined, first = "", 0
    if joined.strip():
        yield first, joined.strip()


def _option(text: str) -> tuple[str, str]:
    """Return the option that a line begins with, and its value."""
    if not text.startswith("-"):
        return "", ""
    name, _, value = text.partition("=") if re.match(r"--[\w-]+=", text) else text.partition(" ")
    if not name.startswith("--") and len(name) > len("-r"):  # -rfile
        name, value = name[:2], name[2:] + value
    return name, value.strip()


def _digest(path: Path, only: frozenset[str] | None) -> bytes:
    """Return a digest of a local file, or of the files in a folder."""
    digest = hashlib.sha256()
    for file in _files(path):
        if only is not None and file.name not in only:
            continue
        state = file.stat()
        digest.update(f"{file.relative_to(path)} {state.st_size}\n".encode())
        digest.update(file.read_bytes() if state.st_size <= WHOLE else str(state.st_mtime_ns).encode())
    return digest.digest()


def _files(path: Path) -> Iterable[Path]:
    if path.is_file():
        yield path
        return
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if name not in NOT_SOURCE and not name.endswith(".egg-info"))
        yield from (Path(folder, name) for name in sorted(files) if Path(folder, name).is_file())
