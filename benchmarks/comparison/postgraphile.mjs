// PostGraphile 5: it reads the tables of the database, and its engine plans the whole operation into few statements. The graph
// is Slipway's, on the resources that PostGraphile found; who sees what is a condition on each of them.
import { createServer } from "node:http";
import { makeSchema } from "postgraphile";
import { listOfCodec, TYPES } from "postgraphile/@dataplan/pg";
import { makePgService } from "postgraphile/adaptors/pg";
import { constant, context, lambda, makeGrafastSchema, object } from "postgraphile/grafast";
import { grafserv } from "postgraphile/grafserv/node";
import { sql } from "postgraphile/pg-sql2";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";
import { extendSchema } from "postgraphile/utils";
import { Data, uuid } from "./data.mjs";
import { typeDefs } from "./schema.mjs";

const data = new Data();
let registry;
const preset = {
  extends: [PostGraphileAmberPreset],
  plugins: [
    extendSchema((build) => {
      registry = build.input.pgRegistry;
      return { typeDefs: [], plans: {} };
    }),
  ],
  pgServices: [makePgService({ connectionString: process.env.DATABASE_URL, schemas: ["public"], poolConfig: { max: 10 } })],
  grafast: {
    context: async (ctx) => {
      const [id, groups] = await data.viewer(ctx.node.req.headers.authorization);
      return { viewerId: id, groups };
    },
  },
  grafserv: { port: Number(process.env.PORT), graphqlPath: "/graphql", graphiql: false },
};
const { resolvedPreset } = await makeSchema(preset);
const tables = registry.pgResources;
const texts = listOfCodec(TYPES.text);

function granted($rows, kind) {
  const viewer = $rows.placeholder(context().get("viewerId"), TYPES.uuid);
  const groups = $rows.placeholder(context().get("groups"), texts);
  return sql`SELECT ${sql.identifier(`${kind}_id`)} FROM ${sql.identifier(`${kind}_grants`)} WHERE user_id = ${viewer}
    OR group_name = ANY (${groups}) OR (user_id IS NULL AND group_name IS NULL)`;
}
const visible = {
  repository: ($r) => sql`${$r.alias}.id IN (${granted($r, "repository")})`,
  artifact: ($r) =>
    sql`(${$r.alias}.repository_id IN (${granted($r, "repository")}) OR ${$r.alias}.id IN (${granted($r, "artifact")}))`,
  workload: ($r) =>
    sql`(${$r.alias}.repository_id IN (${granted($r, "repository")}) OR ${$r.alias}.artifact_id IN (${granted($r, "artifact")})
      OR ${$r.alias}.id IN (${granted($r, "workload")}))`,
};

function page($rows, kind, $first) {
  $rows.where(visible[kind]($rows));
  $rows.orderBy({ attribute: "id", direction: "DESC" });
  $rows.setFirst($first);
  return object({ nodes: $rows });
}

const column = (name) => ($row) => $row.get(name);
const columns = (names) =>
  Object.fromEntries(Object.entries(names).map(([field, name]) => [field, column(name)]));
const nodes = { plans: { nodes: ($page) => $page.get("nodes") } };
const probe = (kind) => ($container) =>
  tables.probes.get({ container_id: $container.get("id"), kind: constant(kind) });

