"""What an environment is made from is read off options and files, and addressed by all that decides what is in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import motet
from motet import Environment
from motet.environments.packages import packages_of
from motet.environments.recipe import address
from motet.environments.settings import pip_settings
from motet.environments.uv_settings import uv_environment
from motet.errors import DefinitionError

OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
    """No settings but those of the test."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "options", [{}, {"env": {"A": "1"}}, {"working_dir": "data"}, {"python": OWN}, {"python": OWN, "pip": ["-c limits.txt"]}]
)
def test_nothing_to_install(options, tmp_path):
    write(tmp_path / "limits.txt", "numpy<2\n")
    assert packages_of(Environment(**options), tmp_path) is None


@pytest.mark.parametrize(
    ("options", "layered"),
    [
        ({"pip": ["a"]}, True),
        ({"pip": ["a"], "python": OWN}, True),
        ({"pip": ["a"], "isolated": True}, False),
        ({"isolated": True}, False),
        ({"python": "3.99"}, False),
        ({"python": f"{OWN}.99"}, False),
    ],
)
def test_when_the_servers_packages_are_there(options, layered, tmp_path):
    assert packages_of(Environment(**options), tmp_path).layered is layered


@pytest.mark.parametrize("password", ["hunter2", "hun@ter2"])
def test_passwords_are_not_shown(password, tmp_path):
    """Neither where the option is checked nor where its files are."""
    url = f"https://joe:{password}@host/simple"
    write(tmp_path / "requirements.txt", f"--index {url}\n")
    with pytest.raises(DefinitionError) as caught:
        packages_of(Environment(requirements="requirements.txt"), tmp_path)
    with pytest.raises(DefinitionError) as other:
        Environment(pip=[f"a\nb {url}"])
    faults = [*caught.value.faults, *other.value.faults]
    assert len(faults) == 2
    for fault in faults:
        assert "https://****@host/simple" in fault.found
        assert "ter2" not in str(fault)


def test_requirements_file(tmp_path):
    wheel = write(tmp_path / "wheels" / "w-1.0-py3-none-any.whl", "")
    write(tmp_path / "src" / "pyproject.toml", "")
    write(
        tmp_path / "requirements.txt",
        """\
# comment
--extra-index-url=https://index.example/simple
-f wheels
a[x, y] >= 1, \\
    < 2 ; python_version > "3"   # why
b @ https://example.org/b.whl#sha256=1
-r nested/more.txt
git+https://example.org/c.git@main#egg=c
d==1 --hash=sha256:12
${SECRET}
""",
    )
    more = "-c limits.txt\n-e ../src\n../wheels/w-1.0-py3-none-any.whl ; os_name == 'posix'\n-r more.txt\n"
    write(tmp_path / "nested" / "more.txt", more)
    write(tmp_path / "nested" / "limits.txt", "a<1.9\n")
    packages = packages_of(Environment(requirements="requirements.txt", pip=["e"]), tmp_path)
    assert packages.requirements == (
        "e",
        'a[x, y] >= 1, < 2 ; python_version > "3"',
        "b @ https://example.org/b.whl#sha256=1",
        f"--editable {tmp_path / 'src'}",
        f"{wheel} ; os_name == 'posix'",
        "git+https://example.org/c.git@main#egg=c",
        "d==1 --hash=sha256:12",
        "${SECRET}",
    )
    assert packages.constraints == ("a<1.9",)
    assert packages.options == ("--extra-index-url https://index.example/simple", f"--find-links {tmp_path / 'wheels'}")


def test_all_that_is_wrong_in_files_is_said_with_its_place(tmp_path):
    file = write(tmp_path / "requirements.txt", "numpy=1\n-r gone.txt\n./gone.whl\n--target x\n\nfine\n")
    with pytest.raises(DefinitionError) as caught:
        packages_of(Environment(requirements="requirements.txt"), tmp_path, subject="Singer")
    faults = caught.value.faults
    assert [fault.place for fault in faults] == [f"{file}:{number}" for number in (1, 2, 3, 4)]
    assert [fault.found for fault in faults] == ["numpy=1", str(tmp_path / "gone.txt"), str(tmp_path / "gone.whl"), "--target x"]
    assert {fault.subject for fault in faults} == {"Singer"}


