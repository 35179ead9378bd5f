#!/bin/sh
# Stops a run on all hosts, after it has saved.
set -eu

TAKES="name project zone num-slices run grace internal-ip retries backoff ssh-timeout dry-run yes"
NEEDS="name project zone"
usage() {
  cat <<'HELP'
stop.sh --name=NAME --project=PROJECT --zone=ZONE [--run=RUN] [--grace=SECONDS] [--yes]
Sends SIGTERM to the run on every host: jaxlt saves and goes, and resumes when launched again. What
is not gone after the grace is killed. The slices stay, and cost.
HELP
}

# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

parse_flags "$@"
look_up
[ "$STATE" = ACTIVE ] || die 8 "$NAME is $STATE: nothing runs there."
ask "Stop $RUN on $NODES?"
SSH_TIMEOUT=$((SSH_TIMEOUT + GRACE))
for node in $NODES; do
  (
    ERR=$TMP/stop.$node
    kind=0
    on_hosts "$node" all "sh jaxlt_host/host.sh stop $RUN $GRACE" >"$TMP/out.$node" || kind=$?
    awk -v node="$node" '$1 == "jaxlt-host" {print "  " node ", host " $2 ": " $3}' "$TMP/out.$node" >&2
    if [ "$kind" -ne 0 ]; then
      explain "$kind" "$ERR"
      : >"$TMP/failed.$node"
    fi
  ) &
done
wait
for node in $NODES; do
  [ ! -f "$TMP/failed.$node" ] || die 10 "not all hosts could be asked to stop; run this again."
done
