"""Ids as clients see them, stored beside the rows."""

from alembic import op

from app.db.tables.external_ids import FUNCTION

revision = "2026_11_26_external_ids"
down_revision = "2026_11_26_replacements"
branch_labels = None
depends_on = None


TABLES = {
    "repositories": "rep",
    "artifacts": "art",
    "containers": "ctr",
    "workloads": "wkl",
    "credentials": "crd",
    "users": "usr",
    "api_tokens": "tok",
    "replacements": "rpl",
}

# Before it is written, a row does not yet have what the database adds to it: it is no change.
GUARD_ARTIFACT = """
CREATE OR REPLACE FUNCTION slipway_guard_artifact() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status = 'LOCKED' THEN
        IF TG_OP = 'DELETE' THEN
            RAISE EXCEPTION 'artifacts: a locked artifact stays' USING ERRCODE = 'restrict_violation';
        END IF;
        IF (to_jsonb(OLD) - ARRAY['revision', 'updated_at', 'external_id'])
            <> (to_jsonb(NEW) - ARRAY['revision', 'updated_at', 'external_id']) THEN
            RAISE EXCEPTION 'artifacts: the artifact is locked' USING ERRCODE = 'restrict_violation';
        END IF;
    END IF;
    RETURN COALESCE(NEW, OLD);
END $$
"""
GUARD_REPLACEMENT = """
CREATE OR REPLACE FUNCTION slipway_guard_replacement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status <> 'ROLLING' AND to_jsonb(OLD) - 'external_id' <> to_jsonb(NEW) - 'external_id' THEN
        RAISE EXCEPTION 'replacements: it has ended' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""


def upgrade() -> None:
    op.execute(FUNCTION)
    for table, kind in TABLES.items():
        op.execute(
            f"ALTER TABLE {table} ADD COLUMN external_id text"
            f" GENERATED ALWAYS AS (slipway_external_id('{kind}'::text, id)) STORED NOT NULL"
        )
    op.execute(GUARD_ARTIFACT)
    op.execute(GUARD_REPLACEMENT)


def downgrade() -> None:
    op.execute(GUARD_ARTIFACT.replace(", 'external_id'", ""))
    op.execute(GUARD_REPLACEMENT.replace(" - 'external_id'", ""))
    for table in TABLES:
        op.drop_column(table, "external_id")
    op.execute("DROP FUNCTION slipway_external_id(text, uuid)")
