#!/bin/sh
# Deletes slices and their queued resource; they cost nothing from then on.
set -eu

TAKES="name project zone retries backoff dry-run yes"
NEEDS="name project zone"
usage() {
  cat <<'HELP'
delete.sh --name=NAME --project=PROJECT --zone=ZONE [--yes]
Deletes the queued resource with its slices, and with all that lies on their hosts (logs that were
not gathered, workdirs that are not on gs://). Runs there end at once: stop.sh first lets them save.
HELP
}

# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

parse_flags "$@"
look_up
if [ "$STATE" = NONE ]; then
  say "there is no $NAME in $ZONE of $PROJECT."
  exit 0
fi
ask "Delete $NAME ($STATE) in $ZONE of $PROJECT, with all that is on its hosts?"
kind=0
tpus queued-resources delete "$NAME" --force || kind=$?
if [ "$kind" -ne 0 ] && [ "$kind" -ne 5 ]; then
  explain "$kind" "$TMP/err"
  exit "$kind"
fi
[ -n "$DRY_RUN" ] || say "$NAME is deleted."
