#!/bin/sh
# Shows how slices and run are doing, and gathers the hosts' logs.
set -eu

TAKES="name project zone num-slices run logs every once internal-ip retries backoff ssh-timeout dry-run"
NEEDS="name project zone"
usage() {
  cat <<'HELP'
watch.sh --name=NAME --project=PROJECT --zone=ZONE [--run=RUN] [--logs=FOLDER] [--once]
Prints the state of the queued resource, of its slices, and of the run on every host with the last
line of its log; the logs come to LOGS/NAME/RUN/. Looks again and again until the run ends. Exit
status: 0 the run is done, 8 the slices are not there, 11 it ended otherwise (with --once: 0).
HELP
}

# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

look() {
  look_up
  echo "$NAME: $STATE"
  RUN_STATE=silent
  [ "$STATE" = ACTIVE ] || return 0
  survey
  cat "$TMP/slices"
  print_survey
  gather_logs all
}

parse_flags "$@"
if [ -n "$DRY_RUN" ]; then
  look >/dev/null
  exit 0
fi
while :; do
  look
  [ -z "$ONCE" ] || exit 0
  case $STATE in SUSPENDED | FAILED | NONE) die 8 "$NAME is $STATE. run.sh creates anew and goes on." ;; esac
  case $RUN_STATE in
    done) exit 0 ;;
    absent) die 11 "$RUN was not launched on $NAME." ;;
    stopped | wrong | saved | crashed) die 11 "$RUN has $RUN_STATE; logs: $LOGS/$NAME/$RUN" ;;
  esac
  pause "$POLL"
done
