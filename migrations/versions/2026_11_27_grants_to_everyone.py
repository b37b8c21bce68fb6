"""Find the grants to everyone, who are neither a user nor a group, without reading all those to groups or to users."""

from alembic import op

revision = "2026_11_27_grants_to_everyone"
down_revision = "2026_11_26_walk_indexes"
branch_labels = None
depends_on = None

TABLES = ("repository_grants", "artifact_grants", "workload_grants", "credential_grants")


def upgrade() -> None:
    for table in TABLES:
        op.create_index(f"ix_{table}_group_name_user_id", table, ["group_name", "user_id"])
        op.drop_index(f"ix_{table}_group_name", table)


def downgrade() -> None:
    for table in TABLES:
        op.create_index(f"ix_{table}_group_name", table, ["group_name"])
        op.drop_index(f"ix_{table}_group_name_user_id", table)
