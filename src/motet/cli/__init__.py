"""The command line: one file for each group of commands; a command's module is imported when the command is asked for."""

from motet.cli.program import Commands, Program

EPILOG = """\b
TARGET names an app: a file and a name in it, or a module and a name:
  app.py:app            `app` in the file app.py
  package.module:app    `app` in an importable module
The name stands for a bound service: app = MyService.bind(...)

\b
Try it:
  motet check app.py:app                     find all faults, start nothing
  motet serve app.py:app                     serve it on http://127.0.0.1:8000
  motet call ask '{"text": "why?"}'          call an endpoint of it
  motet ps                                   see what runs
"""

main = Program(
    name="motet",
    help="Write, compose and serve model inference services.",
    epilog=EPILOG,
    commands=Commands({
        "serve": "motet.cli.serve:serve",
        "check": "motet.cli.look:check",
        "graph": "motet.cli.look:graph",
        "call": "motet.cli.call:call",
        "client": "motet.cli.client:client",
        "ps": "motet.cli.processes:ps",
        "env": "motet.cli.environments:env",
        "assets": "motet.cli.assets:assets",
        "version": "motet.cli.version:version",
    }),
)  # fmt: skip

__all__ = ["main"]
