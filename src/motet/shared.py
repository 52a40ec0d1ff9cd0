"""`Shared[T]`: tensors of a parameter or result that are looked at in shared memory, instead of being copied from there."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar, get_args, get_origin

T = TypeVar("T")


class SharedMark:
    """What `Shared` leaves in an annotation."""

    def __repr__(self) -> str:
        """Return the name that users wrote."""
        return "Shared"


Shared = Annotated[T, SharedMark()]
"""Type of a parameter or result whose tensors, however deep in it, are views of the memory that their producer wrote them to.

Without it a tensor is a private copy. Never write to one that is shared: where it is in another process's memory the write ends
this process. Arrays are read-only views in any case; for them it changes nothing.
"""


def is_shared(annotation: Any) -> bool:
    """Whether `Shared` is anywhere in an annotation."""
    if get_origin(annotation) is Annotated and any(isinstance(mark, SharedMark) for mark in annotation.__metadata__):
        return True
    return any(is_shared(argument) for argument in get_args(annotation))
