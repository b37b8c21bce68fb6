"""The spoken language: types, inputs, queries, mutations, problems, loaders and limits."""
