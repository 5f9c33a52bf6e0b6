"""Archives, and files that are not ours."""
