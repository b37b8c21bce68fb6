// Fastify with Mercurius: JIT after the first request, loaders that batch.
import Fastify from "fastify";
import mercurius from "mercurius";
import { Data } from "./data.mjs";
import { typeDefs } from "./schema.mjs";

const data = new Data();
const app = Fastify();
const keys = (queries, name = "key") => queries.map(({ obj }) => obj[name]);
const nodes = (lists) => lists.map((each) => ({ nodes: each }));
const probe = (kind) => ({
  async loader(queries, { probes }) {
    return (await probes(keys(queries))).map((all) => all.find((each) => each.kind === kind) ?? null);
  },
  opts: { cache: false },
});
const uncached = (loader) => ({ loader, opts: { cache: false } });

await app.register(mercurius, {
  schema: typeDefs,
  jit: 1,
  context: async (request) => {
    // The three probes of a container come in one statement.
    let asked;
    return {
      viewer: await data.viewer(request.headers.authorization),
      probes: (wanted) => (asked ??= data.probesOf(wanted)),
    };
  },
  resolvers: {
    Query: {
      repositories: async (_, { first }, { viewer }) => ({ nodes: await data.repositories(viewer, first ?? 20) }),
      artifacts: async (_, { first, filter }, { viewer }) => ({ nodes: await data.artifacts(viewer, first ?? 20, filter) }),
      artifact: (_, { id }, { viewer }) => data.artifact(viewer, id),
    },
  },
  loaders: {
    Repository: {
      artifacts: uncached(async (queries, { viewer }) =>
        nodes(await data.artifactsOf(viewer, keys(queries), queries[0].params.first ?? 20)),
      ),
    },
    Artifact: {
      containers: uncached(async (queries) => data.containersOf(keys(queries))),
      workloads: uncached(async (queries, { viewer }) =>
        nodes(await data.workloadsOf(viewer, keys(queries), queries[0].params.first ?? 20)),
      ),
      createdBy: uncached(async (queries) => data.usersOf(keys(queries, "created_by_id"))),
      repository: uncached(async (queries) => data.repositoriesOf(keys(queries, "repository_id"))),
    },
    Container: {
      environmentVars: uncached(async (queries) => data.variablesOf(keys(queries))),
      startupProbe: probe("STARTUP"),
      readinessProbe: probe("READINESS"),
      livenessProbe: probe("LIVENESS"),
    },
  },
});
await app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
