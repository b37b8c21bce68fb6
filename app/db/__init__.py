"""What is stored: tables, sessions, reads, writes and the embedded PostgreSQL."""
