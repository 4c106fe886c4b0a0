"""The search for a plan: many are scored cheaply, few are confirmed by generation, all under a safety floor."""
