"""Arguments from users: checks, signatures, configurations, objects by name, seeds."""
