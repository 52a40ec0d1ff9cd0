"""What a service needs and how it is run: frozen, validated, and plain data that travels as JSON."""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from motet.amounts import BUILT_IN, check_name, parse_bytes
from motet.errors import DefinitionError, Fault
from motet.requirements import checked_requirement, redacted
from motet.sources import checked_source

PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
AtLeastOne = Annotated[int, Field(ge=1)]
T = TypeVar("T")
if TYPE_CHECKING:
    FilePath = Path | str
    Several = list[T] | tuple[T, ...]
else:  # pydantic takes a text for a path and a list for a tuple anyway, and builds their validators in half the time
    FilePath = Path
    Several = tuple[T, ...]

ANY_ORIGIN = "*"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.\-]*://(\[[0-9a-f:.]+\]|[^\s/?#@\[\]*:,]+)(:[0-9]{1,5})?").fullmatch
_SECRET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*").fullmatch

LIBRARY = f"{Path(__file__).parent}/"


def user_place() -> str:
    """Return `file:line` of the nearest caller outside Motet and pydantic."""
    place = "?:0"
    frame = inspect.currentframe()
    while frame is not None:
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        if not frame.f_code.co_filename.startswith(LIBRARY) and "/pydantic" not in frame.f_code.co_filename:
            break
        frame = frame.f_back
    return place


class Options(BaseModel):
    """Base of the option types: frozen; unknown names and wrong values are `DefinitionError`s that say where."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    if not TYPE_CHECKING:

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise DefinitionError(option_faults(type(self), error, place=user_place())) from None


def option_faults(owner: type[BaseModel], error: ValidationError, *, place: str) -> list[Fault]:
    """Return one fault for each wrong option in a pydantic error."""
    faults: dict[str, Fault] = {}
    for problem in error.errors():
        # Below an option pydantic tells of every member of a union by a name of its own; the first says enough.
        path = str(problem["loc"][0]) if problem["loc"] else ""
        if path in faults:
            continue
        said = problem["msg"].removeprefix("Value error, ")
        message = f"option `{path}`: {said}" if path else said
        instead = None
        if problem["type"] == "extra_forbidden":
            message, instead = unknown_option(path, owner.__name__, owner.model_fields)
        elif path:
            field = owner.model_fields[path]
            good = field.examples[0] if field.examples else field.get_default(call_default_factory=True)
            instead = f"such as {path}={good!r}"
        faults[path] = Fault(place=place, subject=owner.__name__, message=message, found=redacted(repr(problem["input"])), instead=instead)
    return list(faults.values())


def unknown_option(name: str, owner: str, known: Iterable[str]) -> tuple[str, str]:
    """Return the message about an option that `owner` doesn't have, and what to write instead."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"`{name}` is no option of {owner}", f"{close[0]}=..." if close else "one of: " + ", ".join(names)


class Resources(Options):
    """What one replica occupies. What is declared here is reserved for each replica; what isn't, isn't counted.

    Args:
        cpus: CPU cores, fractions allowed; numeric libraries get as many threads, at least one.
        gpus: GPUs: whole ones, or a fraction of one (0.5 lets two replicas share it).
        memory: limit in bytes, as a number or as text such as `"2GiB"`; a replica over it is ended.
        custom: amounts of named resources that an operator declares.
        affinity: whether each replica is kept on cores that no other such replica gets; `cpus` must be whole then.
    """

    cpus: NonNegative = 1.0
    gpus: NonNegative = 0.0
    memory: Annotated[int, Field(ge=1)] | str | None = None
    custom: Mapping[str, NonNegative] = Field(default_factory=dict[str, float])
    affinity: bool = False

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if isinstance(self.memory, str):
            parse_bytes(self.memory)
        if self.gpus > 1 and not self.gpus.is_integer():
            message = (
                f"gpus={self.gpus:g} is more than one and not whole; write {math.floor(self.gpus)}, {math.ceil(self.gpus)}, or less than 1"
            )
            raise ValueError(message)
        if self.affinity and (self.cpus < 1 or not self.cpus.is_integer()):
            message = (
                f"affinity=True keeps a replica on whole cores, and cpus={self.cpus:g} is none; write cpus={max(1, math.ceil(self.cpus))}"
            )
            raise ValueError(message)
        for name in self.custom:
            check_name(name)
            if name in BUILT_IN:
                message = f"custom={{{name!r}: ...}} names a resource that has an option of its own; write {name}=..."
                raise ValueError(message)
        return self

    @property
    def memory_bytes(self) -> int | None:
        """The memory limit in bytes, or None."""
        return parse_bytes(self.memory) if isinstance(self.memory, str) else self.memory

    @property
    def threads(self) -> int:
        """How many threads numeric libraries get in a replica."""
        return max(1, math.floor(self.cpus))


