"""Commands for those who may use the service: tokens, and the keys of links."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from app.schema.access import ALL, Role
from app.terminal import DataDir, err, load_config, out, printable


class RoleName(StrEnum):
    """The roles, for the command line."""

    READER = "reader"
    USER = "user"
    OPERATOR = "operator"


def add_commands(app: typer.Typer) -> None:
    """Add ``token`` and ``key``."""
    keys = typer.Typer(help="Keys that sign links to files.", no_args_is_help=True)
    keys.callback()(_keys)
    keys.command("rotate")(rotate)
    app.add_typer(keys, name="key")
    tokens = typer.Typer(help="Make, list and revoke tokens.", no_args_is_help=True)
    tokens.command("create")(create_token)
    tokens.command("list")(list_tokens)
    tokens.command("revoke")(revoke_token)
    tokens.command("restore")(restore_account)
    app.add_typer(tokens, name="token")


def create_token(
    name: Annotated[str, typer.Argument(help="Whose it is; jobs belong to this name.")],
    expires: Annotated[float | None, typer.Option(help="Days until it expires.")] = None,
    role: Annotated[
        RoleName, typer.Option(help="reader: no builds; operator: sees everything.")
    ] = RoleName.USER,
    collection: Annotated[
        list[str] | None,
        typer.Option(help=f"A collection whose proprietary images it may see; {ALL}: all."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a token and print it. It is stored as a digest: nobody can tell it again."""
    from app.wiring_database import initialise, open_tokens

    config = load_config(data_dir=data_dir)
    initialise(config)
    with open_tokens(config) as service:
        secret = service.create(name, role=_role(role), collections=collection or (), days=expires)
    err.print("This is the only time that the token is shown.", highlight=False)
    out.print(secret, highlight=False, markup=False, soft_wrap=True)


def _role(role: RoleName) -> Role:
    match role:
        case RoleName.READER:
            return "reader"
        case RoleName.OPERATOR:
            return "operator"
        case RoleName.USER:
            return "user"


def list_tokens(data_dir: DataDir = None) -> None:
    """Show every token's name and what it is good for."""
    from app.wiring_database import initialise, open_tokens

    config = load_config(data_dir=data_dir)
    initialise(config)
    table = Table("name", "role", "collections", "created", "expires", "state", title="Tokens")
    with open_tokens(config) as service:
        for token, state in service.list():
            granted = ", ".join(token.collections)
            dates = (_day(token.created), _day(token.expires))
            table.add_row(Text(token.name), token.role, Text(printable(granted)), *dates, state)
    out.print(table)


def _day(instant: datetime | None) -> str:
    return "never" if instant is None else f"{instant:%Y-%m-%d %H:%M}"


def revoke_token(
    name: Annotated[str, typer.Argument(help="Whose token.")], data_dir: DataDir = None
) -> None:
    """Make a token good no more: servers refuse it within seconds."""
    from app.wiring_database import initialise, open_tokens

    config = load_config(data_dir=data_dir)
    initialise(config)
    with open_tokens(config) as service:
        service.revoke(name)
    out.print(f"revoked: {name}", highlight=False, markup=False)


def restore_account(
    name: Annotated[str, typer.Argument(help="An account that begins with oidc:")],
    data_dir: DataDir = None,
) -> None:
    """Let an account of the identity provider in again that was revoked here."""
    from app.wiring_database import initialise, open_tokens

    config = load_config(data_dir=data_dir)
    initialise(config)
    with open_tokens(config) as service:
        service.restore(name)
    out.print(f"restored: {name}", highlight=False, markup=False)


def _keys() -> None:
    """Keys that sign links to files."""


def rotate(data_dir: DataDir = None) -> None:
    """Sign links with a new key. Those made with the old one stay good until they expire."""
    from app.wiring_database import rotate_key

    old = rotate_key(load_config(data_dir=data_dir))
    out.print(f"new key; {old} older still good", highlight=False, markup=False)
