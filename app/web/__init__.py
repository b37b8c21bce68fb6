"""The wire: GraphQL over HTTP, bearer tokens, GraphiQL, the endpoint gateway and health."""
