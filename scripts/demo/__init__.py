"""The whole job on one machine: `make demo` tells it as it goes, tests/e2e asserts it. Both run what stands here."""