class Autoscale(Options):
    """Lets the number of replicas follow the load.

    Args:
        min: replicas that always run.
        max: replicas at most.
        target: running and queued calls per replica to aim for, or None for the replica's concurrency.
    """

    min: Annotated[int, Field(ge=0)] = 1
    max: AtLeastOne = 1
    target: PositiveSeconds | None = None

    if TYPE_CHECKING:

        def __init__(self, min: int = 1, max: int = 1, *, target: float | None = None) -> None: ...  # noqa: A002  # read as Autoscale(min=1, max=4)

    else:

        def __init__(self, min: int = 1, max: int = 1, **values: Any) -> None:  # noqa: A002  # the same
            super().__init__(min=min, max=max, **values)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            message = f"min ({self.min}) is over max ({self.max})"
            raise ValueError(message)
        return self


_PYTHON = re.compile(r"3\.([1-9]?[0-9])(?:\.[0-9]+)?").fullmatch
OLDEST_PYTHON = 11  # minor version of 3


def _checked_python(text: str) -> str:
    found = _PYTHON(text)
    if found is None:
        message = f"{text!r} is no version of Python; write '3.12' or '3.12.1'"
        raise ValueError(message)
    if int(found.group(1)) < OLDEST_PYTHON:
        message = f"Python {text} is too old; Motet needs 3.{OLDEST_PYTHON} or newer"
        raise ValueError(message)
    return text


