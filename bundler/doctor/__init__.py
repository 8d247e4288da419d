"""`bundler doctor`: a module for each side of the gap."""
