"""Where secrets are found, in which order, and what is said about files that are no good, without what is in them."""

import os
import pickle
import stat
from pathlib import Path

import pytest

import motet
from motet.secret_sources import Marks, Sources, Wanted, find, read_env_file, sources_of

A, B = "A_TOKEN", "B_TOKEN"


def wanted(*names, service="Model", place="app.py:7"):
    return Wanted(service=service, place=place, names=names)


@pytest.fixture
def write(tmp_path):
    def write(name, text, mode=0o600):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        file.chmod(mode)
        return str(file)

    return write


def test_order(write, monkeypatch):
    """Values given, secrets, .env files, the environment; of several of one kind the last; an empty value is none."""
    folder = str(Path(write(f"folder/{A}", "of folder\n")).parent)
    file, other, env_file = write("secrets", f"{A}=of file"), write("other", f"{A}=of other"), write(".env", f"{A}=of env file")
    monkeypatch.setenv(A, "of environment")

    def value(**sources):
        return find(Sources(**sources), [wanted(A)]).secrets["Model"][A]

    assert value() == "of environment"
    assert value(env_files=(env_file,)) == "of env file"
    assert value(env_files=(other, env_file)) == "of env file"
    assert value(env_files=(env_file,), secrets=(file,)) == "of file"
    assert value(secrets=(file, folder)) == "of folder"
    assert value(secrets=(folder, file)) == "of file"
    assert value(secrets=(folder,), given={A: "given"}) == "given"
    assert value(secrets=(folder,), given={A: ""}) == "of folder"
    assert value(environment={A: "of the program"}) == "of the program"


def test_one_line_break_at_the_end_of_a_file_is_not_part_of_the_secret(write):
    """That of an editor goes; whatever else is in the file is the secret."""
    for text, value in [("x\n", "x"), ("x\r\n", "x"), ("x\n\n", "x\n"), (" x ", " x "), ("-----\na\n-----\n", "-----\na\n-----")]:
        folder = str(Path(write(f"folder/{A}", text)).parent)
        assert find(Sources(secrets=(folder,)), [wanted(A)]).secrets["Model"][A] == value


def test_missing_ones_are_named_together(write, monkeypatch):
    monkeypatch.delenv(A, raising=False)
    monkeypatch.delenv(B, raising=False)
    file = write("secrets", "C_TOKEN=here")
    services = [wanted(A, "C_TOKEN"), wanted(A, B, service="Store", place="app.py:9")]
    with pytest.raises(motet.StartError) as caught:
        find(Sources(secrets=(file,)), services)
    error = caught.value
    assert error.message == f"2 secrets are missing: {A}, which Model and Store need; {B}, which Store needs"
    assert error.where == "app.py:7, app.py:9"
    assert f"the file {file}" in error.found
    assert "environment" in error.found
    assert f"export {A}=" in error.instead
    assert "--secrets" in error.instead


def test_variables_are_for_all_but_secrets_for_who_names_them(write):
    """The key to the gateway, which has no business in a service, is refused with a line."""
    file = write(".env", f"{A}=secret\nREGION=eu\nMOTET_API_KEY=key")
    found = find(Sources(env_files=(file,)), [wanted(A), wanted(service="Other")])
    assert found.secrets == {"Model": {A: "secret"}, "Other": {}}
    assert found.variables == {"REGION": "eu"}
    assert found.given_to("Other") == {"REGION": "eu"}
    (warning,) = found.warnings
    assert "MOTET_API_KEY" in warning


def test_env_files(write):
    """Quotes, comments, export and lines that go on are as in shells; a dollar sign is one."""
    text = """
# a comment
PLAIN=a b  # another
export EXPORTED='single # $HOME'
DOUBLE="two\\nlines ${HOME} $5"
EMPTY=
WIDE="first
second"
"""
    assert read_env_file(Path(write(".env", text))) == {
        "PLAIN": "a b",
        "EXPORTED": "single # $HOME",
        "DOUBLE": "two\nlines ${HOME} $5",
        "EMPTY": "",
        "WIDE": "first\nsecond",
    }


@pytest.mark.parametrize("line", ["NAME", "hunter2 hunter2", 'NAME="hunter2', "=hunter2", "NAME=hunt\0er2"])
def test_wrong_lines(write, line):
    """They are named by their number, and not shown."""
    file = write(".env", f"A=1\n\n\n{line}\n")
    with pytest.raises(motet.StartError) as caught:
        read_env_file(Path(file))
    assert caught.value.where == f"{file}:4"
    assert "hunter2" not in f"{caught.value.message} {caught.value.found} {caught.value.instead}"


