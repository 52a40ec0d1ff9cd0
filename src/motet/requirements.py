"""How a requirement is written: looked at when an option is made, so without a library that takes long to import."""

from __future__ import annotations

import re

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VERSION = r"\s*(?:===|==|~=|!=|<=|>=|<|>)\s*[^\s,;()]+\s*"
_VERSIONS = rf"{_VERSION}(?:,{_VERSION})*,?\s*"
_REQUIREMENT = re.compile(rf"{_NAME}\s*(?:\[[\s\w,.-]*\]\s*)?(?:@\s*\S+\s*|{_VERSIONS}|\({_VERSIONS}\)\s*)?(?:;.+)?").fullmatch
_CREDENTIALS = re.compile(r"(://)[^/\s?#]+@")
_ARCHIVES = (".whl", ".tar.gz", ".zip")


def is_location(requirement: str) -> bool:
    """Whether a requirement is a path or a URL rather than a name."""
    text = requirement.partition(";")[0].partition(" --")[0].strip()
    return "@ " not in text and (text.startswith(".") or "/" in text or text.endswith(_ARCHIVES))


def redacted(text: str) -> str:
    """Return text with the user and password of each URL in it hidden."""
    return _CREDENTIALS.sub(r"\1****@", text)


def checked_requirement(text: str) -> str:
    """Return a requirement as it is, if it can be one: a name, extras, versions, a marker; a path or URL; or an option of pip's.

    Raises:
        ValueError: it is none.
    """
    plain = text.strip()
    if not plain or "\n" in plain:
        message = f"a requirement is {'empty' if not plain else 'of several lines'}; write one as pip does, such as 'sentencepiece>=0.2'"
        raise ValueError(message)
    if not plain.startswith("-") and not is_location(plain) and not _REQUIREMENT(plain.partition(" --")[0]):
        message = f"{redacted(plain)!r} is no requirement; write one as pip does, such as 'sentencepiece>=0.2'"
        raise ValueError(message)
    return plain
