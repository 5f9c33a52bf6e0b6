"""Arrays, and what is known of them: packed batches, flat parameters, memory that is used again."""
