"""Resources on the command line: what the machine is said to have, what `ps` shows, and a refusal."""

import pytest

APP = """
import os
import motet

class Model(motet.Service):
    config = motet.Config(resources=motet.Resources(gpus=0.5, memory="1GiB", custom={"accelerator": 1}), replicas=2)

    @motet.endpoint
    def cards(self) -> str:
        return os.environ["CUDA_VISIBLE_DEVICES"]

class Front(motet.Service):
    def __init__(self, model: Model) -> None:
        self.model = model

    @motet.endpoint
    async def cards(self) -> str:
        return await self.model.cards()

app = Front.bind(Model.bind())
"""


@pytest.fixture
def bare(app):
    """The program on a machine without a card."""
    app.environment["CUDA_VISIBLE_DEVICES"] = ""
    return app


def reserved(program):
    (found,) = program.ps()
    return {each["name"]: each["reserved"] for each in found["resources"]}


def test_a_machine_that_an_operator_describes(bare):
    """Logical gpus and names of one's own are served, and `ps` says what was given to whom."""
    server = bare.serve("app.py:app", "--resources", "gpus=1,memory=4GiB", "--resources", "accelerator=3").until_ready()
    assert server.post("/cards").json() == ""
    text = bare.run("ps").stdout
    assert "reserved  cpus 0 of " in text
    assert "gpus 1 of 1 (logical0), memory 2 GiB of 4 GiB, accelerator 2 of 3" in text
    assert text.count("gpus 0.5 (logical0), memory ") == 2
    assert text.count(" of 1 GiB, accelerator 1") + text.count("memory 1 GiB, accelerator 1") == 2
    (found,) = bare.ps()
    assert reserved(bare) == {"cpus": 0, "gpus": 1, "memory": 2**31, "accelerator": 2}
    replicas = [replica["placement"] for app in found["apps"] for node in app["nodes"] for replica in node["replicas"]]
    assert [placed["gpus"] for placed in replicas] == [0.5, 0.5, None]


def test_no_room(bare):
    """The command ends, and says what to write, which works."""
    server = bare.serve("app.py:app", "--resources", "accelerator=1")
    assert server.wait() == 1
    assert "there is no room for Model:" in server.output
    assert "Model asks for gpus=0.5 for each of 2 replicas, 1 in all, and the machine has none" in server.output
    assert "Model asks for accelerator=1 for each of 2 replicas, 2 in all; the machine has 1, of which 1 is free" in server.output
    assert "motet serve --resources accelerator=2,gpus=1" in server.output
    bare.serve("app.py:app", "--resources", "accelerator=2,gpus=1").until_ready()


@pytest.mark.parametrize(
    ("given", "said"),
    [("gpus", "name=amount"), ("gpus=0.5", "gpus=1"), ("memory=lots", "512MiB"), ("cpus=-1", "from 0 on"), ("a b=1", "name")],
)
def test_wrong_amounts(bare, given, said):
    done = bare.run("serve", "app.py:app", "--resources", given)
    assert done.returncode == 2
    assert said in done.stderr


def test_inline_says_what_it_ignores(bare):
    server = bare.serve("app.py:app", "--engine", "inline", "--resources", "gpus=1").until_ready()
    assert "--resources is ignored" in server.output
    assert "inline ignores placement" in server.output


def test_a_reload_may_take_the_place_of_the_old_version(bare):
    """A service that fills the machine is replaced; one that would not fit is refused, and the old version runs on."""
    server = bare.serve("app.py:app", "--reload", "--resources", "gpus=1,accelerator=2").until_ready()
    before = server.pids()
    bare.write("app.py", APP.replace("os.environ[", "'new' + os.environ["))
    server.until("reloaded: ")
    assert server.pids()["Model"] != before["Model"]
    assert server.post("/cards").json() == "new"
    bare.write("app.py", APP.replace("gpus=0.5", "gpus=1"))
    server.until("not reloaded")
    assert "there is no room for Model:" in server.output
    assert server.post("/cards").json() == "new"
    bare.write(
        "app.py",
        APP.replace("    @motet.endpoint", "    def __init__(self):\n        raise RuntimeError('no luck')\n\n    @motet.endpoint", 1),
    )
    server.until("not reloaded")
    assert "no luck" in server.output
    assert reserved(bare) == {"cpus": 0, "gpus": 1, "memory": 2**31, "accelerator": 2}


SPAWNED = """
import os
import threading

THREAD = threading.Thread(target=threading.Event().wait, daemon=True)
THREAD.start()  # whoever has threads can't be forked
AT_IMPORT = [os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ["OMP_NUM_THREADS"]]
"""


def test_replicas_that_are_not_forked_have_it_before_their_code_is_imported(app):
    app.environment["CUDA_VISIBLE_DEVICES"] = "4,7"
    code = APP.replace("gpus=0.5", "cpus=2, gpus=1").replace("replicas=2", "replicas=1")
    app.write("app.py", SPAWNED + code.replace('return os.environ["CUDA_VISIBLE_DEVICES"]', "return ' '.join(AT_IMPORT)"))
    server = app.serve("app.py:app", "--resources", "accelerator=1,cpus=2").until_ready()
    assert "started by spawning" in server.output
    assert server.post("/cards").json() == "4 2"
