// Apollo Server 5 on its own HTTP server, with a dataloader for each edge.
import { ApolloServer } from "@apollo/server";
import { startStandaloneServer } from "@apollo/server/standalone";
import DataLoader from "dataloader";
import { Data } from "./data.mjs";
import { typeDefs } from "./schema.mjs";

const data = new Data();
const probe = (kind) => async ({ key }, _, { load }) =>
  (await load.probes.load(key)).find((each) => each.kind === kind) ?? null;

function loaders(viewer) {
  const by = (read) => new DataLoader(read);
  const pages = new Map();
  const page = (name, read) => (first) => {
    const key = `${name} ${first}`;
    if (!pages.has(key)) pages.set(key, by((keys) => read(viewer, keys, first)));
    return pages.get(key);
  };
  return {
    artifacts: page("artifacts", (...given) => data.artifactsOf(...given)),
    workloads: page("workloads", (...given) => data.workloadsOf(...given)),
    containers: by((keys) => data.containersOf(keys)),
    variables: by((keys) => data.variablesOf(keys)),
    probes: by((keys) => data.probesOf(keys)),
    users: by((keys) => data.usersOf(keys)),
    repositories: by((keys) => data.repositoriesOf(keys)),
  };
}

const server = new ApolloServer({
  typeDefs,
  introspection: false,
  csrfPrevention: false,
  resolvers: {
    Query: {
      repositories: async (_, { first }, { viewer }) => ({ nodes: await data.repositories(viewer, first ?? 20) }),
      artifacts: async (_, { first, filter }, { viewer }) => ({ nodes: await data.artifacts(viewer, first ?? 20, filter) }),
      artifact: (_, { id }, { viewer }) => data.artifact(viewer, id),
    },
    Repository: {
      artifacts: async ({ key }, { first }, { load }) => ({ nodes: await load.artifacts(first ?? 20).load(key) }),
    },
    Artifact: {
      containers: ({ key }, _, { load }) => load.containers.load(key),
      workloads: async ({ key }, { first }, { load }) => ({ nodes: await load.workloads(first ?? 20).load(key) }),
      createdBy: ({ created_by_id }, _, { load }) => load.users.load(created_by_id),
      repository: ({ repository_id }, _, { load }) => load.repositories.load(repository_id),
    },
    Container: {
      environmentVars: ({ key }, _, { load }) => load.variables.load(key),
      startupProbe: probe("STARTUP"),
      readinessProbe: probe("READINESS"),
      livenessProbe: probe("LIVENESS"),
    },
  },
});
await startStandaloneServer(server, {
  listen: { host: "127.0.0.1", port: Number(process.env.PORT) },
  context: async ({ req }) => {
    const viewer = await data.viewer(req.headers.authorization);
    return { viewer, load: loaders(viewer) };
  },
});
