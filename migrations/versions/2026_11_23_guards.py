"""What the database itself refuses, whatever the code does.

A locked artifact keeps its specification and stays; a draft has one live workload, and it is a test; a workload goes
only when it has ended for good, and does not come back from there; the history is append-only.
"""

from alembic import op

revision = "2026_11_23_guards"
down_revision = "2026_11_23_registry"
branch_labels = None
depends_on = None

GUARDS = """
CREATE FUNCTION slipway_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', DETAIL = TG_ARGV[0];
END $$;

-- Reading the artifact FOR SHARE makes an edit wait for a lock in flight, and a lock for an edit in flight.
CREATE FUNCTION slipway_artifact_is_locked(the_artifact uuid) RETURNS boolean LANGUAGE sql AS $$
    SELECT status = 'LOCKED' FROM artifacts WHERE id = the_artifact FOR SHARE
$$;

CREATE FUNCTION slipway_guard_container() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (TG_OP <> 'INSERT' AND slipway_artifact_is_locked(OLD.artifact_id))
        OR (TG_OP <> 'DELETE' AND slipway_artifact_is_locked(NEW.artifact_id)) THEN
        RAISE EXCEPTION 'containers: the artifact is locked' USING ERRCODE = 'restrict_violation';
    END IF;
    -- A part that is added to a container at this moment has asked the artifact that it stands in.
    IF TG_OP = 'UPDATE' AND NEW.artifact_id <> OLD.artifact_id THEN
        RAISE EXCEPTION 'containers: a container stays in its artifact' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN COALESCE(NEW, OLD);
END $$;
CREATE TRIGGER guard_locked BEFORE INSERT OR UPDATE OR DELETE ON containers
    FOR EACH ROW EXECUTE FUNCTION slipway_guard_container();

CREATE FUNCTION slipway_guard_container_part() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (TG_OP <> 'INSERT' AND EXISTS (
            SELECT FROM containers WHERE id = OLD.container_id AND slipway_artifact_is_locked(artifact_id)))
        OR (TG_OP <> 'DELETE' AND EXISTS (
            SELECT FROM containers WHERE id = NEW.container_id AND slipway_artifact_is_locked(artifact_id))) THEN
        RAISE EXCEPTION '%: the artifact is locked', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN COALESCE(NEW, OLD);
END $$;
CREATE TRIGGER guard_locked BEFORE INSERT OR UPDATE OR DELETE ON environment_variables
    FOR EACH ROW EXECUTE FUNCTION slipway_guard_container_part();
CREATE TRIGGER guard_locked BEFORE INSERT OR UPDATE OR DELETE ON probes
    FOR EACH ROW EXECUTE FUNCTION slipway_guard_container_part();

CREATE FUNCTION slipway_guard_artifact() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status = 'LOCKED' THEN
        IF TG_OP = 'DELETE' THEN
            RAISE EXCEPTION 'artifacts: a locked artifact stays' USING ERRCODE = 'restrict_violation';
        END IF;
        IF (to_jsonb(OLD) - ARRAY['revision', 'updated_at'])
            <> (to_jsonb(NEW) - ARRAY['revision', 'updated_at']) THEN
            RAISE EXCEPTION 'artifacts: the artifact is locked' USING ERRCODE = 'restrict_violation';
        END IF;
    END IF;
    RETURN COALESCE(NEW, OLD);
END $$;
CREATE TRIGGER guard_locked BEFORE UPDATE OR DELETE ON artifacts
    FOR EACH ROW EXECUTE FUNCTION slipway_guard_artifact();

CREATE FUNCTION slipway_guard_workload() RETURNS trigger LANGUAGE plpgsql AS $$
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
        AND (NEW.specification <> OLD.specification OR NEW.digest <> OLD.digest) THEN
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
END $$;
CREATE TRIGGER guard_life BEFORE INSERT OR DELETE OR UPDATE OF status, purpose, artifact_id, specification, digest
    ON workloads
    FOR EACH ROW EXECUTE FUNCTION slipway_guard_workload();

CREATE FUNCTION slipway_guard_repository() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.last_version NOT IN (OLD.last_version, OLD.last_version + 1) THEN
        RAISE EXCEPTION 'repositories: versions have no gaps' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_versions BEFORE UPDATE OF last_version ON repositories
    FOR EACH ROW EXECUTE FUNCTION slipway_guard_repository();

CREATE FUNCTION slipway_release_credentials() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM workload_credential_uses WHERE workload_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER release_credentials AFTER UPDATE OF status ON workloads
    FOR EACH ROW WHEN (NEW.status = 'TERMINATED') EXECUTE FUNCTION slipway_release_credentials();

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION slipway_refuse('The history is append-only.');
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON events
    EXECUTE FUNCTION slipway_refuse('The history is append-only.');
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON artifacts
    EXECUTE FUNCTION slipway_refuse('Locked artifacts stay.');
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON containers
    EXECUTE FUNCTION slipway_refuse('Locked artifacts keep their containers.');
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON environment_variables
    EXECUTE FUNCTION slipway_refuse('Locked artifacts keep their variables.');
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON probes
    EXECUTE FUNCTION slipway_refuse('Locked artifacts keep their probes.');
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON workloads
    EXECUTE FUNCTION slipway_refuse('Workloads are kept until they have ended.');
"""

TRIGGERS = {
    "repositories": ("guard_versions",),
    "containers": ("guard_locked", "guard_truncate"),
    "environment_variables": ("guard_locked", "guard_truncate"),
    "probes": ("guard_locked", "guard_truncate"),
    "artifacts": ("guard_locked", "guard_truncate"),
    "workloads": ("guard_life", "release_credentials", "guard_truncate"),
    "events": ("append_only", "append_only_truncate"),
}
FUNCTIONS = (
    "slipway_guard_container()",
    "slipway_guard_container_part()",
    "slipway_guard_artifact()",
    "slipway_guard_workload()",
    "slipway_guard_repository()",
    "slipway_release_credentials()",
    "slipway_artifact_is_locked(uuid)",
    "slipway_refuse()",
)


def upgrade() -> None:
    for statement in _statements(GUARDS):
        op.execute(statement)


def downgrade() -> None:
    for table, triggers in TRIGGERS.items():
        for trigger in triggers:
            op.execute(f"DROP TRIGGER {trigger} ON {table}")
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")


def _statements(script: str) -> list[str]:
    """The driver takes one statement at a time; each begins with CREATE at the beginning of a line."""
    return [f"CREATE {part}" for part in script.split("\nCREATE ")[1:]]
