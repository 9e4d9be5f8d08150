#!/bin/sh
# PostgreSQL's first start: the owner for ca, and a role for status that reads and can do nothing else.
set -eu
psql --no-psqlrc --username postgres --dbname postgres --set ON_ERROR_STOP=1 \
  --set owner="$CA_DATABASE_PASSWORD" --set reader="$STATUS_DATABASE_PASSWORD" <<'SQL'
CREATE ROLE goodstanding LOGIN PASSWORD :'owner';
CREATE ROLE goodstanding_status LOGIN PASSWORD :'reader';
CREATE DATABASE goodstanding OWNER goodstanding;
REVOKE ALL ON DATABASE goodstanding FROM PUBLIC;
GRANT CONNECT ON DATABASE goodstanding TO goodstanding_status;
ALTER ROLE goodstanding_status SET default_transaction_read_only = on;
\connect goodstanding
GRANT USAGE ON SCHEMA public TO goodstanding_status;
ALTER DEFAULT PRIVILEGES FOR ROLE goodstanding IN SCHEMA public GRANT SELECT ON TABLES TO goodstanding_status;
SQL
