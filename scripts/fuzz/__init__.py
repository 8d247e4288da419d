"""Coverage-guided fuzzing of whatever reads what others wrote (https://github.com/google/atheris)."""
