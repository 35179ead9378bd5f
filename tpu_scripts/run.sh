#!/bin/sh
# Keeps one run going until it is done, whatever happens to the slices.
set -eu

TAKES="name project zone accelerator-type runtime-version num-slices spot create-flags package files python run command logs every grace max-restarts max-crashes max-silent internal-ip retries backoff ssh-timeout dry-run yes"
NEEDS="name project zone accelerator-type command"
usage() {
  cat <<'HELP'
run.sh --name=NAME --project=PROJECT --zone=ZONE --accelerator-type=TYPE [--spot] -- jaxlt train ...
Creates the slices if they are not there, sets them up, launches the command, and watches it. Slices
that were taken away (SUSPENDED, FAILED, PREEMPTED) are deleted and asked for again, and the same
command is launched again: jaxlt resumes from its workdir, which has to outlive the hosts (gs://).
This script may be ended and started again at any time; the slices stay when the run is done. Exit
status: 0 done, 2 the command is wrong, 3 quota, 11 stopped, or given up.
HELP
}

# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

noted=
note() { # says it unless it was said last
  [ "$noted" = "$*" ] || say "$SCRIPT: $*"
  noted=$*
}

# Asks for the slices; quota that slices just lost still hold comes back after a while.
create() {
  create_left=$RETRIES create_delay=$BACKOFF
  while :; do
    create_kind=0
    sh "$HERE/create.sh" || create_kind=$?
    case $create_kind in
      0 | 4) return ;;
      3) [ "$restarts" -gt 0 ] || exit 3 ;;
      7) ;;
      *) exit "$create_kind" ;;
    esac
    [ "$create_left" -gt 0 ] || exit "$create_kind"
    create_left=$((create_left - 1))
    pause "$create_delay"
    create_delay=$((create_delay * 2))
  done
}

# What was taken away is cleared away; the next look finds nothing there, and creates.
clear_away() { # WHY
  restarts=$((restarts + 1)) silent=0 winding=0
  note "$NAME is $1."
  if [ "$1" = FAILED ]; then
    failure_message >"$TMP/why"
    explain "$(failure_kind 1 "$TMP/why")" "$TMP/why"
  fi
  [ "$restarts" -le "$MAX_RESTARTS" ] || die 11 "given up after $MAX_RESTARTS restarts" \
    "(--max-restarts). What is saved stays; run.sh again goes on."
  sh "$HERE/delete.sh" --yes || note "$NAME could not be deleted; the next look tries again"
}

launch() {
  if sh "$HERE/setup.sh" && sh "$HERE/launch.sh" --command="$COMMAND"; then
    failures=0
    return
  fi
  failures=$((failures + 1))
  [ "$failures" -le "$RETRIES" ] || die 10 "given up: $NAME could not be set up and launched" \
    "$failures times in a row."
}

give_up() { # STATUS TEXT
  gather_logs all
  print_survey >&2
  die "$@" "Logs: $LOGS/$NAME/$RUN"
}

# Asked to go on every host, by whoever it was: no fault of the command.
saved() {
  restarts=$((restarts + 1)) winding=0
  [ "$restarts" -le "$MAX_RESTARTS" ] || give_up 11 "$RUN was asked to go $restarts times."
  gather_logs all
  note "$RUN was asked to go, and has saved; it is launched again."
  launch
}

crashed() {
  crashes=$((crashes + 1)) winding=0
  [ "$crashes" -le "$MAX_CRASHES" ] || give_up 11 "$RUN has ended in an error $crashes times."
  gather_logs all
  print_survey >&2
  note "$RUN has crashed ($crashes of at most $MAX_CRASHES times); it is launched again."
  launch
}

# Some hosts have ended and others not: these get as long as a stopped run to see it.
wind_up() {
  winding=$((winding + 1))
  note "$RUN has ended on some hosts only"
  if [ "$(awk -v n="$winding" -v s="$POLL" -v g="$GRACE" 'BEGIN {print (n * s >= g && n > 2)}')" -eq 1 ]; then
    sh "$HERE/stop.sh" --yes || note "not all of $RUN could be stopped"
    crashed
  fi
}

# Slices are deleted only if Google says that they went (a queued resource may be called ACTIVE for
# long after that), or if hosts are dead while others are there and run nothing.
lost_hosts() {
  if grep -Eq ' silent (PREEMPTED|TERMINATED|STOPPED|NONE)' "$TMP/survey"; then
    clear_away PREEMPTED
  elif [ "$silent" -gt "$MAX_SILENT" ]; then
    if grep -qv ' silent' "$TMP/survey" && ! grep -q ' running ' "$TMP/survey"; then
      clear_away "without some of its hosts"
    else
      die 11 "$NAME is ACTIVE but its hosts do not answer to ssh; watch.sh looks again, run.sh goes on."
    fi
  fi
}

look_after() {
  survey
  case $RUN_STATE in
    silent) silent=$((silent + 1)) ;;
    *) silent=0 ;;
  esac
  case $RUN_STATE in
    absent | partial) launch ;;
    running)
      note "$RUN is running on $NODES"
      ! awk '$4 < 3600 {exit 1}' "$TMP/survey" || crashes=0
      gather_logs 0
      ;;
    winding) wind_up ;;
    saved) saved ;;
    crashed) crashed ;;
    done)
      gather_logs all
      note "$RUN is done. Logs: $LOGS/$NAME/$RUN"
      exit 0
      ;;
    wrong) give_up 2 "$RUN ended in an error that starting again does not mend." ;;
    stopped) give_up 11 "$RUN was stopped; run.sh again goes on." ;;
    silent)
      note "$(grep -c ' silent' "$TMP/survey") of $(wc -l <"$TMP/survey" | tr -d ' ') hosts do not answer"
      lost_hosts
      ;;
  esac
}

parse_flags "$@"
if [ -n "$DRY_RUN" ]; then
  for step in create setup launch; do
    case $step in launch) set -- --command="$COMMAND" ;; *) set -- ;; esac
    sh "$HERE/$step.sh" "$@"
  done
  sh "$HERE/watch.sh"
  exit 0
fi
ask "Create $NAME ($NUM_SLICES x $ACCELERATOR_TYPE) if it is not there, and delete and create it anew whenever it is taken away?"
find_wheel
PACKAGE=$WHEEL PATIENT=yes
restarts=0 crashes=0 failures=0 silent=0 winding=0
while :; do
  look_up
  case $STATE in
    NONE) create ;;
    ACTIVE) look_after ;;
    SUSPENDED | FAILED) clear_away "$STATE" ;;
    *) note "$NAME is $STATE" ;;
  esac
  pause "$POLL"
done
