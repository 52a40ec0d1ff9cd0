"""The program `motet`: finds commands, and says what went wrong in one way for all of them."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, NoReturn, TypeVar

import click

from motet.cli.errors import Complaint, complain, explain, show_traceback

F = TypeVar("F", bound=Callable[..., Any])

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class Commands(MutableMapping[str, click.Command]):
    """Commands by name, each imported when it is first looked up.

    Args:
        places: `module:attribute` by name.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places: dict[str, str] = dict(places)
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            module, _, attribute = self._places[name].partition(":")
            self._loaded[name] = getattr(importlib.import_module(module), attribute)
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._places.setdefault(name, "")
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._places[name]
        self._loaded.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class Program(click.Group):
    """A group of commands whose errors are "error: ..." on stderr, without a traceback unless one is asked for.

    A command returns its exit code; None is 0.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order in which they are declared."""
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; an unknown one is an error that names the nearest."""
        name = args[0]
        if name not in self.commands and not name.startswith("-"):
            close = difflib.get_close_matches(name, self.commands, n=1)
            raise Complaint(
                f"there is no command {name!r}",
                instead=f"{ctx.command_path} {close[0]}" if close else "one of: " + ", ".join(self.commands),
                code=2,
            )
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002  # click's signature
        **extra: Any,
    ) -> Any:
        """Run the program; in standalone mode end the process with the command's exit code."""
        if standalone_mode:
            _end(self._run(args, prog_name or "motet", complete_var, extra))
        return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)

    def _run(self, args: Sequence[str] | None, prog_name: str, complete_var: str | None, extra: dict[str, Any]) -> int:
        try:
            code: object = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.message)
            return 2
        except click.UsageError as error:
            complain(_usage(error))
            return error.exit_code
        except (click.Abort, KeyboardInterrupt):
            return INTERRUPTED
        except Complaint as error:
            complain(error)
            return error.code
        except Exception as error:  # noqa: BLE001  # the last place to say it
            click.echo(explain(error), err=True)
            return 1
        return code if isinstance(code, int) else 0


def _usage(error: click.UsageError) -> Complaint:
    """Return a wrong use of the command line as our kind of error."""
    message = error.message
    instead: str | None = None
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        instead = error.possibilities[0]
    elif isinstance(error, click.MissingParameter) and error.ctx is not None and error.param is not None and error.param.name == "target":
        message, instead = "which app?", f"{error.ctx.command_path} app.py:app"
    elif isinstance(error, click.BadParameter):
        message = error.format_message()
    if error.ctx is not None and instead is None:
        instead = f"see {error.ctx.command_path} --help"
    message = message[:1].lower() + message[1:].rstrip(".")
    return Complaint(message, instead=instead)


def _end(code: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stderr.close()  # else Python complains once more about the pipe when it ends
    sys.exit(code)


def with_traceback_option(command: F) -> F:
    """Add `--traceback` to a command."""

    def switch(_: click.Context, __: click.Parameter, value: bool) -> None:  # noqa: FBT001  # click's signature
        if value:
            show_traceback()

    return click.option(
        "--traceback",
        is_flag=True,
        expose_value=False,
        callback=switch,
        help="Show whole tracebacks of errors (or set MOTET_TRACEBACK=1).",
    )(command)
