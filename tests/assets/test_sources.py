"""What may be declared as an asset, and what it stands for."""

from pathlib import Path

import pytest

import motet
from motet.sources import HubSource, LocalSource, UrlSource, parse_source

SHA = "a" * 64


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "neither a path"),
        (" a", "neither a path"),
        ("a\nb", "neither a path"),
        ("ftp://host/a", "can't be fetched"),
        ("s3://bucket/key", "can't be fetched"),
        ("file:///etc/passwd", "can't be fetched"),
        ("https://", "has no host"),
        ("https:///a", "has no host"),
        ("https://me:secret@host/a", "name or password"),
        ("https://host/a#sha256=12", "no checksum"),
        (f"https://host/a#md5={SHA[:32]}", "no checksum"),
        (f"https://host/a#sha256={SHA}0", "no checksum"),
        ("https://host/a#part", "no checksum"),
        ("https://host/a#", "no checksum"),
    ],
)
@pytest.mark.parametrize("option", ["models", "data"])
def test_wrong(option, text, problem):
    with pytest.raises(motet.DefinitionError, match=problem) as caught:
        motet.Assets(**{option: [text]})
    (fault,) = caught.value.faults
    assert (fault.subject, Path(fault.place.rpartition(":")[0])) == ("Assets", Path(__file__))
    assert "secret" not in str(fault)


def test_what_they_stand_for(tmp_path):
    (tmp_path / "org" / "there").mkdir(parents=True)
    (tmp_path / "plain").mkdir()

    def parse(text, kind="model"):
        motet.Assets(models=[text])
        return parse_source(text, kind, tmp_path)

    assert parse(f"https://host/a?b=c#sha256={SHA.upper()}") == UrlSource("https://host/a?b=c", SHA)
    assert parse("HTTP://host/a") == UrlSource("HTTP://host/a", None)
    assert parse("org/name") == HubSource("org/name", None)
    assert parse("org/name@v1.0") == HubSource("org/name", "v1.0")
    assert parse("org/name@refs/pr/1") == HubSource("org/name", "refs/pr/1")
    assert parse("gpt2") == HubSource("gpt2", None)
    assert parse("org/there") == LocalSource(tmp_path / "org" / "there")
    assert parse("plain") == LocalSource(tmp_path / "plain")
    assert parse("./org/name") == LocalSource(tmp_path / "org" / "name")
    assert parse("a/b/c") == LocalSource(tmp_path / "a/b/c")
    assert parse("/abs/name") == LocalSource(Path("/abs/name"))
    assert parse("~/name") == LocalSource(Path("~/name").expanduser())
    assert parse("org/name", "data") == LocalSource(tmp_path / "org" / "name")
