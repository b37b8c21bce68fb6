"""Copy-ready calls of createArtifact, for people who start from nothing."""

import json

from app.api.enums import ExampleLanguage

DOCUMENT = """mutation Create($input: CreateArtifactInput!) {
  createArtifact(input: $input) {
    __typename
    ... on ArtifactPayload { artifact { id name repository { id } } }
    ... on InvalidInput { issues { path message } }
    ... on Problem { message }
  }
}"""
VARIABLES = {
    "input": {
        "name": "hello",
        "spec": {
            "containerGroups": [
                {
                    "containers": [
                        {
                            "imageUri": "docker.io/library/python:3.13-slim",
                            "port": 8080,
                            "entrypoint": ["sh", "-c", "exec python3 -m http.server $PORT"],
                            "readinessProbe": {"path": "/"},
                        }
                    ]
                }
            ]
        },
    }
}


def artifact(language: ExampleLanguage, public_url: str) -> str:
    """A call against this server; the token is left to the reader, as `$SLIPWAY_TOKEN` of the environment."""
    url = f"{public_url}/graphql"
    match language:
        case ExampleLanguage.CURL:
            body = json.dumps({"query": DOCUMENT, "variables": VARIABLES}, indent=2).replace("'", "'\\''")
            return (
                f"curl {url} \\\n"
                '  -H "Authorization: Bearer $SLIPWAY_TOKEN" \\\n'
                "  -H 'Content-Type: application/json' \\\n"
                f"  -d '{body}'\n"
            )
        case ExampleLanguage.PYTHON:
            return (
                "import os\n\nimport httpx\n\n"
                f'DOCUMENT = """{DOCUMENT}"""\n'
                f"VARIABLES = {_python(VARIABLES)}\n\n"
                "response = httpx.post(\n"
                f"    {url!r},\n"
                '    headers={"Authorization": f"Bearer {os.environ[\'SLIPWAY_TOKEN\']}"},\n'
                '    json={"query": DOCUMENT, "variables": VARIABLES},\n'
                ")\nprint(response.json())\n"
            )
        case ExampleLanguage.TYPESCRIPT:
            return (
                f"const query = `{DOCUMENT.replace('$', chr(92) + '$')}`;\n"
                f"const variables = {json.dumps(VARIABLES, indent=2)};\n\n"
                f"const response = await fetch({json.dumps(url)}, {{\n"
                '  method: "POST",\n'
                "  headers: {\n"
                "    Authorization: `Bearer ${process.env.SLIPWAY_TOKEN}`,\n"
                '    "Content-Type": "application/json",\n'
                "  },\n"
                "  body: JSON.stringify({ query, variables }),\n"
                "});\nconsole.log(await response.json());\n"
            )


def _python(value: object) -> str:
    return json.dumps(value, indent=4)
