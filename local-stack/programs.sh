# What this repository builds: the engine, the webhook receiver and the data generator. Sourced by stack.sh.
# A program that was built anew, or an engine whose pipeline changed, is outdated: `up` starts it again.

outdated() { # PART FILE...
  local part=$1 file
  shift
  for file in "$@"; do
    [[ ! $file -nt $STATE/run/$part.pid ]] || return 0
  done
  return 1
}

program_of() { # PART
  local -A programs=([engine]=highwater [receiver]=webhook-receiver [generator]=datagen)
  echo "$BIN/${programs[$1]}"
}

# What `./stack.sh env` prints is what the programs get: through the environment, never on a command line.
environment() {
  # shellcheck source=/dev/null
  source <(env_exports)
}

engine_prepare() { ensure_secret; }

engine_start() (
  environment
  export HIGHWATER_LISTEN=127.0.0.1:$ENGINE_PORT
  launch engine "$(program_of engine)" run "$ROOT/pipelines/engagement.toml"
)

engine_ready() { curl -sf -m 5 -o /dev/null "http://127.0.0.1:$ENGINE_PORT/ready"; }

engine_complete() { :; }

engine_outdated() { outdated engine "$(program_of engine)" "$ROOT/pipelines/engagement.toml"; }

engine_address() { echo "http://127.0.0.1:$ENGINE_PORT"; }

receiver_prepare() {
  ensure_secret
  mkdir -p "$STATE/receiver"
}

receiver_start() (
  environment
  export RECEIVER_LISTEN=127.0.0.1:$RECEIVER_PORT RECEIVER_DB=$STATE/receiver/events.sqlite
  launch receiver "$(program_of receiver)"
)

receiver_ready() { curl -sf -m 5 -o /dev/null "http://127.0.0.1:$RECEIVER_PORT/health"; }

receiver_complete() { :; }

receiver_outdated() { outdated receiver "$(program_of receiver)"; }

receiver_address() { echo "http://127.0.0.1:$RECEIVER_PORT"; }

generator_prepare() { :; }

generator_start() (
  environment
  launch generator "$(program_of generator)" engagement --rate "${GENERATOR_RATE:-2}"
)

# It serves nothing; that it lives is all that can be known.
generator_ready() { running generator; }

generator_complete() { :; }

generator_outdated() { outdated generator "$(program_of generator)"; }

generator_address() { echo "${GENERATOR_RATE:-2} events/s"; }
