"""What publishing a product writes beside its row: provenance, quality, the end of its jobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from app.schema.rows import ProductInput, ProductQuality
from app.stores.job_rows import instant_text, results_text
from app.stores.tables.physical import build_quality, job, product_input
from app.stores.tables.rows import fold, input_record, quality_record
from app.uws.job import JobResult, Phase


def replace_inputs(
    connection: sa.Connection, product_id: str, inputs: Sequence[ProductInput]
) -> None:
    """Write the provenance of a product in place of what there was."""
    connection.execute(
        product_input.delete().where(sa.func.lower(product_input.c.product_id) == fold(product_id))
    )
    if inputs:
        connection.execute(product_input.insert(), [input_record(item) for item in inputs])


def replace_quality(connection: sa.Connection, quality: ProductQuality) -> None:
    """Write the quality of a product in place of what there was."""
    same = sa.func.lower(build_quality.c.obs_publisher_did) == fold(quality.product_id)
    connection.execute(build_quality.delete().where(same))
    connection.execute(build_quality.insert(), [quality_record(quality)])


def complete_jobs(
    connection: sa.Connection, recipe_key: str, result: JobResult, now: datetime
) -> None:
    """The same change that :mod:`app.uws.transitions` makes for ``complete``, on many rows."""
    connection.execute(
        job.update()
        .where(
            job.c.recipe_key == recipe_key,
            job.c.phase.in_([Phase.QUEUED.value, Phase.EXECUTING.value]),
        )
        .values(
            phase=Phase.COMPLETED.value,
            start_time=sa.func.coalesce(job.c.start_time, instant_text(now)),
            end_time=instant_text(now),
            results=results_text((result,)),
            held_bytes=job.c.upload_bytes + (result.size_bytes or 0),
            error=None,
            lease_owner=None,
            lease_until=None,
        )
    )
