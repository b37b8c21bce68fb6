"""How many mutations a second one server takes from 16 clients: create, edit, lock and deploy."""

import asyncio
import secrets
import time
from base64 import b64encode
from typing import Annotated, Any

import httpx
import typer

from benchmarks.comparison.__main__ import world
from benchmarks.server import CREATE, DEPLOY, LOCK, Server, serving

UPDATE = """mutation ($input: UpdateArtifactInput!) { updateArtifact(input: $input) {
    ... on ArtifactPayload { artifact { id } } ... on Problem { message } } }"""
SPEC = {"containerGroups": [{"containers": [{"imageUri": "registry.test/app:1", "port": 8080}]}]}


def mutations(
    clients: Annotated[int, typer.Option(help="So many ask at once.")] = 16,
    each: Annotated[int, typer.Option(help="How many of each mutation every client asks for.")] = 25,
) -> None:
    """Print the table."""
    key = b64encode(secrets.token_bytes(32)).decode()
    with world() as given:
        environment = {"DATABASE_URL": given.dsn, "SLIPWAY_RUNTIME": "process", "SLIPWAY_LOG_LEVEL": "warning"}
        with serving({**environment, "SLIPWAY_ENCRYPTION_KEY": key}) as server:
            rates = asyncio.run(_measure(server, clients, each))
    typer.echo(f"{clients} clients, {each} of each\n\n| mutation | a second |\n|---|--:|")
    for name, rate in rates.items():
        typer.echo(f"| {name} | {rate:,.0f} |")


async def _measure(server: Server, clients: int, each: int) -> dict[str, float]:
    headers = {"Authorization": f"Bearer {server.token}"}
    rates: dict[str, float] = {}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60) as http:

        async def run(document: str, given: dict[str, Any]) -> Any:
            answer = (await http.post("/graphql", json={"query": document, "variables": {"input": given}})).json()
            [result] = answer["data"].values()
            if "message" in result:
                raise RuntimeError(result)
            return result

        async def all_of(name: str, document: str, inputs: list[dict[str, Any]]) -> list[Any]:
            pending = iter(inputs)
            results: list[Any] = []

            async def work() -> None:
                for one in pending:
                    results.append(await run(document, one))  # noqa: PERF401  one after the other

            begun = time.perf_counter()
            await asyncio.gather(*(work() for _ in range(clients)))
            rates[name] = len(inputs) / (time.perf_counter() - begun)
            return results

        drafts = [{"name": f"benchmark-{number}", "spec": SPEC} for number in range(clients * each)]
        made = [result["artifact"]["id"] for result in await all_of("createArtifact", CREATE, drafts)]
        await all_of("updateArtifact", UPDATE, [{"artifactId": one, "description": "edited"} for one in made])
        await all_of("lockArtifact", LOCK, [{"artifactId": one} for one in made])
        # Nothing is to be started: what is measured is the registry.
        await all_of("deployArtifact", DEPLOY, [{"artifactId": one, "replicas": 0} for one in made])
    return rates


if __name__ == "__main__":
    typer.run(mutations)
