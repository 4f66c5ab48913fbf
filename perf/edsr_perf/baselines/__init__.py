"""What other ways to run the same network take, measured in turns with ours. Their own code is in perf/baselines/."""

__all__: list[str] = []
