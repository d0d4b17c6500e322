"""The report beside a mask: what went in, what came out, and what is doubtful about it."""