const schema = makeGrafastSchema({
  typeDefs,
  objects: {
    Query: {
      plans: {
        repositories: (_, { $first }) => page(tables.repositories.find(), "repository", $first),
        artifacts(_, { $first, $filter }) {
          const $rows = tables.artifacts.find();
          const $by = $rows.placeholder(
            lambda($filter, (filter) => filter?.createdBy?.map(uuid) ?? null),
            listOfCodec(TYPES.uuid),
          );
          $rows.where(sql`(${$by} IS NULL OR ${$rows.alias}.created_by_id = ANY (${$by}))`);
          const $name = $rows.placeholder(
            lambda($filter, (filter) => filter?.tags?.[0]?.name ?? null),
            TYPES.text,
          );
          const $values = $rows.placeholder(
            lambda($filter, (filter) => filter?.tags?.[0]?.values ?? null),
            texts,
          );
          $rows.where(sql`(${$name} IS NULL OR EXISTS (SELECT FROM artifact_tags t WHERE t.artifact_id = ${$rows.alias}.id
            AND t.name = ${$name} AND (${$values} IS NULL OR t.value = ANY (${$values}))))`);
          return page($rows, "artifact", $first);
        },
        artifact(_, { $id }) {
          const $rows = tables.artifacts.find({ id: lambda($id, uuid) });
          // What is reached by its id may also be a frame: a workload of it is seen, or one that ran it before.
          $rows.where(sql`(${visible.artifact($rows)}
            OR EXISTS (SELECT FROM workloads w WHERE w.artifact_id = ${$rows.alias}.id AND w.id IN (${granted($rows, "workload")}))
            OR EXISTS (SELECT FROM replacements p JOIN workloads w ON w.id = p.workload_id
              WHERE ${$rows.alias}.id IN (p.from_artifact_id, p.to_artifact_id)
              AND (w.repository_id IN (${granted($rows, "repository")}) OR w.artifact_id IN (${granted($rows, "artifact")})
                OR w.id IN (${granted($rows, "workload")}))))`);
          return $rows.single();
        },
      },
    },
    RepositoryConnection: nodes,
    ArtifactConnection: nodes,
    WorkloadConnection: nodes,
    User: { plans: columns({ id: "external_id", username: "username" }) },
    Repository: {
      plans: {
        ...columns({ id: "external_id", name: "name" }),
        artifacts: ($row, { $first }) =>
          page(tables.artifacts.find({ repository_id: $row.get("id") }), "artifact", $first),
      },
    },
    Artifact: {
      plans: {
        ...columns({ id: "external_id", name: "name", description: "description", type: "type", status: "status" }),
        ...columns({ version: "version", revision: "revision", digest: "digest" }),
        createdAt: ($row) =>
          $row.select(
            sql`to_char(${$row.getClassStep().alias}.created_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`,
            TYPES.text,
          ),
        createdBy: ($row) => tables.users.get({ id: $row.get("created_by_id") }),
        repository: ($row) => tables.repositories.get({ id: $row.get("repository_id") }),
        containers($row) {
          const $rows = tables.containers.find({ artifact_id: $row.get("id") });
          $rows.orderBy({ attribute: "group_position", direction: "ASC" });
          $rows.orderBy({ attribute: "position", direction: "ASC" });
          return $rows;
        },
        workloads: ($row, { $first }) =>
          page(tables.workloads.find({ artifact_id: $row.get("id") }), "workload", $first),
      },
    },
    Container: {
      plans: {
        ...columns({ id: "external_id", name: "name", imageUri: "image_uri", port: "port", primary: "primary" }),
        environmentVars($row) {
          const $rows = tables.environment_variables.find({ container_id: $row.get("id") });
          $rows.orderBy({ attribute: "position", direction: "ASC" });
          return $rows;
        },
        startupProbe: probe("STARTUP"),
        readinessProbe: probe("READINESS"),
        livenessProbe: probe("LIVENESS"),
      },
    },
    EnvironmentVariable: { plans: columns({ name: "name", type: "type", value: "value" }) },
    Probe: { plans: columns({ path: "path", port: "port", periodSeconds: "period_seconds" }) },
    Workload: {
      plans: {
        ...columns({ id: "external_id", name: "name", status: "status", importance: "importance" }),
        ...columns({ replicas: "replicas" }),
      },
    },
  },
});
const server = createServer();
await grafserv({ preset: resolvedPreset, schema }).addTo(server);
server.listen(Number(process.env.PORT), "127.0.0.1");
