"""Where secrets and environment variables come from: folders with a file for each name, `.env` files, the environment.

Values are in no message, no `repr` and no error of this module.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from motet.errors import StartError, UsageError

SECRETS = "MOTET_SECRETS"  # environment variables with paths, where no option gives them
ENV_FILE = "MOTET_ENV_FILE"
API_KEY = "MOTET_API_KEY"  # environment variable that `motet serve` takes the gateway's key from
MAX_FILE = 1 << 20  # bytes; a secret, or a file of them, is far smaller

Path_ = str | os.PathLike[str]
Paths = Path_ | Sequence[Path_]


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Where to look, in this order; of several paths of one kind the last comes first.

    Attributes:
        given: values by name.
        secrets: folders with one file for each name, and `.env` files; nothing but secrets is taken from them.
        env_files: `.env` files, whose variables all services get but for those that are secrets.
        environment: of the program that asks; None for that of the process that looks.
    """

    given: dict[str, str] = {}
    secrets: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    environment: dict[str, str] | None = None

    def __repr__(self) -> str:
        return f"Sources(given={sorted(self.given)}, secrets={self.secrets}, env_files={self.env_files})"

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files and folders."""
        return tuple(map(Path, (*self.secrets, *self.env_files)))

    def with_environment(self, names: Iterable[str]) -> Sources:
        """Return these sources with what the environment of this process has of some names, for a process that has another."""
        here = {name: os.environ[name] for name in names if name in os.environ}
        return msgspec.structs.replace(self, environment=here)

    def described(self) -> list[str]:
        """Return where is looked, in order, as a person reads it."""
        return [
            *(["the values given"] if self.given else []),
            *(f"the {'folder' if Path(path).is_dir() else 'file'} {path}" for path in (*self.secrets[::-1], *self.env_files[::-1])),
            "the environment of the server",
        ]


ENVIRONMENT = Sources()  # the environment alone


def sources_of(env_file: Paths | None, secrets: Mapping[str, str] | Paths | None) -> Sources:
    """Return the sources that a program asks for; the environment variables `MOTET_ENV_FILE` and `MOTET_SECRETS` name others.

    Raises:
        UsageError: a value given is no text.
    """
    given: dict[str, str] = {}
    if isinstance(secrets, Mapping):
        given = {**secrets}
        for name, value in given.items():
            if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
                raise UsageError(f"the secret {name} is no text", found=type(value).__name__, instead="a str")
        secrets = ()
    return Sources(given=given, secrets=_absolute(secrets, SECRETS), env_files=_absolute(env_file, ENV_FILE))


def _absolute(given: Paths | None, variable: str) -> tuple[str, ...]:
    if given is None:
        given = [path for path in os.environ.get(variable, "").split(os.pathsep) if path]
    elif isinstance(given, str | os.PathLike):
        given = [given]
    return tuple(str(Path(path).absolute()) for path in given)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The secrets that one service names, and where it is defined."""

    service: str
    place: str
    names: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found.

    Attributes:
        secrets: values by service and name.
        variables: of the `.env` files, for all services.
        warnings: what a person should know.
    """

    secrets: Mapping[str, Mapping[str, str]] = field(repr=False)
    variables: Mapping[str, str] = field(repr=False)
    warnings: tuple[str, ...] = ()

    def given_to(self, service: str) -> dict[str, str]:
        """Return all that a service gets."""
        return {**self.variables, **self.secrets.get(service, {})}

    @property
    def values(self) -> list[str]:
        """The values of all secrets."""
        return [value for values in self.secrets.values() for value in values.values()]


NOTHING_FOUND = Found(secrets={}, variables={})


def find(sources: Sources, wanted: Sequence[Wanted], variables: Mapping[str, str] | None = None) -> Found:
    """Look for the secrets that services name.

    Args:
        sources: where to look.
        wanted: by each service.
        variables: of the `.env` files, if they have been read.

    Raises:
        StartError: there are some that aren't found, all of which are named; or a file can't be read.
    """
    variables = env_variables(sources) if variables is None else variables
    opened = _Opened(sources, variables)
    names = list(dict.fromkeys(name for each in wanted for name in each.names))
    values = {name: value for name in names if (value := opened.find(name))}
    if missing := [name for name in names if name not in values]:
        raise _missing(missing, wanted, sources)
    warnings = [*_readable_by_others([*opened.used, *sources.env_files])]
    if API_KEY in variables:
        warnings.append(f"{API_KEY} in a file isn't given to services, and the gateway takes it from the server's own environment")
    return Found(
        secrets={each.service: {name: values[name] for name in each.names} for each in wanted},
        variables={name: value for name, value in variables.items() if name not in values and name != API_KEY},
        warnings=tuple(warnings),
    )


def _missing(missing: Sequence[str], wanted: Sequence[Wanted], sources: Sources) -> StartError:
    users = {name: [each for each in wanted if name in each.names] for name in missing}
    lines = [f"{name}, which {_and([each.service for each in users[name]])} need{'s' if len(users[name]) == 1 else ''}" for name in missing]
    count = "a secret is" if len(missing) == 1 else f"{len(missing)} secrets are"
    return StartError(
        f"{count} missing: " + "; ".join(lines),
        where=", ".join(dict.fromkeys(each.place for name in missing for each in users[name])),
        found="nothing, or an empty value, in " + ", ".join(sources.described()),
        instead=f"export {missing[0]}=..., or --secrets PATH (motet.run: secrets=): a folder with a file of that name, "
        f"or a file with a line {missing[0]}=...",
    )


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


class _Opened:
    """Sources whose files have been read."""

    def __init__(self, sources: Sources, variables: Mapping[str, str]) -> None:
        self.used: list[str] = []  # files that something was read from
        self._given = sources.given
        self._folders_and_files: list[Path | Mapping[str, str]] = []
        for each in reversed(sources.secrets):
            path = Path(each)
            self._folders_and_files.append(path if path.is_dir() else read_env_file(path))
            if not path.is_dir():
                self.used.append(each)
        self._variables = variables
        self._environment: Mapping[str, str] = os.environ if sources.environment is None else sources.environment

    def find(self, name: str) -> str:
        """Return the value of a name, or nothing; an empty value is passed over."""
        if value := self._given.get(name):
            return value
        for place in self._folders_and_files:
            if value := self._in_folder(place, name) if isinstance(place, Path) else place.get(name):
                return value
        return self._variables.get(name) or self._environment.get(name, "")

    def _in_folder(self, folder: Path, name: str) -> str:
        file = folder / name
        if not file.is_file():
            return ""
        self.used.append(str(file))
        value = _text(file)
        value = value.removesuffix("\n").removesuffix("\r")
        if "\0" in value:
            raise StartError("a secret has a character that no environment variable can have", where=str(file), found="a NUL byte")
        return value


def env_variables(sources: Sources) -> dict[str, str]:
    """Return the variables of all `.env` files that all services get them of.

    Raises:
        StartError: a file can't be read, or a line of it isn't `NAME=value`.
    """
    variables: dict[str, str] = {}
    for path in sources.env_files:
        variables.update(read_env_file(Path(path)))
    return variables


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables of a file with lines `NAME=value`; quotes, comments and `export` are as in shells, `$` means itself.

    Raises:
        StartError: it can't be read, or a line of it isn't `NAME=value`.
    """
    from dotenv.parser import parse_stream  # noqa: PLC0415  # few programs have such a file

    variables: dict[str, str] = {}
    for line in parse_stream(io.StringIO(_text(path))):
        if line.error or (line.key is not None and (line.value is None or not _can_be_set(line.key, line.value))):
            text = line.original.string
            number = line.original.line + text[: len(text) - len(text.lstrip())].count("\n")
            raise StartError("a line of the file can't be read", where=f"{path}:{number}", instead="NAME=value, or # and a comment")
        if line.key is not None and line.value is not None:
            variables[line.key] = line.value
    return variables


