"""The benchmarks measure what they say, and judge by what was promised."""