def test_a_missing_requirements_file_is_said_where_it_is_named(tmp_path):
    with pytest.raises(DefinitionError, match="No such file") as caught:
        packages_of(Environment(requirements="gone.txt"), tmp_path, place="app.py:7")
    assert caught.value.faults[0].place == "app.py:7"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"pip": [""]}, "empty"),
        ({"pip": ["numpy=1"]}, "'numpy=1' is no requirement"),
        ({"pip": ["numpy 1"]}, "no requirement"),
        ({"pip": ["a\nb"]}, "several lines"),
        ({"pip": "numpy"}, "such as pip="),
        ({"python": "3"}, "no version"),
        ({"python": "python3.12"}, "no version"),
        ({"python": "3.9"}, "too old"),
        ({"env": {"A=B": "1"}}, "environment variable"),
        ({"isolatd": True}, "isolated=..."),
    ],
)
def test_wrong_options(options, text):
    with pytest.raises(DefinitionError, match=text) as caught:
        motet.Environment(**options)
    assert caught.value.faults[0].place.startswith(__file__)


def addressed(folder, **options):
    return address(packages_of(Environment(**options), folder))


def test_the_same_packages_have_the_same_address(tmp_path):
    first = addressed(tmp_path, pip=["Some_Package >= 1", "b"])
    assert addressed(tmp_path, pip=["b", "some-package>=1"]) == first
    assert addressed(tmp_path / "elsewhere", pip=["b", "some.package>=1"], env={"A": "1"}) == first


@pytest.mark.parametrize(
    "options",
    [{"pip": ["a<2"]}, {"pip": ["a"], "isolated": True}, {"pip": ["a"], "python": "3.99"}, {"pip": ["a", "-i https://x.example"]}],
)
def test_other_packages_have_another_address(options, tmp_path):
    assert addressed(tmp_path, **options) != addressed(tmp_path, pip=["a"])


@pytest.mark.parametrize("change", ["content", "constraint", "index", "uv", "server"])
def test_what_decides_is_part_of_the_address(change, tmp_path, monkeypatch):
    wheel, limits = write(tmp_path / "w.whl", "1"), write(tmp_path / "limits.txt", "a<2\n")
    monkeypatch.setenv("PIP_CONSTRAINT", str(limits))
    before = addressed(tmp_path, pip=["./w.whl"])
    assert addressed(tmp_path, pip=["./w.whl"]) == before
    match change:
        case "content":
            wheel.write_text("2")
        case "constraint":
            limits.write_text("a<1\n")
        case "index":
            monkeypatch.setenv("PIP_INDEX_URL", "https://x.example")
        case "uv":
            monkeypatch.setenv("UV_INDEX", "https://x.example")
        case "server":
            (tmp_path / "site" / "some-1.0.dist-info").mkdir(parents=True)
            monkeypatch.setattr("site.getsitepackages", lambda: [str(tmp_path / "site")])
    assert addressed(tmp_path, pip=["./w.whl"]) != before


def test_settings_are_pips(tmp_path, monkeypatch):
    """Variables go before files, what is for `install` before what is for all commands."""
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "named.conf"))
    write(tmp_path / "config" / "pip" / "pip.conf", "[global]\nindex-url = https://user\ncert = /user.pem\n[install]\nno_index = true\n")
    write(tmp_path / "named.conf", "[global]\nindex-url = https://named\nno-index = false\n")
    monkeypatch.setenv("PIP_FIND_LINKS", "/a\n/b")
    settings = pip_settings()
    assert {name: settings[name] for name in ("index-url", "cert", "no-index", "find-links")} == {
        "index-url": "https://named",
        "cert": "/user.pem",
        "no-index": "true",
        "find-links": "/a\n/b",
    }
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    variables = uv_environment()
    assert (variables["UV_DEFAULT_INDEX"], variables["UV_FIND_LINKS"], variables["UV_NO_INDEX"]) == ("https://named", "/a,/b", "1")
    assert variables["SSL_CERT_FILE"] == "/user.pem"


@pytest.mark.parametrize("way", ["variable", "file"])
def test_uvs_own_settings_go_first(way, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip")
    if way == "variable":
        monkeypatch.setenv("UV_INDEX_URL", "https://uv")
    else:
        write(tmp_path / "config" / "uv" / "uv.toml", '[pip]\nindex-url = "https://uv"\n')
    assert "UV_DEFAULT_INDEX" not in uv_environment()


def test_an_environment_reached_through_a_link_is_the_same_server(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(sys.prefix)
    code = "from motet.environments.recipe import server_folders; print(server_folders())"
    run = [subprocess.check_output([Path(prefix, "bin", "python"), "-c", code], text=True) for prefix in (sys.prefix, link)]
    assert run[0] == run[1]
