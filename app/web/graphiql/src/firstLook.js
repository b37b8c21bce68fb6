export const FIRST_LOOK = `# Ctrl+Enter runs this.
# The book on the left explains every field.

query FirstLook {
  viewer {
    username
    admin
  }
  repositories(first: 5) {
    totalCount
    nodes {
      id
      name
      lastVersion
      artifacts(first: 3) {
        nodes {
          id
          name
          status
          version
        }
      }
    }
  }
  workloads(first: 5, filter: { active: true }) {
    totalCount
    nodes {
      id
      name
      purpose
      status
      endpoint
    }
  }
}
`;
