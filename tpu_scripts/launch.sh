#!/bin/sh
# Starts a command on every host of the slices.
set -eu

TAKES="name project zone num-slices run command internal-ip retries backoff ssh-timeout dry-run"
NEEDS="name project zone command"
usage() {
  cat <<'HELP'
launch.sh --name=NAME --project=PROJECT --zone=ZONE [--run=RUN] -- jaxlt train --gin_file=...
Starts the command on all hosts of all slices; it goes on when this script has ended. The hosts find
each other by themselves. Refuses while a host is down, is not set up, or runs something else.
HELP
}

# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

parse_flags "$@"
require_hosts ready
for node in $NODES; do # all at once, as they wait for one another
  (
    ERR=$TMP/launch.$node
    kind=0
    on_hosts "$node" all "sh jaxlt_host/host.sh start $RUN $(quote "$COMMAND")" \
      >"$TMP/out.$node" || kind=$?
    if [ "$kind" -ne 0 ]; then
      say "$node could not be launched in whole:"
      explain "$kind" "$ERR"
      : >"$TMP/failed.$node"
    fi
  ) &
done
wait
for node in $NODES; do
  [ ! -f "$TMP/failed.$node" ] || die 10 "the run is not on all hosts: launch it again (what has" \
    "started stays), or stop.sh --name=$NAME --run=$RUN."
done
[ -n "$DRY_RUN" ] || say "$RUN is started on $NODES."
