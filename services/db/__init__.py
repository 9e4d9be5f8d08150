"""The database: the only package that imports SQLAlchemy. Queries are functions of a connection that return records."""
