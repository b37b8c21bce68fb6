"""Indexes that hold what is listed in its order, for tags, images and versions."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_26_page_indexes"
down_revision = "2026_11_26_external_ids"
branch_labels = None
depends_on = None

TAGS = {"repository_tags": "repository_id", "artifact_tags": "artifact_id", "workload_tags": "workload_id"}
IMAGES = {"image_uri": None, "image_name": None, "image_digest": sa.text("image_digest IS NOT NULL")}


def upgrade() -> None:
    for table, owner in TAGS.items():
        op.drop_index(f"ix_{table}_name_value", table)
        op.create_index(f"ix_{table}_name_value_{owner}", table, ["name", "value", owner])
    for column, where in IMAGES.items():
        op.drop_index(f"ix_containers_{column}", "containers")
        op.create_index(
            f"ix_containers_{column}_artifact_id", "containers", [column, "artifact_id"], postgresql_where=where
        )
    op.create_index("ix_artifacts_version_id", "artifacts", [sa.text("coalesce(version, 0)"), "id"])


def downgrade() -> None:
    op.drop_index("ix_artifacts_version_id", "artifacts")
    for column, where in IMAGES.items():
        op.drop_index(f"ix_containers_{column}_artifact_id", "containers")
        op.create_index(f"ix_containers_{column}", "containers", [column], postgresql_where=where)
    for table, owner in TAGS.items():
        op.drop_index(f"ix_{table}_name_value_{owner}", table)
        op.create_index(f"ix_{table}_name_value", table, ["name", "value"])
