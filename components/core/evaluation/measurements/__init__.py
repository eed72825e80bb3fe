"""One object for each thing that is measured: what it observes, its gates, its part of the report."""
