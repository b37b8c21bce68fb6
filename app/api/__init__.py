"""The spoken language: types, inputs, queries, mutations, problems, loaders and limits."""

# Strawberry describes an enum when a type first names it, so ours are described before any type is made.
from app.api import enums as enums
