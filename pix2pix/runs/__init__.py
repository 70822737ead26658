"""What lies in a run folder: checkpoints, generator.keras, tables, pages, logs, warnings."""
