"""What crosses a process boundary: values, errors and frames."""