def _checked_variable(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        message = f"{name!r} can't be the name of an environment variable"
        raise ValueError(message)
    return name


class Environment(Options):
    """The Python environment of a service.

    What is installed for it lies on top of the server's own packages: its packages come first, and those of the server are there too.

    Args:
        pip: requirements, as pip writes them; paths in them are relative to the file that defines the service.
        requirements: path of a requirements file, relative to the file that defines the service.
        env: environment variables.
        python: Python version, such as `"3.12"`. Another one than the server's gives an environment without the server's packages.
        working_dir: folder that replicas start in, relative to the file that defines the service.
        isolated: whether the environment is without the server's packages, except Motet and what Motet needs.
    """

    pip: Several[Annotated[str, AfterValidator(checked_requirement)]] = Field(default=(), examples=[("sentencepiece>=0.2",)])
    requirements: FilePath | None = Field(default=None, examples=["requirements.txt"])
    env: Mapping[Annotated[str, AfterValidator(_checked_variable)], str] = Field(
        default_factory=dict[str, str], examples=[{"TOKENIZERS_PARALLELISM": "false"}]
    )
    python: Annotated[str, AfterValidator(_checked_python)] | None = Field(default=None, examples=["3.12"])
    working_dir: FilePath | None = Field(default=None, examples=["data"])
    isolated: bool = False

    @property
    def has_packages(self) -> bool:
        """Whether it declares packages or a Python of its own."""
        return bool(self.pip or self.requirements or self.python or self.isolated)


class Image(Options):
    """The container image of a service, where one is built or used.

    Args:
        base: image to start from.
        apt: Debian packages to install.
        pip: Python requirements to install.
    """

    base: str | None = None
    apt: Several[str] = ()
    pip: Several[str] = ()


def _checked_secret(name: str) -> str:
    if not _SECRET(name):
        message = f"{name!r} can't be the name of a secret; write letters, digits, and _ - . within it"
        raise ValueError(message)
    return name


class Assets(Options):
    """Files and secrets to have in place before a replica starts.

    Args:
        models: local paths, names on the hub such as `org/name` or `org/name@revision`, or URLs.
        data: local paths or URLs; `#sha256=...` behind a URL is the checksum of its content.
        secrets: names of secrets that the service may read, each also that of an environment variable and of a file.
    """

    models: Several[Annotated[str, AfterValidator(checked_source)]] = Field(default=(), examples=[("org/name",)])
    data: Several[Annotated[str, AfterValidator(checked_source)]] = Field(default=(), examples=[("https://host/file",)])
    secrets: Several[Annotated[str, AfterValidator(_checked_secret)]] = Field(default=(), examples=[("HF_TOKEN",)])


class Config(Options):
    """Everything that a service declares about how it is run. `.options(...)` on a node overrides single fields.

    Args:
        resources: what one replica occupies.
        replicas: a number, or `Autoscale(min, max)`.
        concurrency: calls that one replica runs at once; None means one thread for sync endpoints and 100 for async ones.
        queue: calls that wait at one replica at most; beyond it callers get `Overloaded`.
        environment: the Python environment.
        image: the container image.
        assets: models, data and secrets.
        timeout: seconds that a call may take, streams included; None for no limit.
        idempotent: whether calls may be repeated on another replica when one dies.
        drain: seconds that running calls get to finish when a replica stops.
    """

    resources: Resources = Resources()
    replicas: AtLeastOne | Autoscale = 1
    concurrency: AtLeastOne | None = None
    queue: Annotated[int, Field(ge=0)] = 1000
    environment: Environment = Environment()
    image: Image = Image()
    assets: Assets = Assets()
    timeout: PositiveSeconds | None = 60.0
    idempotent: bool = False
    drain: NonNegative = 30.0

    @model_validator(mode="after")
    def _secrets_are_no_variables(self) -> Self:
        if both := sorted(set(self.assets.secrets) & set(self.environment.env)):
            message = f"{', '.join(both)} can't be a secret and stand in environment=Environment(env=...) for everybody to read"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _cards_are_given_out_once(self) -> Self:
        if "gpus" in self.resources.model_fields_set and "CUDA_VISIBLE_DEVICES" in self.environment.env:
            message = (
                "resources=Resources(gpus=...) decides which cards a replica sees, and environment=Environment(env=...) does, too; keep one"
            )
            raise ValueError(message)
        return self

    def override(self, changes: Mapping[str, object], *, place: str) -> Config:
        """Return a copy in which the fields of `changes` are replaced.

        Raises:
            DefinitionError: a name is no option, or a value doesn't fit it.
        """
        declared = {name: getattr(self, name) for name in self.model_fields_set}
        try:
            return Config.model_validate({**declared, **changes})
        except ValidationError as error:
            raise DefinitionError(option_faults(Config, error, place=place)) from None
        except DefinitionError as error:
            raise DefinitionError(
                [Fault(place=place, subject=f.subject, message=f.message, found=f.found, instead=f.instead) for f in error.faults]
            ) from None

    @property
    def wanted_replicas(self) -> int:
        """Replicas to start with."""
        return max(1, self.replicas.min) if isinstance(self.replicas, Autoscale) else self.replicas


def checked_origin(text: str) -> str:
    """Return the origin of pages, such as `https://app.example`, as browsers write it; or `*`.

    Raises:
        ValueError: it is none.
    """
    if text != ANY_ORIGIN and not _ORIGIN(text.lower()):
        message = f"{text!r} is no origin; write https://app.example, without a path, or *"
        raise ValueError(message)
    return text.lower()


class HttpOptions(Options):
    """How an app is served over HTTP.

    Args:
        cors: origins whose pages may call, such as `https://app.example`; `*` for every page, without credentials.
        gzip: whether answers over 1 KB are compressed for clients that accept it.
        gateways: processes that share the port.
    """

    cors: Several[Annotated[str, AfterValidator(checked_origin)]] = Field(default=(), examples=[("https://app.example",)])
    gzip: bool = False
    gateways: AtLeastOne = 1


class CallOptions(Options):
    """Options of one call or of all calls over one edge of the graph.

    Args:
        timeout: seconds that the call may take; None keeps the endpoint's.
        retries: how often an idempotent call is tried again when its replica dies.
    """

    timeout: PositiveSeconds | None = None
    retries: Annotated[int, Field(ge=0)] | None = None

    def over(self, base: CallOptions) -> CallOptions:
        """Return these options with what they leave open taken from `base`."""
        return CallOptions(
            timeout=self.timeout if self.timeout is not None else base.timeout,
            retries=self.retries if self.retries is not None else base.retries,
        )
