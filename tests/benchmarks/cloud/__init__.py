"""A benchmark of the control plane: the rates of its calls, beside a bare grpc.aio server in the same run.

``python -m tests.benchmarks.cloud`` measures and prints everything (docs/performance.md).
"""