def test_files_that_cannot_be_read(write, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    large = write("large", b"A=" + b"x" * 2**20)
    for path, text in [
        (str(tmp_path / "nothing"), "No such file"),
        (write("binary", b"A=\xff\xfe"), "no text"),
        (str(tmp_path / "pipe"), "something else"),
        (large, "too large"),
    ]:
        with pytest.raises(motet.StartError, match=text) as caught:
            find(Sources(secrets=(path,)), [wanted(A)])
        assert caught.value.where == path


def test_nul_in_a_secret(write):
    folder = str(Path(write(f"folder/{A}", b"a\0b")).parent)
    with pytest.raises(motet.StartError, match="no environment variable"):
        find(Sources(secrets=(folder,)), [wanted(A)])


def test_files_that_others_may_read(write):
    """One line says so, of what was read only."""
    folder = str(Path(write(f"folder/{A}", "x", 0o644)).parent)
    write("folder/UNUSED", "x", 0o644)
    closed, open_file = write("closed", "B_TOKEN=y"), write("open", "C=z", 0o604)
    assert find(Sources(secrets=(closed,)), [wanted(B)]).warnings == ()
    (warning,) = find(Sources(secrets=(closed, folder), env_files=(open_file,)), [wanted(A, B)]).warnings
    assert f"{folder}/{A} and 1 more" in warning
    assert stat.S_IMODE(Path(open_file).stat().st_mode) == 0o604


def test_values_in_no_repr(write):
    sources = Sources(given={A: "hunter2"}, environment={B: "hunter2"})
    found = find(sources, [wanted(A, B)])
    assert "hunter2" not in f"{sources!r} {sources} {found!r}"


def test_what_a_program_gives(write, tmp_path, monkeypatch):
    """One path or several, absolute from then on; a mapping; the environment variables, where nothing is given."""
    monkeypatch.chdir(tmp_path)
    here = str(tmp_path)
    assert sources_of(".env", Path("s")) == Sources(env_files=(f"{here}/.env",), secrets=(f"{here}/s",))
    assert sources_of(None, ["s", "t"]).secrets == (f"{here}/s", f"{here}/t")
    assert sources_of(None, {A: "x"}) == Sources(given={A: "x"})
    monkeypatch.setenv("MOTET_SECRETS", "one:/two")
    monkeypatch.setenv("MOTET_ENV_FILE", "three")
    assert sources_of(None, None) == Sources(secrets=(f"{here}/one", "/two"), env_files=(f"{here}/three",))
    assert sources_of([], {A: "x"}) == Sources(given={A: "x"})
    with pytest.raises(motet.UsageError, match=A) as caught:
        sources_of(None, {A: 271828})
    assert "271828" not in str(caught.value)


def test_marks():
    """A node is another one when a value changes that it or one below was given, and only then; no value is in a mark."""

    def identities(salt=b"salt", variables=(), **secrets):
        found = find(Sources(given=secrets), [wanted(*secrets)])
        marks = Marks(type(found)(secrets=found.secrets, variables=dict(variables)), salt=salt)
        assert (marks.digest("Other", "d") == "d") == (not variables)
        return [marks.identity("Model", "i", ()), marks.identity("Caller", "j", ["Model"]), marks.identity("Other", "k", ())]

    assert identities() == ["i", "j", "k"]
    first = identities(A_TOKEN="hunter2")
    assert first == identities(A_TOKEN="hunter2")
    assert "i" not in first
    assert "j" not in first
    assert first[2] == "k"
    assert set(first[:2]).isdisjoint(identities(A_TOKEN="hunter3"))
    assert set(first[:2]).isdisjoint(identities(salt=b"other", A_TOKEN="hunter2"))
    assert set(identities()).isdisjoint(identities(variables={"REGION": "eu"}))


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".env", "A B", "A=B", "Ä"])
def test_names(name):
    with pytest.raises(motet.DefinitionError, match="secret"):
        motet.Assets(secrets=[name])
    assert motet.Assets(secrets=["db-password.2", "HF_TOKEN"]).secrets == ("db-password.2", "HF_TOKEN")


def test_a_secret_that_is_written_down():
    """A value in `Environment(env=...)` is in the code, in plans and in what is shown of them."""
    with pytest.raises(motet.DefinitionError, match=A):
        motet.Config(assets=motet.Assets(secrets=[A]), environment=motet.Environment(env={A: "x"}))


def test_context_hides_values():
    context = motet.Context(app="a", service="s", replica="r", engine="inline", data_dir=Path(), secrets={A: "hunter2"})
    assert "hunter2" not in repr(context)
    assert pickle.loads(pickle.dumps(context)).secrets == {A: "hunter2"}
