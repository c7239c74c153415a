"""``skyloom.*``: tables of our own that join to ObsCore."""

from __future__ import annotations

from typing import Final

from app.schema.columns import real, text
from app.schema.fields import ForeignKey, Schema, Table

PRODUCT_INPUT: Final = Table(
    schema_name="skyloom",
    name="skyloom.product_input",
    physical="product_input",
    fields=(
        text(
            "product_id",
            "obs_publisher_did of the built image",
            ucd="meta.id;meta.main",
            principal=True,
            indexed=True,
        ),
        text(
            "input_id",
            "obs_publisher_did of an image that took part in the build",
            ucd="meta.id",
            principal=True,
            indexed=True,
        ),
        text(
            "role",
            "How the input took part: template (warped and combined) or science",
            ucd="meta.code",
            principal=True,
        ),
        real(
            "weight",
            "Share of the input in the combination; null for a science image",
            ucd="stat.weight",
            principal=True,
        ),
        real(
            "scale",
            "Factor that brought the input to the photometric scale of the product",
            ucd="arith.factor",
        ),
        text("rejected", "Why the input was left out; null when it was used", ucd="meta.note"),
        text(
            "input_checksum",
            "Checksum the input's file had when the product was built",
            ucd="meta.checksum",
        ),
    ),
    description="Provenance: which images went into which built image, and how",
    foreign_keys=(
        ForeignKey(
            key_id="product_input_product",
            target="ivoa.ObsCore",
            columns=(("product_id", "obs_publisher_did"),),
            description="The built image",
        ),
        ForeignKey(
            key_id="product_input_input",
            target="ivoa.ObsCore",
            columns=(("input_id", "obs_publisher_did"),),
            description="The image it was built from",
        ),
    ),
)

SKYLOOM: Final = Schema(
    name="skyloom",
    description="What this service adds to the standard tables",
    tables=(PRODUCT_INPUT,),
)