def _can_be_set(name: str, value: str) -> bool:
    return bool(name) and "=" not in name and "\0" not in name + value


def _text(path: Path) -> str:
    """Return what is in a file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise StartError("there is something else than a file", where=str(path), instead="the path of a file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise StartError(f"the file can't be read: {error.strerror}", where=str(path), instead="the path of a file that exists") from None
    if len(data) > MAX_FILE:
        raise StartError("the file is too large to be one of secrets", where=str(path), found=f"over {MAX_FILE} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise StartError("the file is no text", where=str(path), instead="UTF-8; bytes as base64, say") from None


def _readable_by_others(paths: Iterable[str]) -> list[str]:
    """Return a line about files that other users of the machine may read; not where nobody could change that."""
    loose = [
        path
        for path in dict.fromkeys(paths)
        if os.stat(path).st_mode & stat.S_IROTH and not os.statvfs(path).f_flag & os.ST_RDONLY  # noqa: PTH116  # as statvfs
    ]
    if not loose:
        return []
    more = f" and {len(loose) - 1} more" if len(loose) > 1 else ""
    return [f"other users of this machine may read {loose[0]}{more}; chmod o-r keeps secrets among yourselves"]


class Marks:
    """Marks digests of nodes by the values that the nodes were given: when a value changes, the node is another one.

    A mark says nothing of the values to whoever doesn't know the salt.

    Args:
        found: the values.
        salt: of the server.
    """

    def __init__(self, found: Found, *, salt: bytes) -> None:
        self._found = found
        self._salt = salt
        self._below: dict[str, str] = {}  # identities of nodes, marked where they or one below was given something

    def digest(self, service: str, digest: str) -> str:
        """Return the digest of a node itself, marked."""
        return self._marked(digest, self._found.given_to(service), ())

    def identity(self, service: str, identity: str, dependencies: Iterable[str]) -> str:
        """Return the identity of a node, marked; those that it depends on have to be marked before."""
        marks = [self._below[name] for name in dependencies if name in self._below]
        marked = self._marked(identity, self._found.given_to(service), marks)
        if marked != identity:
            self._below[service] = marked
        return marked

    def _marked(self, digest: str, values: Mapping[str, str], marks: Iterable[str]) -> str:
        marks = sorted(marks)
        if not values and not marks:
            return digest
        content = msgspec.json.encode([digest, sorted(values.items()), marks])
        return hmac.new(self._salt, content, hashlib.sha256).hexdigest()
