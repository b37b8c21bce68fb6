"""The schema: the roots, the scalars, and what stands around an execution."""

from collections.abc import Iterator
from typing import Any

import strawberry
from graphql import GraphQLError, GraphQLSchema, OperationDefinitionNode
from strawberry.extensions import AddValidationRules, MaxTokensLimiter, ParserCache, SchemaExtension, ValidationCache
from strawberry.schema.config import StrawberryConfig

from app.api import limits
from app.api.mutations import Mutation
from app.api.nodes import Container
from app.api.problems import EXCEPTION_HANDLERS
from app.api.queries import Query
from app.api.scalars import SCALARS

DOCUMENTS_CACHED_MAXIMUM = 500
CACHED_DOCUMENT_MAXIMUM_LENGTH = 16_384


class SmallDocumentsParsed(ParserCache):
    """Keeps parsed documents, but no large ones: those would fill the memory, and their literals may hold secrets."""

    def on_parse(self) -> Iterator[None]:
        """Take the document from the cache, or put it there."""
        if len(self.execution_context.query or "") <= CACHED_DOCUMENT_MAXIMUM_LENGTH:
            yield from super().on_parse()
        else:
            yield


class SmallDocumentsValidated(ValidationCache):
    """Keeps what validation said of the documents that are kept."""

    def on_validate(self) -> Iterator[None]:
        """Take the errors from the cache, or put them there."""
        if len(self.execution_context.query or "") <= CACHED_DOCUMENT_MAXIMUM_LENGTH:
            yield from super().on_validate()
        else:
            yield


class OneOperation(SchemaExtension):
    """Refuses a document of several operations that does not say which is meant: GraphQL, 6.1."""

    def on_validate(self) -> Iterator[None]:
        """Count the operations of the document."""
        context = self.execution_context
        document = context.graphql_document
        named = context._provided_operation_name is not None  # noqa: SLF001  there is no public name
        definitions = () if document is None or named else document.definitions
        if sum(isinstance(each, OperationDefinitionNode) for each in definitions) > 1:
            message = "The document holds several operations: say which one in `operationName`."
            context.pre_execution_errors = [GraphQLError(message)]
        yield


class Schema(strawberry.Schema):
    """Unexpected errors are logged by the wire, once, without the variables: those can hold secrets."""

    @property
    def graphql(self) -> GraphQLSchema:
        """The schema as graphql-core knows it."""
        return self._schema

    def process_errors(self, errors: list[GraphQLError], execution_context: Any = None) -> None:
        """See the class."""


def build() -> Schema:
    """The schema of Slipway."""
    return Schema(
        query=Query,
        mutation=Mutation,
        types=[Container],
        config=StrawberryConfig(scalar_map=SCALARS),
        exception_handlers=EXCEPTION_HANDLERS,
        extensions=[
            lambda: SmallDocumentsParsed(maxsize=DOCUMENTS_CACHED_MAXIMUM),
            lambda: SmallDocumentsValidated(maxsize=DOCUMENTS_CACHED_MAXIMUM),
            lambda: AddValidationRules([limits.Bounded]),
            lambda: MaxTokensLimiter(max_token_count=limits.TOKENS_MAXIMUM),
            OneOperation,
        ],
    )
