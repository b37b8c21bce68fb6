// The part of Slipway's graph that the queries ask for.
export const typeDefs = /* GraphQL */ `
  type Query {
    repositories(first: Int): RepositoryConnection!
    artifacts(first: Int, filter: ArtifactFilter): ArtifactConnection!
    artifact(id: ID!): Artifact
  }
  input ArtifactFilter { createdBy: [ID!] tags: [TagFilter!] }
  input TagFilter { name: String! values: [String!] }
  type RepositoryConnection { nodes: [Repository!]! }
  type ArtifactConnection { nodes: [Artifact!]! }
  type WorkloadConnection { nodes: [Workload!]! }
  type User { id: ID! username: String! }
  type Repository { id: ID! name: String! artifacts(first: Int): ArtifactConnection! }
  type Artifact {
    id: ID! name: String! description: String! type: String! status: String! version: Int revision: Int! digest: String!
    createdAt: String! createdBy: User! repository: Repository! containers: [Container!]!
    workloads(first: Int): WorkloadConnection!
  }
  type Container {
    id: ID! name: String! imageUri: String! port: Int primary: Boolean!
    environmentVars: [EnvironmentVariable!]! startupProbe: Probe readinessProbe: Probe livenessProbe: Probe
  }
  type EnvironmentVariable { name: String! type: String! value: String }
  type Probe { path: String! port: Int! periodSeconds: Int! }
  type Workload { id: ID! name: String! status: String! importance: String! replicas: Int! }
`;
