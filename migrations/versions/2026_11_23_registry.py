"""The tables of the registry, its people, its workloads and its history."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_23_registry"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "encryption_checks",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sealed_text", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_encryption_checks_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_encryption_checks")),
    )
    op.create_table(
        "groups", sa.Column("name", sa.Text(), nullable=False), sa.PrimaryKeyConstraint("name", name=op.f("pk_groups"))
    )
    op.create_table(
        "runtimes",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("available", sa.Boolean(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_runtimes")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("admin", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("username", name=op.f("uq_users_username")),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("read_only", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_api_tokens_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("secret_sha256", name=op.f("uq_api_tokens_secret_sha256")),
    )
    op.create_index(op.f("ix_api_tokens_user_id"), "api_tokens", ["user_id"], unique=False)
    op.create_table(
        "credentials",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_by_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["created_by_id"], ["users.id"], name=op.f("fk_credentials_created_by_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credentials")),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column(
            "kind",
            sa.Enum(
                "ARTIFACT_CREATED",
                "ARTIFACT_CHANGED",
                "ARTIFACT_LOCKED",
                "ARTIFACT_CLONED",
                "ARTIFACT_SHARED",
                "ARTIFACT_DELETED",
                "REPOSITORY_CREATED",
                "REPOSITORY_CHANGED",
                "REPOSITORY_SHARED",
                "REPOSITORY_DELETED",
                "WORKLOAD_CREATED",
                "WORKLOAD_CHANGED",
                "WORKLOAD_STATUS",
                "WORKLOAD_REPLACED",
                "WORKLOAD_SHARED",
                "WORKLOAD_DELETED",
                "CREDENTIAL_CREATED",
                "CREDENTIAL_ROTATED",
                "CREDENTIAL_SHARED",
                "CREDENTIAL_DELETED",
                "TOKEN_CREATED",
                "TOKEN_REVOKED",
                name="event_kind",
            ),
            nullable=False,
        ),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("repository_id", sa.Uuid(), nullable=True),
        sa.Column("artifact_id", sa.Uuid(), nullable=True),
        sa.Column("workload_id", sa.Uuid(), nullable=True),
        sa.Column("changes", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(["actor_id"], ["users.id"], name=op.f("fk_events_actor_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_artifact_id_id"), "events", ["artifact_id", "id"], unique=False)
    op.create_index(op.f("ix_events_repository_id_id"), "events", ["repository_id", "id"], unique=False)
    op.create_index(op.f("ix_events_subject_id_id"), "events", ["subject_id", "id"], unique=False)
    op.create_index(op.f("ix_events_workload_id_id"), "events", ["workload_id", "id"], unique=False)
    op.create_table(
        "group_members",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("group_name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_name"], ["groups.name"], name=op.f("fk_group_members_group_name_groups"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_group_members_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "group_name", name=op.f("pk_group_members")),
    )
    op.create_table(
        "repositories",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_by_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("type", sa.Enum("SERVICE", "AGENT", "MCP", "NIM", name="artifact_type"), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["created_by_id"], ["users.id"], name=op.f("fk_repositories_created_by_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repositories")),
        sa.UniqueConstraint("id", "type", name=op.f("uq_repositories_id_type")),
    )
    op.create_index("ix_repositories_created_at_id", "repositories", ["created_at", "id"], unique=False)
    op.create_index("ix_repositories_created_by_id_id", "repositories", ["created_by_id", "id"], unique=False)
    op.create_index(
        "ix_repositories_lower_name_id", "repositories", [sa.literal_column("lower(name)"), "id"], unique=False
    )
    op.create_index("ix_repositories_updated_at_id", "repositories", ["updated_at", "id"], unique=False)
    op.create_table(
        "artifacts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_by_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("repository_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("type", sa.Enum("SERVICE", "AGENT", "MCP", "NIM", name="artifact_type"), nullable=False),
        sa.Column("status", sa.Enum("DRAFT", "LOCKED", name="artifact_status"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("locked_by_id", sa.Uuid(), nullable=True),
        sa.Column("locked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cloned_from_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "(status = 'LOCKED') = (version IS NOT NULL)"
            " AND (status = 'LOCKED') = (locked_at IS NOT NULL)"
            " AND (status = 'LOCKED') = (locked_by_id IS NOT NULL)",
            name=op.f("ck_artifacts_locked_has_version"),
        ),
        sa.CheckConstraint("version > 0", name=op.f("ck_artifacts_version_positive")),
        sa.ForeignKeyConstraint(
            ["cloned_from_id"], ["artifacts.id"], name=op.f("fk_artifacts_cloned_from_id_artifacts")
        ),
        sa.ForeignKeyConstraint(["created_by_id"], ["users.id"], name=op.f("fk_artifacts_created_by_id_users")),
        sa.ForeignKeyConstraint(["locked_by_id"], ["users.id"], name=op.f("fk_artifacts_locked_by_id_users")),
        sa.ForeignKeyConstraint(
            ["repository_id", "type"],
            ["repositories.id", "repositories.type"],
            name=op.f("fk_artifacts_repository_id_type_repositories"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifacts")),
        sa.UniqueConstraint("id", "repository_id", name=op.f("uq_artifacts_id_repository_id")),
        sa.UniqueConstraint("repository_id", "version", name=op.f("uq_artifacts_repository_id_version")),
    )
    op.create_index("ix_artifacts_cloned_from_id", "artifacts", ["cloned_from_id"], unique=False)
    op.create_index("ix_artifacts_created_at_id", "artifacts", ["created_at", "id"], unique=False)
    op.create_index("ix_artifacts_created_by_id_id", "artifacts", ["created_by_id", "id"], unique=False)
    op.create_index("ix_artifacts_lower_name_id", "artifacts", [sa.literal_column("lower(name)"), "id"], unique=False)
    op.create_index("ix_artifacts_repository_id_id", "artifacts", ["repository_id", "id"], unique=False)
    op.create_index("ix_artifacts_status_id", "artifacts", ["status", "id"], unique=False)
    op.create_index("ix_artifacts_updated_at_id", "artifacts", ["updated_at", "id"], unique=False)
    op.create_table(
        "credential_grants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("group_name", sa.Text(), nullable=True),
        sa.Column("role", sa.Enum("VIEWER", "EDITOR", "OWNER", name="role"), nullable=False),
        sa.Column("credential_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("user_id IS NULL OR group_name IS NULL", name=op.f("ck_credential_grants_one_subject")),
        sa.ForeignKeyConstraint(
            ["credential_id"],
            ["credentials.id"],
            name=op.f("fk_credential_grants_credential_id_credentials"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["group_name"], ["groups.name"], name=op.f("fk_credential_grants_group_name_groups")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_credential_grants_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credential_grants")),
        sa.UniqueConstraint(
            "credential_id",
            "user_id",
            "group_name",
            name=op.f("uq_credential_grants_credential_id_user_id_group_name"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index(op.f("ix_credential_grants_group_name"), "credential_grants", ["group_name"], unique=False)
    op.create_index(op.f("ix_credential_grants_user_id"), "credential_grants", ["user_id"], unique=False)
    op.create_table(
        "credential_values",
        sa.Column("credential_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("sealed_value", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["credential_id"],
            ["credentials.id"],
            name=op.f("fk_credential_values_credential_id_credentials"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("credential_id", "key", name=op.f("pk_credential_values")),
    )
    op.create_table(
        "repository_grants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("group_name", sa.Text(), nullable=True),
        sa.Column("role", sa.Enum("VIEWER", "EDITOR", "OWNER", name="role"), nullable=False),
        sa.Column("repository_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("user_id IS NULL OR group_name IS NULL", name=op.f("ck_repository_grants_one_subject")),
        sa.ForeignKeyConstraint(["group_name"], ["groups.name"], name=op.f("fk_repository_grants_group_name_groups")),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_repository_grants_repository_id_repositories"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_repository_grants_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repository_grants")),
        sa.UniqueConstraint(
            "repository_id",
            "user_id",
            "group_name",
            name=op.f("uq_repository_grants_repository_id_user_id_group_name"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index(op.f("ix_repository_grants_group_name"), "repository_grants", ["group_name"], unique=False)
    op.create_index(op.f("ix_repository_grants_user_id"), "repository_grants", ["user_id"], unique=False)
    op.create_table(
        "repository_tags",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("repository_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_repository_tags_repository_id_repositories"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("name", "repository_id", name=op.f("pk_repository_tags")),
    )
    op.create_index(op.f("ix_repository_tags_name_value"), "repository_tags", ["name", "value"], unique=False)
    op.create_table(
        "artifact_grants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("group_name", sa.Text(), nullable=True),
        sa.Column("role", sa.Enum("VIEWER", "EDITOR", "OWNER", name="role"), nullable=False),
        sa.Column("artifact_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("user_id IS NULL OR group_name IS NULL", name=op.f("ck_artifact_grants_one_subject")),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_artifact_grants_artifact_id_artifacts"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["group_name"], ["groups.name"], name=op.f("fk_artifact_grants_group_name_groups")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_artifact_grants_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact_grants")),
        sa.UniqueConstraint(
            "artifact_id",
            "user_id",
            "group_name",
            name=op.f("uq_artifact_grants_artifact_id_user_id_group_name"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index(op.f("ix_artifact_grants_group_name"), "artifact_grants", ["group_name"], unique=False)
    op.create_index(op.f("ix_artifact_grants_user_id"), "artifact_grants", ["user_id"], unique=False)
    op.create_table(
        "artifact_tags",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("artifact_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_artifact_tags_artifact_id_artifacts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("name", "artifact_id", name=op.f("pk_artifact_tags")),
    )
    op.create_index(op.f("ix_artifact_tags_name_value"), "artifact_tags", ["name", "value"], unique=False)
    op.create_table(
        "containers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("artifact_id", sa.Uuid(), nullable=False),
        sa.Column("group_position", sa.Integer(), nullable=False),
        sa.Column("group_name", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("image_uri", sa.Text(), nullable=False),
        sa.Column("image_name", sa.Text(), nullable=False),
        sa.Column("image_digest", sa.Text(), nullable=True),
        sa.Column("port", sa.Integer(), nullable=True),
        sa.Column("primary", sa.Boolean(), nullable=False),
        sa.Column("entrypoint", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_containers_artifact_id_artifacts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_containers")),
        sa.UniqueConstraint(
            "artifact_id",
            "group_position",
            "name",
            deferrable=True,
            initially="DEFERRED",
            name=op.f("uq_containers_artifact_id_group_position_name"),
        ),
    )
    op.create_index(
        op.f("ix_containers_image_digest"),
        "containers",
        ["image_digest"],
        unique=False,
        postgresql_where=sa.text("image_digest IS NOT NULL"),
    )
    op.create_index(op.f("ix_containers_image_name"), "containers", ["image_name"], unique=False)
    op.create_index(op.f("ix_containers_image_uri"), "containers", ["image_uri"], unique=False)
    op.create_table(
        "workloads",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_by_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("artifact_id", sa.Uuid(), nullable=False),
        sa.Column("repository_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.Enum("TEST", "SERVICE", name="workload_purpose"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("importance", sa.Enum("LOW", "MODERATE", "HIGH", "CRITICAL", name="importance"), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "SUBMITTED",
                "PROVISIONING",
                "LAUNCHING",
                "RUNNING",
                "INTERRUPTED",
                "STOPPING",
                "STOPPED",
                "ERRORED",
                "TERMINATED",
                name="workload_status",
            ),
            nullable=False,
        ),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("status_message", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("specification", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("replicas", sa.Integer(), nullable=False),
        sa.Column("ready_replicas", sa.Integer(), nullable=False),
        sa.Column("resources", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("wanted", sa.Enum("RUNNING", "STOPPED", "TERMINATED", name="workload_wanted"), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("launch", sa.Integer(), nullable=False),
        sa.Column("launched_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("was_ready", sa.Boolean(), nullable=False),
        sa.Column("container_statuses", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("addresses", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("reconcile_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_holder", sa.Uuid(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(purpose = 'TEST') = (expires_at IS NOT NULL)", name=op.f("ck_workloads_test_expires")),
        sa.CheckConstraint("replicas >= 0", name=op.f("ck_workloads_replicas_not_negative")),
        sa.ForeignKeyConstraint(
            ["artifact_id", "repository_id"],
            ["artifacts.id", "artifacts.repository_id"],
            name=op.f("fk_workloads_artifact_id_repository_id_artifacts"),
        ),
        sa.ForeignKeyConstraint(["created_by_id"], ["users.id"], name=op.f("fk_workloads_created_by_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workloads")),
    )
    op.create_index("ix_workloads_artifact_id_id", "workloads", ["artifact_id", "id"], unique=False)
    op.create_index("ix_workloads_created_at_id", "workloads", ["created_at", "id"], unique=False)
    op.create_index("ix_workloads_created_by_id_id", "workloads", ["created_by_id", "id"], unique=False)
    op.create_index(
        op.f("ix_workloads_expires_at"),
        "workloads",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("purpose = 'TEST' AND status <> 'TERMINATED'"),
    )
    op.create_index("ix_workloads_importance_id", "workloads", ["importance", "id"], unique=False)
    op.create_index("ix_workloads_lower_name_id", "workloads", [sa.literal_column("lower(name)"), "id"], unique=False)
    op.create_index(
        op.f("ix_workloads_reconcile_at"),
        "workloads",
        ["reconcile_at"],
        unique=False,
        postgresql_where=sa.text("reconcile_at IS NOT NULL"),
    )
    op.create_index("ix_workloads_repository_id_id", "workloads", ["repository_id", "id"], unique=False)
    op.create_index("ix_workloads_status_id", "workloads", ["status", "id"], unique=False)
    op.create_index("ix_workloads_updated_at_id", "workloads", ["updated_at", "id"], unique=False)
    op.create_index(
        "uq_workloads_one_live_test",
        "workloads",
        ["artifact_id"],
        unique=True,
        postgresql_where=sa.text("purpose = 'TEST' AND status <> 'TERMINATED'"),
    )
    op.create_table(
        "environment_variables",
        sa.Column("container_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("type", sa.Enum("STRING", "CREDENTIAL", name="environment_variable_type"), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("credential_id", sa.Uuid(), nullable=True),
        sa.Column("field", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["container_id"],
            ["containers.id"],
            name=op.f("fk_environment_variables_container_id_containers"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["credential_id"], ["credentials.id"], name=op.f("fk_environment_variables_credential_id_credentials")
        ),
        sa.PrimaryKeyConstraint("container_id", "name", name=op.f("pk_environment_variables")),
    )
    op.create_index(
        op.f("ix_environment_variables_credential_id"), "environment_variables", ["credential_id"], unique=False
    )
    op.create_table(
        "probes",
        sa.Column("container_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Enum("STARTUP", "READINESS", "LIVENESS", name="probe_kind"), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("scheme", sa.Enum("HTTP", "HTTPS", name="probe_scheme"), nullable=False),
        sa.Column("headers", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("initial_delay_seconds", sa.Integer(), nullable=False),
        sa.Column("period_seconds", sa.Integer(), nullable=False),
        sa.Column("timeout_seconds", sa.Integer(), nullable=False),
        sa.Column("success_threshold", sa.Integer(), nullable=False),
        sa.Column("failure_threshold", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["container_id"], ["containers.id"], name=op.f("fk_probes_container_id_containers"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("container_id", "kind", name=op.f("pk_probes")),
    )
    op.create_table(
        "workload_credential_uses",
        sa.Column("workload_id", sa.Uuid(), nullable=False),
        sa.Column("credential_id", sa.Uuid(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["credential_id"], ["credentials.id"], name=op.f("fk_workload_credential_uses_credential_id_credentials")
        ),
        sa.ForeignKeyConstraint(
            ["workload_id"],
            ["workloads.id"],
            name=op.f("fk_workload_credential_uses_workload_id_workloads"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workload_id", "credential_id", "field", name=op.f("pk_workload_credential_uses")),
    )
    op.create_index(
        op.f("ix_workload_credential_uses_credential_id"), "workload_credential_uses", ["credential_id"], unique=False
    )
    op.create_table(
        "workload_grants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("group_name", sa.Text(), nullable=True),
        sa.Column("role", sa.Enum("VIEWER", "EDITOR", "OWNER", name="role"), nullable=False),
        sa.Column("workload_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("user_id IS NULL OR group_name IS NULL", name=op.f("ck_workload_grants_one_subject")),
        sa.ForeignKeyConstraint(["group_name"], ["groups.name"], name=op.f("fk_workload_grants_group_name_groups")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_workload_grants_user_id_users")),
        sa.ForeignKeyConstraint(
            ["workload_id"], ["workloads.id"], name=op.f("fk_workload_grants_workload_id_workloads"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workload_grants")),
        sa.UniqueConstraint(
            "workload_id",
            "user_id",
            "group_name",
            name=op.f("uq_workload_grants_workload_id_user_id_group_name"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index(op.f("ix_workload_grants_group_name"), "workload_grants", ["group_name"], unique=False)
    op.create_index(op.f("ix_workload_grants_user_id"), "workload_grants", ["user_id"], unique=False)
    op.create_table(
        "workload_tags",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("workload_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workload_id"], ["workloads.id"], name=op.f("fk_workload_tags_workload_id_workloads"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("name", "workload_id", name=op.f("pk_workload_tags")),
    )
    op.create_index(op.f("ix_workload_tags_name_value"), "workload_tags", ["name", "value"], unique=False)
    op.create_table(
        "workload_variables",
        sa.Column("workload_id", sa.Uuid(), nullable=False),
        sa.Column("container", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("type", sa.Enum("STRING", "CREDENTIAL", name="environment_variable_type"), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("credential_id", sa.Uuid(), nullable=True),
        sa.Column("field", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["credential_id"],
            ["credentials.id"],
            name=op.f("fk_workload_variables_credential_id_credentials"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["workload_id"],
            ["workloads.id"],
            name=op.f("fk_workload_variables_workload_id_workloads"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workload_id", "container", "name", name=op.f("pk_workload_variables")),
    )
    op.create_index(op.f("ix_workload_variables_credential_id"), "workload_variables", ["credential_id"], unique=False)


def downgrade() -> None:
    op.drop_table("encryption_checks")
    op.drop_index(op.f("ix_workload_variables_credential_id"), table_name="workload_variables")
    op.drop_table("workload_variables")
    op.drop_index(op.f("ix_workload_tags_name_value"), table_name="workload_tags")
    op.drop_table("workload_tags")
    op.drop_index(op.f("ix_workload_grants_user_id"), table_name="workload_grants")
    op.drop_index(op.f("ix_workload_grants_group_name"), table_name="workload_grants")
    op.drop_table("workload_grants")
    op.drop_index(op.f("ix_workload_credential_uses_credential_id"), table_name="workload_credential_uses")
    op.drop_table("workload_credential_uses")
    op.drop_table("probes")
    op.drop_index(op.f("ix_environment_variables_credential_id"), table_name="environment_variables")
    op.drop_table("environment_variables")
    op.drop_index(
        "uq_workloads_one_live_test",
        table_name="workloads",
        postgresql_where=sa.text("purpose = 'TEST' AND status <> 'TERMINATED'"),
    )
    op.drop_index("ix_workloads_updated_at_id", table_name="workloads")
    op.drop_index("ix_workloads_status_id", table_name="workloads")
    op.drop_index("ix_workloads_repository_id_id", table_name="workloads")
    op.drop_index(
        op.f("ix_workloads_reconcile_at"), table_name="workloads", postgresql_where=sa.text("reconcile_at IS NOT NULL")
    )
    op.drop_index("ix_workloads_lower_name_id", table_name="workloads")
    op.drop_index("ix_workloads_importance_id", table_name="workloads")
    op.drop_index(
        op.f("ix_workloads_expires_at"),
        table_name="workloads",
        postgresql_where=sa.text("purpose = 'TEST' AND status <> 'TERMINATED'"),
    )
    op.drop_index("ix_workloads_created_by_id_id", table_name="workloads")
    op.drop_index("ix_workloads_created_at_id", table_name="workloads")
    op.drop_index("ix_workloads_artifact_id_id", table_name="workloads")
    op.drop_table("workloads")
    op.drop_index(op.f("ix_containers_image_uri"), table_name="containers")
    op.drop_index(op.f("ix_containers_image_name"), table_name="containers")
    op.drop_index(
        op.f("ix_containers_image_digest"),
        table_name="containers",
        postgresql_where=sa.text("image_digest IS NOT NULL"),
    )
    op.drop_table("containers")
    op.drop_index(op.f("ix_artifact_tags_name_value"), table_name="artifact_tags")
    op.drop_table("artifact_tags")
    op.drop_index(op.f("ix_artifact_grants_user_id"), table_name="artifact_grants")
    op.drop_index(op.f("ix_artifact_grants_group_name"), table_name="artifact_grants")
    op.drop_table("artifact_grants")
    op.drop_index(op.f("ix_repository_tags_name_value"), table_name="repository_tags")
    op.drop_table("repository_tags")
    op.drop_index(op.f("ix_repository_grants_user_id"), table_name="repository_grants")
    op.drop_index(op.f("ix_repository_grants_group_name"), table_name="repository_grants")
    op.drop_table("repository_grants")
    op.drop_table("credential_values")
    op.drop_index(op.f("ix_credential_grants_user_id"), table_name="credential_grants")
    op.drop_index(op.f("ix_credential_grants_group_name"), table_name="credential_grants")
    op.drop_table("credential_grants")
    op.drop_index("ix_artifacts_updated_at_id", table_name="artifacts")
    op.drop_index("ix_artifacts_status_id", table_name="artifacts")
    op.drop_index("ix_artifacts_repository_id_id", table_name="artifacts")
    op.drop_index("ix_artifacts_lower_name_id", table_name="artifacts")
    op.drop_index("ix_artifacts_created_by_id_id", table_name="artifacts")
    op.drop_index("ix_artifacts_created_at_id", table_name="artifacts")
    op.drop_index("ix_artifacts_cloned_from_id", table_name="artifacts")
    op.drop_table("artifacts")
    op.drop_index("ix_repositories_updated_at_id", table_name="repositories")
    op.drop_index("ix_repositories_lower_name_id", table_name="repositories")
    op.drop_index("ix_repositories_created_by_id_id", table_name="repositories")
    op.drop_index("ix_repositories_created_at_id", table_name="repositories")
    op.drop_table("repositories")
    op.drop_table("group_members")
    op.drop_index(op.f("ix_events_workload_id_id"), table_name="events")
    op.drop_index(op.f("ix_events_subject_id_id"), table_name="events")
    op.drop_index(op.f("ix_events_repository_id_id"), table_name="events")
    op.drop_index(op.f("ix_events_artifact_id_id"), table_name="events")
    op.drop_table("events")
    op.drop_table("credentials")
    op.drop_index(op.f("ix_api_tokens_user_id"), table_name="api_tokens")
    op.drop_table("api_tokens")
    op.drop_table("users")
    op.drop_table("runtimes")
    op.drop_table("groups")
    for name in (
        "artifact_status",
        "artifact_type",
        "environment_variable_type",
        "event_kind",
        "importance",
        "probe_kind",
        "probe_scheme",
        "role",
        "workload_purpose",
        "workload_status",
        "workload_wanted",
    ):
        op.execute(f"DROP TYPE {name}")
