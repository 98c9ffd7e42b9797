"""The sample API, sample files and sample pipelines that `roundtrip demo` and the tutorial use."""
