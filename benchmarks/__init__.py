"""The figures that the project promises, each with its bar: `python -m benchmarks [NAME …]`."""
