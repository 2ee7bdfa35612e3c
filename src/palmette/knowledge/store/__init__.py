"""Where a graph is kept: SQLite by default, PostgreSQL past one machine, one relational schema for both."""
