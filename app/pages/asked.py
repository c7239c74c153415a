"""What a page's handler is asked."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from app.services.parameters import ParameterSet


def _asked(request: Request) -> ParameterSet:
    """What the route has read."""
    return cast(ParameterSet, request.state.parameters)


Asked = Annotated[ParameterSet, Depends(_asked)]
