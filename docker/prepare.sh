#!/bin/sh
# Runs before the services, on every start. The first time it makes the authorities, the credentials and the database,
# in a folder that no service ever sees. Then it gives each service what that service needs, and nothing else:
#
#   ca       the issuing key with its passphrase, its own credential, the database's owner
#   status   its own credential, and the role of the database that only reads
#   gateway  its own credential
#
# The root key and the key of the credentials' root stay behind. Run it again once a month: it renews the credentials.
set -eu
umask 077
authority=${GOODSTANDING_DATA:-/authority}
services=${SERVICES:-/services}
database=${DATABASE:-database/goodstanding}

if [ ! -e "$authority/config.toml" ]; then
  goodstanding init --data "$authority" --public-url "$PUBLIC_URL" \
    --ca ca:50051 --status status:50052 --http 0.0.0.0:2560 --ops 127.0.0.1:2561 \
    --server-name ca --server-name status \
    --database-url "postgresql://goodstanding:$CA_DATABASE_PASSWORD@$database"
else
  goodstanding db upgrade --data "$authority"
  for name in admin ca-server status-server; do
    goodstanding credential renew "$name" --data "$authority"
  done
fi

# A gateway never writes its OCSP keys down, and one identity holds at most three live responder certificates: so each
# start is a new identity. The one before stays valid while its gateway runs on; the one before that is denied.
if [ -e "$authority/gateway.name" ]; then
  if [ -e "$authority/gateway.before" ]; then
    goodstanding credential deny "$(cat "$authority/gateway.before")" --because "replaced" --data "$authority"
  fi
  mv "$authority/gateway.name" "$authority/gateway.before"
fi
name=gateway-$(date -u +%Y%m%d%H%M%S)
goodstanding credential new --name "$name" --role responder --data "$authority"
echo "$name" >"$authority/gateway.name"

# give SERVICE USER FILE [AS]: a copy for one service, of which its user alone can read what is private.
give() {
  to=$services/$1/${4:-$3}
  mkdir -p "$(dirname "$to")"
  cp "$authority/$3" "$to.new"
  chmod 400 "$to.new"
  mv "$to.new" "$to"
  chown -R "${2}:${2}" "$services/$1"
}

give ca 10001 config.toml
give ca 10001 ca/issuing.key
give ca 10001 secrets/issuing.passphrase
give ca 10001 tls/ca.pem
give ca 10001 tls/ca-server.key
give ca 10001 tls/ca-server.pem

sed "s|^url = .*|url = \"postgresql://goodstanding_status:$STATUS_DATABASE_PASSWORD@$database\"|" \
  "$authority/config.toml" >"$authority/status.toml"
give status 10002 status.toml config.toml
give status 10002 tls/ca.pem
give status 10002 tls/status-server.key
give status 10002 tls/status-server.pem

sed -n '/^\[gateway\]/,$p' "$authority/config.toml" >"$authority/gateway.toml"
give gateway 10003 gateway.toml config.toml
give gateway 10003 tls/ca.pem
give gateway 10003 "tls/$name.key" tls/gateway.key
give gateway 10003 "tls/$name.pem" tls/gateway.pem
rm -f "$authority/status.toml" "$authority/gateway.toml"
