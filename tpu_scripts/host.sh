#!/bin/sh
# Works on a TPU host for the other scripts, which copy it there: sets up, starts, looks, stops.
# Answers begin with `jaxlt-host NUMBER`, so that those of many hosts can be told apart.
set -eu

usage() {
  cat <<'HELP'
host.sh is copied to the hosts and called there by the other scripts:
  ready                           is this host set up and idle?
  setup STAMP WHEEL PYTHON        a virtual environment with the wheel and its extra `tpu`
  start RUN COMMAND               starts a line of shell that outlives the connection
  status RUN                      absent, running, exited CODE, stopped, interrupted or lost
  stop RUN SECONDS                asks it to save and go; kills it after so many seconds
  log RUN ID BYTES                what its log has beyond what is known
HELP
}

BASE=$(cd "$(dirname "$0")" && pwd)
cd "$BASE"

number() {
  curl -sfm 5 -H Metadata-Flavor:Google \
    http://metadata.google.internal/computeMetadata/v1/instance/attributes/agent-worker-number || echo '?'
}

answer() { printf 'jaxlt-host %s %s\n' "$(number)" "$*"; }
fail() {
  printf 'host.sh: %s\n' "$*" >&2
  exit 1
}

# True if the keeper of run $1 lives; a process that merely has its number does not count.
alive() {
  [ -f "runs/$1/pid" ] || return 1
  pid=$(cat "runs/$1/pid")
  [ -r "/proc/$pid/cmdline" ] && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q "host.sh keep $1 "
}

busy_run() {
  for folder in runs/*/; do
    name=${folder#runs/} && name=${name%/}
    if alive "$name"; then
      printf '%s' "$name"
      return
    fi
  done
}

ready() {
  going=$(busy_run)
  if [ -n "$going" ]; then
    answer busy "$going"
  elif [ -f stamp ]; then
    answer ready
  else
    answer bare
  fi
}

setup() { # STAMP WHEEL PYTHON
  if [ -f stamp ] && [ "$(cat stamp)" = "$1" ]; then
    answer ready unchanged
    return
  fi
  going=$(busy_run)
  [ -z "$going" ] || fail "run $going uses the environment; stop it first"
  rm -f stamp
  PATH=$HOME/.local/bin:$PATH
  command -v uv >/dev/null || python3 -m pip install -q --user 'uv>=0.8,<1'
  uv venv -q --clear --python "$3" env
  uv pip install -q --python env/bin/python "./$2[tpu]"
  printf '%s\n' "$1" >stamp
  answer ready
}

start() { # RUN COMMAND
  going=$(busy_run)
  if [ "$going" = "$1" ]; then
    answer running
    return
  fi
  [ -z "$going" ] || fail "run $going is still going on this host"
  mkdir -p "runs/$1" files
  rm -f "runs/$1/status" "runs/$1/asked"
  [ -f "runs/$1/id" ] || printf '%s-%s\n' "$(date +%s)" "$$" >"runs/$1/id"
  printf '%s\n' "$2" >"runs/$1/command"
  date +%s >"runs/$1/began"
  nohup setsid sh "$BASE/host.sh" keep "$1" now >>"runs/$1/log" 2>&1 </dev/null &
  printf '%s\n' "$!" >"runs/$1/pid"
  left=50
  until alive "$1" || [ -f "runs/$1/status" ] || [ "$left" -eq 0 ]; do
    sleep 0.1
    left=$((left - 1))
  done
  answer started
}

# Runs the command of run $1, hands SIGTERM on to it, and writes down how it ended. SIGTERM comes
# from stop.sh, or from a machine that is taken away: jaxlt then saves and ends with 75, and other
# commands with whatever they like.
keep() {
  asked='' child=''
  trap 'asked=1; [ -z "$child" ] || kill -TERM "$child" || true' TERM
  command=$(cat "runs/$1/command")
  printf '== %s: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$command"
  (cd files && PATH=$BASE/env/bin:$PATH exec sh -c "exec env $command") &
  child=$!
  [ -z "$asked" ] || kill -TERM "$child" # it came before there was a child
  code=0
  wait "$child" || code=$?
  while kill -0 "$child" 2>/dev/null; do # the wait was interrupted by the trap
    code=0
    wait "$child" || code=$?
  done
  end="exited $code"
  [ -z "$asked" ] || end=interrupted
  [ ! -f "runs/$1/asked" ] || end=stopped
  printf '== %s: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$end"
  printf '%s\n' "$end" >"runs/$1/status.new"
  mv "runs/$1/status.new" "runs/$1/status"
}

status() { # RUN
  last=$(tail -n 20 "runs/$1/log" 2>/dev/null | grep -v '^== ' | tail -n 1 | cut -c 1-160)
  if [ ! -f "runs/$1/pid" ]; then
    answer absent
  elif [ -f "runs/$1/status" ]; then
    answer "$(cat "runs/$1/status") | $last"
  elif alive "$1"; then
    answer "running $(($(date +%s) - $(cat "runs/$1/began"))) s | $last"
  else
    answer "lost | $last"
  fi
}

stop() { # RUN SECONDS
  if ! alive "$1"; then
    answer idle
    return
  fi
  : >"runs/$1/asked"
  kill -TERM "$pid"
  left=$2
  while alive "$1" && [ "$left" -gt 0 ]; do
    sleep 1
    left=$((left - 1))
  done
  if alive "$1"; then
    kill -KILL -- "-$pid" # the whole session
    echo stopped >"runs/$1/status"
    answer killed
  else
    answer stopped
  fi
}

log() { # RUN ID BYTES
  [ -f "runs/$1/log" ] || fail "run $1 has no log here"
  id=$(cat "runs/$1/id")
  from=$3
  [ "$id" = "$2" ] || from=0 # another log than the one that was read before
  size=$(wc -c <"runs/$1/log" | tr -d ' ')
  printf 'jaxlt-log %s %s\n' "$id" "$size"
  tail -c "+$((from + 1))" "runs/$1/log" | head -c "$((size - from))"
}

case ${1-} in
  ready | setup | start | keep | status | stop | log)
    "$@"
    exit # rather than read on, as setup.sh may have replaced this file meanwhile
    ;;
  -h | --help) usage ;;
  *)
    usage >&2
    exit 2
    ;;
esac
