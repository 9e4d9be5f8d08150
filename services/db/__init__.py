"""The database: the only package that imports SQLAlchemy. Queries are functions that take a connection and return records."""
