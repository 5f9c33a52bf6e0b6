"""What users give: checks, signatures, configurations, custom objects, seeds."""
