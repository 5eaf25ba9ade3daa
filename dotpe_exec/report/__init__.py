"""What came out: tables and pictures of a finished run."""
