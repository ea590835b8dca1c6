#!/usr/bin/env bash
# From a fresh clone to a live ranking: installs what is missing, builds, starts the whole stack on loopback, and shows it at work.
#
#   ./quick_start.sh [--no-generator]     --no-generator leaves the demo events out
#
# Safe to run again: what is there is kept, what runs keeps running, what was built anew is restarted. `./stack.sh help` tells about ports.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

case "$*" in
  "") parts=(postgres kafka redis connect receiver engine generator) ;;
  --no-generator) parts=(postgres kafka redis connect receiver engine) ;;
  *)
    echo "usage: ./quick_start.sh [--no-generator]" >&2
    exit 2
    ;;
esac
export HIGHWATER_COMMAND="./quick_start.sh${1:+ $1}" # what a remedy tells the user to repeat

show_ranking() {
  local tries=40 rows="" member score
  [[ " ${parts[*]} " == *" generator "* ]] || tries=0 # nothing would come to wait for
  echo "Most engaging content of the last ten minutes (ZREVRANGE engagement:10min 0 4 WITHSCORES):"
  while rows=$(./stack.sh redis-cli ZREVRANGE engagement:10min 0 4 WITHSCORES) && [[ -z $rows ]] && ((tries-- > 0)); do
    sleep 0.5
  done
  [[ -n $rows ]] || echo "  nothing yet; the README has an INSERT to try"
  while read -r member score && [[ -n $member ]]; do
    LC_ALL=C printf '%10.1f s  %s\n' "$score" "$(./stack.sh psql -v member="$member" -At <<<"SELECT title FROM content WHERE id::text = :'member'")"
  done < <(paste - - <<<"$rows")
}

echo "1/4 tools and ports"
./stack.sh prepare "${parts[@]}"
echo "2/4 build (some minutes, the first time)"
cargo build --release --locked --package highwater --package webhook-receiver --package datagen
echo "3/4 start"
./stack.sh up "${parts[@]}"
echo "4/4 ready"

# shellcheck source=/dev/null
source <(./stack.sh env)
receiver=${WEBHOOK_URL%/webhook}
echo
show_ranking
cat <<END

The receiver's /stats:
$(curl -sf -m 5 "$receiver/stats")

Dashboard    $receiver
Engine       $ENGINE_URL/metrics  /health  /ready
Connect      $CONNECT_URL/connectors
Look around  ./stack.sh status | psql | redis-cli | topics | logs engine -f

Stop, keeping the data:   ./stack.sh down
Stop and delete the data: ./stack.sh reset
END
