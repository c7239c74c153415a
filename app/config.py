"""Settings: from the environment (prefix SKYLOOM_), or from a TOML file.

The file is the one that SKYLOOM_CONFIG names, else ``skyloom.toml`` in the data folder.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from app.errors import UsageError
from app.logs import LogFormat, LogLevel
from app.operations.audience import Audience
from app.schema.access import Role
from app.stores.remote.addresses import Address, is_private

SETTINGS_FILE = "skyloom.toml"
PREFIX = "SKYLOOM_"
_ELSEWHERE = ("CONFIG", "SQLITE_NATIVE", "POSTGRES_NATIVE")
"""Names that the environment alone has."""
_NEAR = 0.8
"""How much alike two names are, of 1, when one may be the other misspelt."""


class Config(BaseSettings):
    """Everything an operator may set; each value is passed on, no inner room reads it."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    database_url: str | None = None
    """``sqlite:///file`` or ``postgresql://…``; default: ``skyloom.sqlite3`` in the data folder."""
    database_reader: str = "skyloom_reader"
    """The role of PostgreSQL under which queries run: it sees what is published."""
    data_dir: Path = Path("skyloom-data")
    """Products, results, caches and the signing key."""
    dask_scheduler: str | None = None
    """Address of a Dask scheduler; default: workers in this machine's processes."""
    workers: PositiveInt = Field(default_factory=lambda: max(1, min(4, os.cpu_count() or 1)))
    """Worker processes of the embedded engine."""
    authority: str = "skyloom.local"
    """The IVOA authority in dataset identifiers (``ivo://AUTHORITY/collection?id``)."""
    base_url: str | None = None
    """Public address when behind a proxy; default: the address of each request."""
    title: str = "Skyloom"
    """Heading of the pages."""
    anonymous: Literal["build", "read", "none"] = "build"
    """What may be done without a token: read what is public and build, read it, or nothing."""
    oidc_issuer: str | None = None
    """The identity provider (OpenID Connect) whose tokens are taken beside our own; https."""
    oidc_audience: str | None = None
    """For whom it must have made them (the claim ``aud``): the client identifier that it knows this
    service by."""
    oidc_account_claim: str = "sub"
    """The claim that names the account, which is called ``oidc:`` and its value; nobody may be able
    to choose another's."""
    oidc_groups_claim: str = "groups"
    """The claim that holds the groups; ``a.b`` is the claim ``b`` inside of ``a``."""
    oidc_role: Role = "user"
    """What members of no group in ``oidc_roles`` are: ``reader``, ``user`` or ``operator``."""
    oidc_roles: dict[str, Role] = {}
    """Group = role of its members."""
    oidc_collections: dict[str, tuple[str, ...]] = {}
    """Group = collections whose proprietary images its members may see; ``*``: all."""
    log_format: LogFormat = "plain"
    """``plain`` lines or ``json`` objects, on standard error."""
    log_level: LogLevel = "info"
    """``debug``, ``info``, ``warning`` or ``error``: what is less is not logged."""
    access_log: bool = True
    """A line for each request."""
    metrics: Audience = "local"
    """Who may read ``/metrics``: nobody (``off``), clients on this machine (``local``) or
    ``everyone``."""
    operator_page: Audience = "local"
    """Who may read ``/operator``, likewise."""
    slow_query_s: PositiveFloat = 5.0
    """Queries that take longer stand on the page of the operator."""
    shutdown_wait_s: NonNegativeFloat = 10.0
    """How long requests under way may go on when the server is told to stop."""
    registry_publisher: str = ""
    """Who publishes the service, in its record for the VO's registry."""
    registry_contact: str = ""
    """Whom to ask about it."""
    registry_email: str = ""
    """Where to write to them."""
    registry_description: str = ""
    """What the images are: a paragraph for people."""
    registry_short_name: str = ""
    """At most 16 characters; default: the title."""
    registry_subjects: tuple[str, ...] = ("surveys",)
    """Words of the Unified Astronomy Thesaurus."""
    registry_created: datetime | None = None
    """When the record was first made; settle it with the first one."""
    link_lifetime_s: PositiveInt = 3600
    """How long a signed file link is valid."""
    max_rows: PositiveInt = 1_000_000
    """Hard row limit of a query; MAXREC above it is lowered to it."""
    default_rows: PositiveInt = 100_000
    """Rows answered when MAXREC is not given."""
    sync_time_limit_s: PositiveFloat = 300.0
    """How long a synchronous build may keep its request waiting."""
    first_use_wait_s: NonNegativeFloat = 5.0
    """How long the link of a difference that is not built yet keeps its request waiting."""
    query_time_limit_s: PositiveFloat = 120.0
    upload_max_bytes: PositiveInt = 32 * 2**20
    """Tables that come with a query (TAP_UPLOAD): bytes of all of them together."""
    upload_max_rows: PositiveInt = 200_000
    """Rows of all of them together."""
    upload_max_columns: PositiveInt = 500
    """Columns of each."""
    upload_max_tables: PositiveInt = 10
    upload_time_limit_s: PositiveFloat = 30.0
    """How long a table that is named by its address may take to come."""
    upload_hosts: tuple[str, ...] = ()
    """Hosts (``name`` or ``name:port``) that tables are fetched from though their addresses are
    not public; all other private addresses are refused."""
    job_lifetime_s: PositiveInt = 7 * 86400
    """From creation to destruction of a job and its results."""
    anonymous_rate: NonNegativeFloat = 0.0
    """Requests in a second from one address without a token (of IPv6: one network of 64 bits), in
    each server process; those of ten seconds may come at once; 0: any number."""
    user_rate: NonNegativeFloat = 0.0
    """Requests in a second of one account, likewise. Operators have no limits."""
    anonymous_jobs: NonNegativeInt = 1000
    """Jobs that may wait and run for one address without a token; 0: any number."""
    user_jobs: NonNegativeInt = 5000
    """Jobs that may wait and run for one account; 0: any number."""
    anonymous_rows: NonNegativeInt = 0
    """Rows of one answer to who sends no token; 0, or more than ``max_rows``: as many as that."""
    user_rows: NonNegativeInt = 0
    """Rows of one answer to an account, likewise."""
    anonymous_upload_bytes: NonNegativeInt = 0
    """Bytes of the tables that come with one query of who sends no token; 0, or more than
    ``upload_max_bytes``: as many as that."""
    user_upload_bytes: NonNegativeInt = 0
    """Bytes of the tables that come with one query of an account, likewise."""
    anonymous_build_pixels: NonNegativeInt = 0
    """Pixels of a target grid times inputs of one build for who sends no token; 0, or more than
    ``max_build_pixels``: as many as that. What is built already is handed out."""
    user_build_pixels: NonNegativeInt = 0
    """Pixels of one build for an account, likewise."""
    anonymous_storage_bytes: NonNegativeInt = 0
    """Bytes that the jobs of one address without a token hold: tables that came with them, their
    results, and products that are their results; beyond it there are no new jobs; 0: any number."""
    user_storage_bytes: NonNegativeInt = 0
    """Bytes that the jobs of one account hold, likewise."""
    job_archive_s: NonNegativeInt = 0
    """How long an ended job stays on record as ARCHIVED, without results, after its destruction;
    0: it is forgotten."""
    lease_s: PositiveFloat = 30.0
    """A job whose runner gives no sign for this long is run again."""
    max_attempts: PositiveInt = 3
    max_build_pixels: PositiveInt = 200_000_000
    """Pixels of a target grid times inputs that one build may ask for."""
    stack_memory_bytes: PositiveInt = 256 * 2**20
    """Exposures that a build warps at the same time and, half of it, rows of all inputs that its
    stack holds in memory; the planes of its result come on top."""
    warp_cache_bytes: NonNegativeInt = 10 * 2**30
    """Warped exposures that are kept on disk for later builds (in ``cache/warps``); the longest
    unused go first, those that a build reads stay."""
    products_max_bytes: NonNegativeInt = 0
    """Built products that are kept in all; the longest unused go first; 0: no limit."""
    products_unused_days: NonNegativeFloat = 0.0
    """Built products that nobody used for so long go; 0: none does."""
    products: str | None = None
    """Where products and results of jobs are kept: ``s3://bucket/prefix``; default: the data
    folder."""
    products_redirect: bool = False
    """Clients fetch whole files that are kept there from the storage itself, by addresses that are
    signed for as long as links are valid: it must then be reachable for them."""
    remote_cache_bytes: PositiveInt = 10 * 2**30
    """What is kept on disk (in ``cache/remote``) of images that lie behind HTTP(S) addresses and in
    S3-style storage; the longest unused go first, those that are read stay."""
    remote_timeout_s: PositiveFloat = 30.0
    """How long such a storage may take for one request."""
    remote_retries: NonNegativeInt = 3
    """How often a request is repeated that was not answered, or with a status from 500 up."""
    remote_fresh_s: NonNegativeFloat = 60.0
    """How long it is not asked again whether a file there was replaced."""
    remote_gap_bytes: NonNegativeInt = 0
    """Bytes between two pieces of a file there that are rather read than left out by a request of
    their own: more of them make fewer requests."""
    s3_endpoint: str | None = None
    """Address of an S3-compatible storage; default: AWS_ENDPOINT_URL, else Amazon's."""
    s3_region: str | None = None
    """Default: AWS_REGION, else us-east-1."""
    s3_anonymous: bool = False
    """Requests to S3 are not signed. Keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""
    skymap_pixel_scale_arcsec: PositiveFloat = 0.2
    """The defaults of the sky map are those of Rubin's ``lsst_cells_v1``, with its numbers."""
    skymap_patch_px: PositiveInt = 3000
    """Inner size of a patch; outer adds the border on each side."""
    skymap_patch_border_px: NonNegativeInt = 200
    skymap_tract_patches: PositiveInt = 10
    """Patches along one side of a tract."""
    skymap_rings: PositiveInt = 120
    """Rings of tracts from pole to pole."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, which wins over the file."""
        given = init_settings()
        folder = given.get("data_dir") or os.environ.get("SKYLOOM_DATA_DIR") or "skyloom-data"
        named = os.environ.get("SKYLOOM_CONFIG")
        path = Path(named) if named else Path(folder) / SETTINGS_FILE
        if named and not path.is_file():
            raise UsageError(f"setting SKYLOOM_CONFIG: there is no file {named!r}")
        return (init_settings, env_settings, _read_settings(settings_cls, path))

    @field_validator("base_url", "s3_endpoint")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s/?#\"<>]+(/[^\s?#\"<>]*)?", value):
            raise ValueError("an address such as https://host/path is needed")
        return value

    @field_validator("oidc_issuer")
    @classmethod
    def _is_safe_issuer(cls, value: str | None) -> str | None:
        if value is not None and not is_private(value):
            raise ValueError("an https address is needed, or http on this machine")
        return value

    @model_validator(mode="after")
    def _has_audience(self) -> Self:
        if self.oidc_issuer is not None and not self.oidc_audience:
            raise ValueError("oidc_issuer needs oidc_audience: tokens for others are not taken")
        return self

    @field_validator("products")
    @classmethod
    def _is_bucket(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                if Address.of(value).is_s3:
                    return value
            except UsageError as fault:
                raise ValueError(str(fault)) from None
            raise ValueError("an address such as s3://bucket/prefix is needed")
        return value

    @field_validator("authority")
    @classmethod
    def _is_authority(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._~-]{2,}", value):
            raise ValueError("at least three letters, digits and . _ ~ - (IVOA Identifiers 2.0)")
        return value

    @property
    def effective_database_url(self) -> str:
        """``database_url``, or the SQLite file in the data folder."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'skyloom.sqlite3'}"


def find_misspelt(names: Iterable[str]) -> tuple[str, str] | None:
    """The first name of an environment that is nearly that of a setting, and that name. Other
    names with the prefix are left to whoever set them: Kubernetes makes some for each service."""
    known = [name.upper() for name in Config.model_fields] + list(_ELSEWHERE)
    for name in sorted(names):
        word = name.removeprefix(PREFIX)
        if name.startswith(PREFIX) and word not in known:
            near = get_close_matches(word, known, 1, _NEAR)
            if near:
                return name, PREFIX + near[0]
    return None


def _read_settings(settings: type[BaseSettings], path: Path) -> PydanticBaseSettingsSource:
    try:
        return TomlConfigSettingsSource(settings, path)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise UsageError(f"the settings file {path} is not TOML: {fault}") from None
    except OSError as fault:
        raise UsageError(f"the settings file {path} cannot be read: {fault.strerror}") from None
