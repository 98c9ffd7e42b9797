"""Unit tests of pipelines: files that say what comes in, what APIs answer, and what comes out."""
