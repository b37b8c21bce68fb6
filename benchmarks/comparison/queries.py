"""The four queries, and the same written as SQL by hand: each statement gives the whole body of the answer."""

from pathlib import Path

CONTAINERS = """containers { id name imageUri port primary environmentVars { name type value }
    startupProbe { path port } readinessProbe { path port periodSeconds } livenessProbe { path port } }"""
WORKLOADS = "workloads(first: 5) { nodes { id name status importance replicas } }"
DOCUMENTS = {
    "Q1": """{ repositories(first: 50) { nodes { id name artifacts(first: 10) { nodes {
        id name type status version revision createdAt } } } } }""",
    "Q2": f"""{{ repositories(first: 20) {{ nodes {{ id name artifacts(first: 10) {{ nodes {{
        id name status version {CONTAINERS} {WORKLOADS} }} }} }} }} }}""",
    "Q3": f"""query($id: ID!) {{ artifact(id: $id) {{ id name description status version digest createdAt
        createdBy {{ id username }} repository {{ id name }} {CONTAINERS} {WORKLOADS} }} }}""",
    "Q4": """query($filter: ArtifactFilter) { artifacts(first: 100, filter: $filter) { nodes {
        id name status version createdAt createdBy { id username } repository { id name } } } }""",
}
TITLES = {
    "Q1": "50 repositories x 10 artifacts x 7 fields",
    "Q2": "20 x 10 artifacts with containers, variables, probes, workloads",
    "Q3": "one artifact with all of it",
    "Q4": "a page of 100 artifacts by creator and tag",
}

STATEMENTS = {name: (Path(__file__).parent / "sql" / f"{name}.sql").read_text() for name in DOCUMENTS}
