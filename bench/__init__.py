"""The benchmark: one exchange's cost beside a bare loop of system calls and beside other tools."""
