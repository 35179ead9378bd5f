#!/bin/sh
# Runs the commands of a file, several at a time, each on slices of its own; or workers of a study.
set -eu

TAKES="name project zone accelerator-type runtime-version num-slices spot create-flags package files python runs command slices keep logs every grace max-restarts max-crashes max-silent internal-ip retries backoff ssh-timeout dry-run yes"
NEEDS="name project zone accelerator-type"
usage() {
  cat <<'HELP'
sweep.sh --name=NAME --runs=FILE --slices=4 --project=PROJECT --zone=ZONE --accelerator-type=TYPE
Each line of the file is a name and a command; empty lines and those that begin with # do not count:
  small-lr   jaxlt train --gin_file=runs/pretrain.gin --gin.LEARNING_RATE=1e-4 --gin.WORKDIR=gs://...
  large-lr   jaxlt train --gin_file=runs/pretrain.gin --gin.LEARNING_RATE=1e-3 --gin.WORKDIR=gs://...
NAME-0, NAME-1, ... are kept by run.sh; one that has become free takes the next run. What is done is
remembered in LOGS/NAME.sweep, so the same command goes on with a sweep that was interrupted. The
slices are deleted when no run is left (unless --keep). Exit status: 0 all done, 11 some failed.

Without --runs the command is run on all of them, as by the workers of one study, whose folder all
hosts see (NFS that is mounted on them); each is one host:
  sweep.sh ... --slices=8 -- jaxlt experiment experiments/curse.gin --worker
HELP
}

# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

# Names and commands, a line each, checked; $TMP/runs.
read_runs() {
  case ${RUNS:+runs}${COMMAND:+command} in
    runs) ;;
    command)
      COMMAND=$COMMAND awk -v most="$SLICES" \
        'BEGIN {for (i = 0; i < most; i++) print "worker-" i " " ENVIRON["COMMAND"]}' >"$TMP/runs"
      return
      ;;
    *) die 2 "give either --runs=FILE or, for the workers of a study, \`-- COMMAND ...\`." ;;
  esac
  [ -f "$RUNS" ] || die 2 "--runs=$RUNS is not there."
  sed -e 's/^[[:space:]]*//' -e '/^#/d' -e '/^$/d' "$RUNS" >"$TMP/runs"
  [ -s "$TMP/runs" ] || die 2 "--runs=$RUNS names no run."
  awk '
    NF < 2 {print "\"" $1 "\" has no command"}
    $1 !~ /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/ {print "\"" $1 "\" is no name (letters, digits, . _ -)"}
    seen[$1]++ {print "\"" $1 "\" is there twice"}' "$TMP/runs" >"$TMP/wrong"
  [ ! -s "$TMP/wrong" ] || die 2 "--runs=$RUNS: $(sed -n 1p "$TMP/wrong")."
}

command_of() { awk -v run="$1" '$1 == run {sub(/^[^ \t]+[ \t]+/, ""); print}' "$TMP/runs"; }

# The next run for slice $1: one that it had when the sweep was interrupted, or one that is free.
next_run() {
  while read -r next_name _; do
    if [ "$(cat "$BOOK/$next_name.taken/by" 2>/dev/null)" = "$1" ] && [ ! -f "$BOOK/$next_name.end" ]; then
      echo "$next_name"
      return
    fi
  done <"$TMP/runs"
  while read -r next_name _; do
    if [ ! -f "$BOOK/$next_name.end" ] && mkdir "$BOOK/$next_name.taken" 2>/dev/null; then
      echo "$1" >"$BOOK/$next_name.taken/by"
      echo "$next_name"
      return
    fi
  done <"$TMP/runs"
}

# Runs one after the other on slice $1.
work() {
  keeper=
  trap '[ -z "$keeper" ] || kill -TERM "$keeper"; exit 143' TERM
  while run=$(next_run "$1") && [ -n "$run" ]; do
    say "$run: on $1"
    NAME=$1 RUN=$run sh "$HERE/run.sh" --yes --command="$(command_of "$run")" \
      >>"$BOOK/$1.log" 2>&1 </dev/null &
    keeper=$!
    status=0
    wait "$keeper" || status=$?
    case $status in
      0) end='done' ;;
      3 | 6) # no slices for us; others may have some for this run
        rm -rf "$BOOK/$run.taken"
        say "$1 cannot be had (quota or rights); $BOOK/$1.log says why"
        return
        ;;
      *) end="failed with status $status; $BOOK/$1.log says why" ;;
    esac
    echo "$end" >"$BOOK/$run.end"
    say "$run: $end"
  done
  [ -n "$KEEP" ] || NAME=$1 sh "$HERE/delete.sh" --yes >>"$BOOK/$1.log" 2>&1 </dev/null ||
    say "$1 could not be deleted; do it by delete.sh --name=$1"
}

stop_all() {
  for worker in $workers; do kill -TERM "$worker" 2>/dev/null || true; done
  wait
  say "The runs on the slices go on; the same command takes up the sweep again," \
    "stop.sh and delete.sh end a slice's."
  exit 130
}

parse_flags "$@"
read_runs
names=$(numbered "$NAME" "$SLICES")
if [ -n "$DRY_RUN" ]; then
  # shellcheck disable=SC2086 # names without spaces
  set -- $names
  while read -r run _; do
    NAME=$1 RUN=$run sh "$HERE/run.sh" --dry-run --command="$(command_of "$run")" </dev/null
    shift
    [ $# -gt 0 ] || break
  done <"$TMP/runs"
  exit 0
fi
ask "Create $names ($ACCELERATOR_TYPE), create them anew whenever they are taken away, and delete them in the end?"
find_wheel
PACKAGE=$WHEEL
BOOK=$LOGS/$NAME.sweep
mkdir -p "$BOOK"
workers=
trap stop_all INT TERM
for slice in $names; do
  work "$slice" &
  workers="$workers $!"
done
wait
left=0 failed=0
while read -r run _; do
  end=$(cat "$BOOK/$run.end" 2>/dev/null) || left=$((left + 1))
  case $end in done) ;; failed*) failed=$((failed + 1)) ;; esac
  printf '%-24s %s\n' "$run" "${end:-not run}"
done <"$TMP/runs"
[ $((left + failed)) -eq 0 ] || die 11 "$failed failed, $left did not run. Remove $BOOK/RUN.end to" \
  "run one again; then the same command goes on."
