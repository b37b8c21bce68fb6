"""Replacements of workloads, launches that run side by side, endpoints of a runtime's own, and who we are."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_26_replacements"
down_revision = "2026_11_23_guards"
branch_labels = None
depends_on = None

JSON_DOCUMENT = postgresql.JSONB(none_as_null=True, astext_type=sa.Text())
REPLACEMENT_STATUS = postgresql.ENUM("ROLLING", "COMPLETED", "FAILED", "CANCELLED", name="replacement_status")

PROMOTION = """        -- Promotion pins the images of what runs.
        AND NOT (OLD.purpose = 'TEST' AND NEW.purpose = 'SERVICE' AND NEW.digest = OLD.digest)"""
GUARD = """
CREATE OR REPLACE FUNCTION slipway_guard_workload() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.status <> 'TERMINATED' THEN
            RAISE EXCEPTION 'workloads: it has not ended' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN OLD;
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.status = 'TERMINATED' AND NEW.status <> 'TERMINATED' THEN
        RAISE EXCEPTION 'workloads: it has ended for good' USING ERRCODE = 'restrict_violation';
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.artifact_id = OLD.artifact_id
        AND (NEW.specification <> OLD.specification OR NEW.digest <> OLD.digest)
        -- Promotion pins the images of what runs.
        AND NOT (OLD.purpose = 'TEST' AND NEW.purpose = 'SERVICE' AND NEW.digest = OLD.digest) THEN
        RAISE EXCEPTION 'workloads: it runs what it was started with' USING ERRCODE = 'restrict_violation';
    END IF;
    -- Only where it matters: a mere change of status must not wait for the artifact's row.
    IF NEW.purpose = 'SERVICE'
        AND (TG_OP = 'INSERT' OR NEW.artifact_id <> OLD.artifact_id OR NEW.purpose <> OLD.purpose)
        AND NOT slipway_artifact_is_locked(NEW.artifact_id) THEN
        RAISE EXCEPTION 'workloads: a service runs a locked artifact' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.purpose = 'TEST'
        AND (TG_OP = 'INSERT' OR NEW.artifact_id <> OLD.artifact_id OR NEW.purpose <> OLD.purpose)
        AND slipway_artifact_is_locked(NEW.artifact_id) THEN
        RAISE EXCEPTION 'workloads: a test runs a draft' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
# What has ended stays as it ended: no replacement of it is altered.
GUARD_REPLACEMENT = """
CREATE FUNCTION slipway_guard_replacement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status <> 'ROLLING' AND to_jsonb(OLD) <> to_jsonb(NEW) THEN
        RAISE EXCEPTION 'replacements: it has ended' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
STATUSES_WITH_LAUNCH = """
UPDATE workloads SET
    container_statuses = (
        SELECT COALESCE(jsonb_agg(each || jsonb_build_object('launch', launch)), '[]')
        FROM jsonb_array_elements(container_statuses) AS each),
    addresses = (
        SELECT COALESCE(jsonb_agg(each || jsonb_build_object('launch', launch)), '[]')
        FROM jsonb_array_elements(addresses) AS each),
    last_launch = launch
"""


def upgrade() -> None:
    op.create_table(
        "installations",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("number = 1", name=op.f("ck_installations_one_row")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_installations")),
    )
    op.add_column("workloads", sa.Column("endpoint", sa.Text(), nullable=True))
    op.add_column("workloads", sa.Column("last_launch", sa.Integer(), server_default="1", nullable=False))
    op.add_column("workloads", sa.Column("draining", JSON_DOCUMENT, server_default="[]", nullable=False))
    op.execute(STATUSES_WITH_LAUNCH)
    op.alter_column("workloads", "last_launch", server_default=None)
    op.alter_column("workloads", "draining", server_default=None)
    op.create_check_constraint(op.f("ck_workloads_launch_given_out"), "workloads", "launch <= last_launch")
    op.create_table(
        "replacements",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workload_id", sa.Uuid(), nullable=False),
        sa.Column("from_artifact_id", sa.Uuid(), nullable=False),
        sa.Column("to_artifact_id", sa.Uuid(), nullable=False),
        sa.Column("status", REPLACEMENT_STATUS, nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("requested_by_id", sa.Uuid(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("launch", sa.Integer(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("specification", JSON_DOCUMENT, nullable=False),
        sa.Column("replicas", sa.Integer(), nullable=False),
        sa.Column("resources", JSON_DOCUMENT, nullable=False),
        sa.Column("environment", JSON_DOCUMENT, nullable=False),
        sa.CheckConstraint("(status = 'ROLLING') = (finished_at IS NULL)", name=op.f("ck_replacements_finished")),
        sa.ForeignKeyConstraint(
            ["from_artifact_id"], ["artifacts.id"], name=op.f("fk_replacements_from_artifact_id_artifacts")
        ),
        sa.ForeignKeyConstraint(
            ["to_artifact_id"], ["artifacts.id"], name=op.f("fk_replacements_to_artifact_id_artifacts")
        ),
        sa.ForeignKeyConstraint(["requested_by_id"], ["users.id"], name=op.f("fk_replacements_requested_by_id_users")),
        sa.ForeignKeyConstraint(
            ["workload_id"], ["workloads.id"], name=op.f("fk_replacements_workload_id_workloads"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replacements")),
    )
    op.create_index(op.f("ix_replacements_workload_id_id"), "replacements", ["workload_id", "id"], unique=False)
    for column in ("from_artifact_id", "to_artifact_id"):
        op.create_index(op.f(f"ix_replacements_{column}"), "replacements", [column], unique=False)
    op.create_index(
        "uq_replacements_one_rolling",
        "replacements",
        ["workload_id"],
        unique=True,
        postgresql_where=sa.text("status = 'ROLLING'"),
    )
    op.execute(GUARD)
    op.execute(GUARD_REPLACEMENT)
    op.execute(
        "CREATE TRIGGER guard_ended BEFORE UPDATE ON replacements"
        " FOR EACH ROW EXECUTE FUNCTION slipway_guard_replacement()"
    )


def downgrade() -> None:
    op.drop_table("replacements")
    op.execute("DROP FUNCTION slipway_guard_replacement()")
    op.execute(GUARD.replace(f"\n{PROMOTION}", ""))
    op.drop_constraint(op.f("ck_workloads_launch_given_out"), "workloads")
    for column in ("draining", "last_launch", "endpoint"):
        op.drop_column("workloads", column)
    op.drop_table("installations")
    REPLACEMENT_STATUS.drop(op.get_bind())
