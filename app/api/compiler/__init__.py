"""Answers a query operation by one SQL statement whose result is the JSON text itself."""

from app.api.compiler.compiler import Compiler as Compiler
