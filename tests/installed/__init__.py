"""Tests of otabench as its users have it: installed from its wheel into an environment of its own."""
