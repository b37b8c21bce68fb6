"""Events as the graph speaks them: with their ids as clients see them, found by who, what and when."""

from alembic import op

revision = "2026_11_27_events"
down_revision = "2026_11_27_grants_to_everyone"
branch_labels = None
depends_on = None

INDEXES = (["actor_id", "id"], ["kind", "id"], ["at"])


def upgrade() -> None:
    op.execute(
        "ALTER TABLE events ADD COLUMN external_id text"
        " GENERATED ALWAYS AS (slipway_external_id('evt'::text, id)) STORED NOT NULL"
    )
    for columns in INDEXES:
        op.create_index(f"ix_events_{'_'.join(columns)}", "events", columns)


def downgrade() -> None:
    for columns in INDEXES:
        op.drop_index(f"ix_events_{'_'.join(columns)}", "events")
    op.drop_column("events", "external_id")
