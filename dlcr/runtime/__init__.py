"""What is about machines, not about Re-ID: files, seeds, store, timings, progress, determinism, commands."""
