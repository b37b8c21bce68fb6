"""Events as the graph speaks them: with their ids as clients see them, found by who, what and when, in order."""

from alembic import op

revision = "2026_11_27_events"
down_revision = "2026_11_27_grants_to_everyone"
branch_labels = None
depends_on = None

SORTED_BEFORE = ("subject_id", "repository_id", "artifact_id", "workload_id")
SORTED = (*SORTED_BEFORE, "actor_id", "kind")


def upgrade() -> None:
    op.execute(
        "ALTER TABLE events ADD COLUMN external_id text"
        " GENERATED ALWAYS AS (slipway_external_id('evt'::text, id)) STORED NOT NULL"
    )
    for column in SORTED:
        op.create_index(f"ix_events_{column}_at_id", "events", [column, "at", "id"])
    op.create_index("ix_events_at_id", "events", ["at", "id"])
    for column in SORTED_BEFORE:
        op.drop_index(f"ix_events_{column}_id", "events")


def downgrade() -> None:
    for column in SORTED_BEFORE:
        op.create_index(f"ix_events_{column}_id", "events", [column, "id"])
    op.drop_index("ix_events_at_id", "events")
    for column in SORTED:
        op.drop_index(f"ix_events_{column}_at_id", "events")
    op.drop_column("events", "external_id")
