"""Output for readers: records, model cards, report pages, tables and the answers behind the numbers."""
