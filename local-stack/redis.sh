# Redis. Sourced by stack.sh.

redis_prepare() { mkdir -p "$STATE/redis"; }

redis_start() {
  launch redis redis-server "$ROOT/redis/redis.conf" --port "$REDIS_PORT" --dir "$STATE/redis"
}

redis_ready() {
  [[ $(redis-cli -p "$REDIS_PORT" ping 2>/dev/null) == PONG ]]
}

redis_complete() { :; }

redis_outdated() { return 1; }

redis_address() { echo "127.0.0.1:$REDIS_PORT"; }
