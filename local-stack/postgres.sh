# Postgres: a cluster of its own, on TCP only. Sourced by stack.sh.

# As root the server runs as the package's user `postgres`, since it refuses root.
as_postgres() {
  if ((EUID == 0)); then
    (cd / && exec setpriv --reuid=postgres --regid=postgres --init-groups "$@")
  else
    "$@"
  fi
}

postgres_prepare() {
  local data=$STATE/postgres bin
  bin=$(postgres_bin)
  if [[ ! -f $data/initialised ]]; then
    rm -rf "$data" # a first start that was cut off
    mkdir -m 700 "$data"
    ((EUID != 0)) || chown postgres: "$data"
    as_postgres "$bin/initdb" -D "$data" -U postgres -E UTF8 --locale=C.UTF-8 --auth-host=scram-sha-256 --auth-local=reject \
      >"$STATE/log/initdb.log" 2>&1 || { tail -n 5 "$STATE/log/initdb.log" >&2; die "initdb failed"; }
    # Single-user mode needs no password and opens no port: one statement a line. No superuser can log in over TCP afterwards.
    as_postgres "$bin/postgres" --single -D "$data" postgres >>"$STATE/log/initdb.log" 2>&1 <<'SQL'
CREATE ROLE "user" LOGIN REPLICATION PASSWORD 'password'
CREATE DATABASE streaming_db OWNER "user"
SQL
    as_postgres touch "$data/initialised"
  fi
  as_postgres tee "$data/postgresql.conf" <"$ROOT/local-stack/postgresql.conf" >/dev/null
}

postgres_start() {
  local bin command
  bin=$(postgres_bin)
  command=("$bin/postgres" -D "$STATE/postgres" -p "$POSTGRES_PORT")
  ((EUID != 0)) || command=(setpriv --reuid=postgres --regid=postgres --init-groups "${command[@]}")
  (cd / && launch postgres "${command[@]}")
}

postgres_ready() {
  postgres_client -qAtc 'SELECT 1' >/dev/null 2>&1
}

# The schema is idempotent and runs at every start, so that a newer clone finds what it needs.
postgres_complete() {
  local file
  for file in "$ROOT"/init-db/*.sql; do
    postgres_client -q -v ON_ERROR_STOP=1 <"$file" >>"$STATE/log/init-db.log" 2>&1 ||
      die "$(basename "$file") failed: $(tail -n 1 "$STATE/log/init-db.log")"
  done
}

postgres_outdated() { return 1; }

postgres_address() { echo "127.0.0.1:$POSTGRES_PORT"; }

postgres_client() {
  PGPASSWORD=password PGCONNECT_TIMEOUT=10 psql -h 127.0.0.1 -p "$POSTGRES_PORT" -U user -d streaming_db "$@"
}
