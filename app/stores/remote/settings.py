"""How storages elsewhere are spoken to. Nothing here is secret: keys come from the environment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSettings:
    """``cache_bytes`` bound what is kept on disk. A request that is not answered within
    ``timeout_s`` is given up, and repeated ``retries`` times. Whether a file is still the same is
    asked anew after ``fresh_s``. Bytes between two pieces are read with them where they are no more
    than ``gap_bytes``, or than the pieces. ``s3_endpoint``, ``s3_region`` and ``s3_anonymous``
    (requests are not signed) win over the environment's AWS_ENDPOINT_URL, AWS_REGION and
    AWS_SKIP_SIGNATURE.
    """

    cache_bytes: int = 10 * 2**30
    timeout_s: float = 30.0
    retries: int = 3
    fresh_s: float = 60.0
    gap_bytes: int = 0
    connections: int = 32
    s3_endpoint: str | None = None
    s3_region: str | None = None
    s3_anonymous: bool = False
