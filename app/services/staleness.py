"""Why a product is stale, in words."""

from __future__ import annotations

from app.stores.tables.datasets import DatasetStore
from app.stores.tables.rows import fold


def stale_reasons(datasets: DatasetStore, product_id: str) -> list[str]:
    """One for each input that changed or went since the product was built."""
    used = [each for each in datasets.inputs_of(product_id) if each.rejected is None]
    there = {fold(row.dataset_id): row for row in datasets.get_many([u.input_id for u in used])}
    reasons = []
    for each in used:
        row = there.get(fold(each.input_id))
        if row is None:
            reasons.append(f"the {each.role} input {each.input_id} was withdrawn")
        elif each.input_checksum and each.input_checksum != row.file_checksum:
            reasons.append(f"the {each.role} input {each.input_id} was changed")
        elif row.is_stale:
            reasons.append(f"the {each.role} input {each.input_id} became stale")
    return reasons
