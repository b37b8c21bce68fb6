"""Indexes for pages by digest, also where a draft writes it, and of what is in use, in the order of ids."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_26_walk_indexes"
down_revision = "2026_11_26_page_indexes"
branch_labels = None
depends_on = None

DIGEST = "nullif(split_part(image_uri, '@', 2), '')"


def upgrade() -> None:
    op.create_index(
        "ix_containers_written_digest_artifact_id",
        "containers",
        [sa.text(DIGEST), "artifact_id"],
        postgresql_where=sa.text(f"{DIGEST} IS NOT NULL"),
    )
    op.create_index(
        "ix_workloads_live_artifact_id",
        "workloads",
        ["artifact_id"],
        postgresql_where=sa.text("status <> 'TERMINATED'"),
    )


def downgrade() -> None:
    op.drop_index("ix_workloads_live_artifact_id", "workloads")
    op.drop_index("ix_containers_written_digest_artifact_id", "containers")
