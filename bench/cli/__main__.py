"""``python -m otabench.bench.cli``: the command ``otabench`` where its script is not installed."""

from otabench.bench.cli import main

if __name__ == "__main__":
    main()
