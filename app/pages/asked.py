"""What a page's handler is asked: asynchronous, or each would change to a thread and back."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from app.schema.access import Identity, identity_in
from app.services.parameters import ParameterSet


async def _asked(request: Request) -> ParameterSet:
    """What the route has read."""
    return cast(ParameterSet, request.state.parameters)


async def _asking(request: Request) -> Identity:
    """Who asks."""
    return identity_in(request.state)


Asking = Annotated[Identity, Depends(_asking)]
Asked = Annotated[ParameterSet, Depends(_asked)]
