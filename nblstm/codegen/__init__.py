"""From a traced cell to compiled functions, kept on disk."""
