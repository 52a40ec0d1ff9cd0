"""`Forwarded[T]`: a field of a pydantic model that takes a value, or the ref of a call that will give it."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from motet.calls import Ref
from motet.schema import with_rules

T = TypeVar("T")


class ForwardRule:
    """Pydantic's view of a forwarded field: a ref passes as it is, a value is validated as its type."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema; called by pydantic."""
        return core_schema.no_info_wrap_validator_function(_ref_or_value, handler.generate_schema(with_rules(source)))


def _ref_or_value(value: object, validate: core_schema.ValidatorFunctionWrapHandler) -> object:
    return value if isinstance(value, Ref) else validate(value)


Forwarded = Annotated[T, ForwardRule()]
"""Type of a model's field that may be given as `call.ref`: the receiver of the model finds the value there.

The caller neither waits for the value nor decodes it. It is checked against the result annotation of the endpoint that made it,
not again against the field. Arrays, tensors and images need no
`arbitrary_types_allowed`.
"""
