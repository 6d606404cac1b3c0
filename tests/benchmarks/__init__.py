"""Benchmarks that compare this project with others, run by their own commands. They belong to the repository, not to the wheel."""
