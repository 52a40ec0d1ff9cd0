"""Programs of every kind run on the local engine: scripts with and without a guard, modules, standard input, notebooks."""

import subprocess
import sys

import pytest

SERVICE = """
import motet
from pydantic import BaseModel

class Text(BaseModel):
    text: str

class TwoPartError(Exception):
    def __init__(self, code, detail):
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail

class Upper(motet.Service):
    def __init__(self, suffix: str) -> None:
        self.suffix = suffix

    @motet.endpoint
    def upper(self, text: Text) -> Text:
        if not text.text:
            raise TwoPartError(7, "empty")
        return Text(text=text.text.upper() + self.suffix)

def main():
    with motet.run(Upper.bind("!")) as upper:
        answer = upper.upper(Text(text="a")).result()
        print("answer", answer.text, type(answer) is Text)
        try:
            upper.upper(Text(text="")).result()
        except TwoPartError as error:
            print("error", error.code, error.detail)
"""
GUARDED = SERVICE + '\nprint("loaded as", __name__)\nif __name__ == "__main__":\n    main()\n'
UNGUARDED = SERVICE + '\nprint("loaded as", __name__)\nmain()\nprint("end of", __name__)\n'

# Executes cells as a notebook does: in `__main__`, which has no file, within a running loop.
NOTEBOOK = f'''
import asyncio, sys, types
main = types.ModuleType("__main__")
main.__dict__["__builtins__"] = __builtins__
sys.modules["__main__"] = main
exec({SERVICE!r}, main.__dict__)
exec("""
async def cell():
    upper = await motet.run(Upper.bind("!"))
    answer = await upper.upper(Text(text="a"))
    print("answer", answer.text, type(answer) is Text)
    try:
        await upper.upper(Text(text=""))
    except TwoPartError as error:
        print("error", error.code, error.detail)
    await motet.delete()
""", main.__dict__)
asyncio.run(main.cell())
'''


def run(*arguments, cwd, text=None):
    return subprocess.run([sys.executable, *arguments], cwd=cwd, input=text, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("how", ["guarded", "unguarded", "module", "input", "notebook"])
def test_classes_of_the_main_module(tmp_path, how):
    """Classes, models and exceptions of `__main__` work in replicas and come back as the program's own."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "program.py").write_text(GUARDED)
    (tmp_path / "guarded.py").write_text(GUARDED)
    (tmp_path / "unguarded.py").write_text(UNGUARDED)
    (tmp_path / "notebook.py").write_text(NOTEBOOK)
    arguments = {"module": ["-m", "package.program"], "input": ["-"]}.get(how, [f"{how}.py"])
    done = run(*arguments, cwd=tmp_path, text=UNGUARDED if how == "input" else None)
    assert done.returncode == 0, done.stderr
    assert "answer A! True" in done.stdout
    assert "error 7 empty" in done.stdout


def test_script_is_loaded_up_to_its_run(tmp_path):
    """A replica's process loads a script that has no guard only as far as `motet.run`."""
    (tmp_path / "unguarded.py").write_text(UNGUARDED)
    done = run("unguarded.py", cwd=tmp_path)
    assert done.stdout.count("loaded as __main__") == 1
    assert done.stdout.count("loaded as __mp_main__") == 1
    assert "end of __main__" in done.stdout
    assert "end of __mp_main__" not in done.stdout


def test_class_inside_the_guard(tmp_path):
    """A class that replicas can't find because it is defined under the guard is refused with what to do."""
    body = SERVICE.replace("\n", "\n    ")
    (tmp_path / "inside.py").write_text(f'if __name__ == "__main__":{body}\n    main()\n')
    done = run("inside.py", cwd=tmp_path)
    assert done.returncode != 0
    assert "replicas can't find the class Upper" in done.stderr
    assert "above `if __name__ == '__main__':`" in done.stderr


THREADED = """
import threading
import motet

started = threading.Event()
threading.Thread(target=started.wait, daemon=True).start()

class Preloaded(motet.Service):
    weights: list[int] = []

    def __init__(self, size: int) -> None:
        self.size = size

    @classmethod
    def preload(cls, size: int) -> None:
        cls.weights = list(range(size))

    @motet.endpoint
    def loaded(self) -> list[int]:
        return self.weights
"""


def test_code_that_starts_threads_is_spawned(tmp_path):
    """Code that can't be forked safely, since importing it starts a thread, is spawned, with the reason; `preload` runs there too."""
    (tmp_path / "threaded.py").write_text(THREADED)
    (tmp_path / "main.py").write_text(
        "import motet\nfrom threaded import Preloaded\n"
        "with motet.run(Preloaded.bind(3).options(replicas=2)) as s:\n    print('loaded', s.loaded().result())\n"
    )
    done = run("main.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "loaded [0, 1, 2]" in done.stdout
    assert "spawning, not forking, since importing the code started 1 thread" in done.stderr


FORKING = """
import os
import motet
from guarded import Text, Upper

with motet.run(Upper.bind("!")) as upper:
    child = os.fork()
    if child == 0:
        try:
            upper.upper(Text(text="a")).result()
        except motet.UsageError as error:
            print("refused:", error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print("parent", upper.upper(Text(text="a")).result().text)
"""


def test_call_in_a_forked_child(tmp_path):
    """A call in a child that the program forked is refused at once; the program's own calls go on."""
    (tmp_path / "guarded.py").write_text(GUARDED)
    (tmp_path / "forking.py").write_text(FORKING)
    done = run("forking.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "refused: Upper.upper was called in a process that was forked" in done.stdout
    assert "parent A!" in done.stdout
