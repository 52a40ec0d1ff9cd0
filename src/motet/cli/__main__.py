"""`python -m motet.cli` is `motet`."""

from motet.cli import main

main(prog_name="motet")
