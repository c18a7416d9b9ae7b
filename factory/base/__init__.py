"""What everyone stands on: errors, settings, the schema and the store, people."""
