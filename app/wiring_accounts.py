"""Who asks, and how much of the service is theirs."""

from __future__ import annotations

from app.config import Config
from app.schema.access import Identity
from app.schema.allowances import Allowance, Allowances
from app.services.identities import IdentityService, ReadsTokens
from app.stores.metadata import MetadataStores
from app.wiring_database import now


def make_identities(config: Config, stores: MetadataStores) -> IdentityService:
    """Who sends which token, and what anybody may."""
    anonymous = Identity(may_read=config.anonymous != "none", may_build=config.anonymous == "build")
    return IdentityService(
        tokens=stores.tokens, clock=now, anonymous=anonymous, provider=make_provider(config)
    )


def make_provider(config: Config) -> ReadsTokens | None:
    """What reads the tokens of the identity provider, where one is configured."""
    if config.oidc_issuer is None or config.oidc_audience is None:
        return None
    from app.services.provider_tokens import Mapped, ProviderTokens
    from app.stores.provider_keys import ProviderKeys

    return ProviderTokens(
        keys=ProviderKeys(issuer=config.oidc_issuer),
        issuer=config.oidc_issuer,
        audience=config.oidc_audience,
        mapped=Mapped(
            account_claim=config.oidc_account_claim,
            groups_claim=config.oidc_groups_claim,
            role=config.oidc_role,
            roles=config.oidc_roles,
            collections=config.oidc_collections,
        ),
    )


def make_allowances(config: Config) -> Allowances:
    """How much of the service one account may take."""
    return Allowances(
        anonymous=Allowance(
            requests_per_s=config.anonymous_rate,
            jobs=config.anonymous_jobs,
            rows=config.anonymous_rows,
            upload_bytes=config.anonymous_upload_bytes,
            build_pixels=config.anonymous_build_pixels,
            storage_bytes=config.anonymous_storage_bytes,
        ),
        users=Allowance(
            requests_per_s=config.user_rate,
            jobs=config.user_jobs,
            rows=config.user_rows,
            upload_bytes=config.user_upload_bytes,
            build_pixels=config.user_build_pixels,
            storage_bytes=config.user_storage_bytes,
        ),
    )
