"""What a run tells while it trains: progress, metrics, counters, traces."""
