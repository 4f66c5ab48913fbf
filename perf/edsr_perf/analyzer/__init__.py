"""Load tests by NVIDIA's perf_analyzer: scenarios, results, reports, comparisons."""
