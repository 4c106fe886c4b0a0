"""What is measured: rates with intervals, before and after."""
