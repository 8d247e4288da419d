"""`python -m bundler` is the `bundler` command."""

from bundler.cli import main

if __name__ == "__main__":
    main()
