"""The simulated mini-survey behind ``skyloom demo``."""
