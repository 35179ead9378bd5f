# shellcheck shell=sh disable=SC2034 # (what is set here is used by the scripts)
# What the scripts of this folder share: flags, questions, gcloud with retries, slices and hosts.
# A script sets TAKES (its flags) and NEEDS (those it cannot do without), defines usage(), sources
# this file, and calls `parse_flags "$@"`. What is not a flag but printed by a function goes to
# stdout; messages go to stderr; what --dry-run would have done goes to the script's own stdout.

exec 3>&1
SCRIPT=${0##*/}
HERE=$(cd "$(dirname "$0")" && pwd)
TMP=$(mktemp -d)
TRIES=''         # in place of RETRIES, where set
PATIENT=''       # yes: an answer that does not come now may come later
ASKING_RETRIES=0 # how often a question to the hosts is repeated
trap 'rm -rf "$TMP"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Every flag: its name (! = a switch), its variable, its default, what it says. All but --yes,
# --once, --wait, --keep and --command can be given in the environment as well.
flag_table() {
  cat <<'TABLE'
name|NAME||the queued resource; its slices are NAME, or NAME-0, NAME-1, ... of several
project|PROJECT||the Google Cloud project
zone|ZONE||where, such as us-central2-b
accelerator-type|ACCELERATOR_TYPE||of one slice: v5litepod-256, v4-512, or a topology: v5e:16x16, v4:8x8x4
runtime-version|RUNTIME_VERSION||the hosts' software (by default the one for the accelerator type)
num-slices|NUM_SLICES|1|slices that train one model together
spot!|SPOT||cheaper, and may be taken away at any time
create-flags|CREATE_FLAGS||more flags for `gcloud ... queued-resources create`, in one text
internal-ip!|INTERNAL_IP||hosts have no external addresses; ssh from inside the network
wait!|WAIT||return when the slices are there
package|PACKAGE||a wheel of jaxlt, or its source folder (by default this one)
files|FILES||a file or folder (gin files, own methods) to copy to where the command runs
python|HOST_PYTHON|3.12|Python on the hosts
run|RUN||name of the run on the hosts (by default that of the queued resource)
command|COMMAND||the command as one line of shell, instead of `-- COMMAND ...`
logs|LOGS|tpu_logs|folder in which the hosts' logs are gathered
every|POLL|30|seconds between two looks
once!|ONCE||look once
grace|GRACE|120|seconds in which a stopped run may save, before it is killed
max-restarts|MAX_RESTARTS|100|how often slices that were taken away are asked for again
max-crashes|MAX_CRASHES|3|how often a command that ended in an error is started again (an hour's work clears it)
max-silent|MAX_SILENT|20|looks at hosts that do not answer, before a run is given up for lost
runs|RUNS||file of the sweep: on each line a name and a command
slices|SLICES|1|how many runs of the sweep go at the same time, each on slices of its own
keep!|KEEP||leave the slices after the last run
retries|RETRIES|5|how often a call that failed in passing is repeated
backoff|BACKOFF|5|seconds before the first repetition; twice as long before each next one
ssh-timeout|SSH_TIMEOUT|180|seconds after which an answer is not waited for any longer
dry-run!|DRY_RUN||print the commands, call nothing
yes!|YES||do not ask
TABLE
}

say() { printf '%s\n' "$*" >&2; }
warn() { say "$SCRIPT: $*"; }
die() { # STATUS TEXT
  die_status=$1
  shift
  warn "$*"
  exit "$die_status"
}

# Arguments as one line of shell that gives them back.
quote() {
  quote_line=
  for quote_word; do
    case $quote_word in
      '' | *[!A-Za-z0-9_./:=,@%+-]*)
        quote_word="'$(printf '%s' "$quote_word" | sed "s/'/'\\\\''/g")'"
        ;;
    esac
    quote_line="$quote_line $quote_word"
  done
  printf '%s' "${quote_line# }"
}

# ---- flags

help_flags() {
  say ""
  for help_name in $TAKES; do
    flag_table | awk -F'|' -v name="$help_name" '
      $1 == name || $1 == name "!" {
        flag = "--" name; if ($1 == name) flag = flag "=" $2
        printf "  %-36s %s%s\n", flag, $4, ($3 == "" ? "" : " (" $3 ")")
      }' >&2
  done
}

# The flag of this script that is nearest to $1, as a question; nothing where none is near.
nearest_flag() {
  printf '%s\n' "$TAKES help" | tr ' ' '\n' | awk -v word="$1" '
    function least(a, b) { return a < b ? a : b }
    function distance(s, t,   i, j, m, n, d) {
      m = length(s); n = length(t)
      for (i = 0; i <= m; i++) d[i, 0] = i
      for (j = 0; j <= n; j++) d[0, j] = j
      for (i = 1; i <= m; i++) for (j = 1; j <= n; j++)
        d[i, j] = least(least(d[i - 1, j] + 1, d[i, j - 1] + 1),
                        d[i - 1, j - 1] + (substr(s, i, 1) != substr(t, j, 1)))
      return d[m, n]
    }
    $0 != "" {
      score = distance(word, $0) / (length(word) + length($0))
      if (index($0, word) == 1) score = 0
      if (best == "" || score < least_score) { best = $0; least_score = score }
    }
    END { if (least_score <= 0.3) printf " Did you mean --%s?", best }'
}

# Sets the variable of flag $1 to $2.
set_flag() {
  set_variable=$(flag_table | awk -F'|' -v name="$1" '$1 == name || $1 == name "!" {print $2}')
  eval "$set_variable=\$2"
}

is_switch() { flag_table | grep -q "^$1!|"; }

# Reads the flags; what follows `--` becomes the text COMMAND.
parse_flags() {
  # shellcheck disable=SC2034 # flags alone decide over these, not the environment
  YES='' ONCE='' WAIT='' KEEP='' COMMAND=''
  while IFS='|' read -r _ parse_variable parse_default _; do
    eval "$parse_variable=\${$parse_variable:-\$parse_default}"
  done <<TABLE
$(flag_table)
TABLE
  while [ $# -gt 0 ]; do
    case $1 in
      -h | --help) usage && help_flags && exit 0 ;;
      --) shift && break ;;
      --?*) parse_name=${1#--} && parse_name=${parse_name%%=*} ;;
      *) die 2 "'$1' is no flag. What is to run on the hosts follows '--'; --help says more." ;;
    esac
    case " $TAKES " in
      *" $parse_name "*) ;;
      *) die 2 "there is no flag --$parse_name here.$(nearest_flag "$parse_name") --help lists them." ;;
    esac
    case $1 in
      *=*) parse_value=${1#*=} ;;
      *) if is_switch "$parse_name"; then
        parse_value=1
      else
        [ $# -ge 2 ] || die 2 "--$parse_name wants a value: --$parse_name=..."
        shift
        parse_value=$1
      fi ;;
    esac
    set_flag "$parse_name" "$parse_value"
    shift
  done
  [ $# -eq 0 ] || COMMAND=$(quote "$@")
  check_settings
  export NAME PROJECT ZONE ACCELERATOR_TYPE RUNTIME_VERSION NUM_SLICES SPOT CREATE_FLAGS \
    INTERNAL_IP PACKAGE FILES HOST_PYTHON RUN LOGS POLL GRACE MAX_RESTARTS MAX_CRASHES MAX_SILENT \
    RETRIES BACKOFF SSH_TIMEOUT DRY_RUN # for the scripts that this one calls
}

# Dies where a needed setting is missing or one makes no sense.
check_settings() {
  for check_name in $NEEDS; do
    check_row=$(flag_table | grep "^$check_name!*|")
    check_variable=$(printf '%s' "$check_row" | cut -d'|' -f2)
    eval "check_value=\$$check_variable"
    [ -n "$check_value" ] || die 2 "not given: --$check_name, ${check_row##*|}. Give" \
      "--$check_name=... or set $check_variable in the environment."
  done
  for check_variable in SPOT INTERNAL_IP DRY_RUN; do
    eval "check_value=\$$check_variable"
    case $check_value in
      '' | 0 | no | false) eval "$check_variable=" ;;
      1 | yes | true) eval "$check_variable=1" ;;
      *) die 2 "$check_variable is 1 or 0, not '$check_value'." ;;
    esac
  done
  for check_variable in NUM_SLICES SLICES MAX_RESTARTS MAX_CRASHES MAX_SILENT RETRIES BACKOFF GRACE \
    SSH_TIMEOUT; do
    eval "check_value=\$$check_variable"
    case $check_value in
      '' | *[!0-9]*) die 2 "$check_variable is a whole number, not '$check_value'." ;;
    esac
  done
  case $POLL in '' | *[!0-9.]* | *.*.*) die 2 "--every is a number of seconds, not '$POLL'." ;; esac
  [ "$NUM_SLICES" -ge 1 ] || die 2 "--num-slices is at least 1."
  [ "$SLICES" -ge 1 ] || die 2 "--slices is at least 1."
  RUN=${RUN:-$NAME}
  case $NAME in
    [!a-z]* | *[!a-z0-9-]* | *-) die 2 "--name begins with a small letter, and goes on with small" \
      "letters, digits and '-' within: not '$NAME'." ;;
  esac
  case $RUN in *[!A-Za-z0-9._-]* | .*) die 2 "--run has letters, digits, '.', '_' and '-': not '$RUN'." ;; esac
}

# Goes on only if a person says yes, or said --yes.
ask() {
  [ -z "$YES$DRY_RUN" ] || return 0
  [ -t 0 ] || die 2 "$* This needs --yes, as there is no terminal to ask on."
  printf '%s [y/N] ' "$*" >&2
  read -r ask_answer || ask_answer=
  case $ask_answer in y | Y | yes | Yes) ;; *) die 1 "nothing done." ;; esac
}

# Sleeps, but hears signals meanwhile.
pause() {
  sleep "$1" &
  wait "$!"
}

# Sets WHEEL: $PACKAGE itself, or what is built from that folder.
find_wheel() {
  PACKAGE=${PACKAGE:-$(dirname "$HERE")}
  case $PACKAGE in
    *.whl)
      [ -f "$PACKAGE" ] || die 2 "--package=$PACKAGE is not there."
      WHEEL=$PACKAGE
      return
      ;;
  esac
  [ -f "$PACKAGE/pyproject.toml" ] || die 2 "--package is a wheel (....whl) or the source folder" \
    "of jaxlt (with pyproject.toml), not '$PACKAGE'."
  set -- "${PYTHON:-python3}" -m pip wheel -q --no-deps --wheel-dir "$TMP/wheel" "$PACKAGE"
  if [ -n "$DRY_RUN" ]; then
    printf '%s\n' "$(quote "$@")" >&3
    WHEEL=$TMP/wheel/jaxlt.whl
    return
  fi
  "$@" >&2 || die 2 "no wheel could be built from $PACKAGE; PYTHON=... picks another Python," \
    "--package=....whl a wheel that is there."
  WHEEL=$(ls "$TMP"/wheel/*.whl)
}

# ---- gcloud

# Sorts a failure: 3 quota, 4 there already, 5 not found, 6 not allowed, 7 in passing, 1 else.
failure_kind() { # STATUS FILE_OF_MESSAGES
  if grep -Eq '[Qq]uota|RESOURCE_EXHAUSTED' "$2"; then
    echo 3
  elif grep -q 'ALREADY_EXISTS' "$2"; then
    echo 4
  elif grep -Eq 'NOT_FOUND|was not found' "$2"; then
    echo 5
  elif grep -Eq 'PERMISSION_DENIED|UNAUTHENTICATED|gcloud auth login' "$2"; then
    echo 6
  elif [ "$1" -eq 255 ] || [ "$1" -eq 124 ] || grep -Eq 'UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|[^_A-Z]INTERNAL[^_A-Z]|HttpError 50|exit status 255|timed out|Connection (reset|refused|closed)' "$2"; then
    echo 7
  else
    echo 1
  fi
}

# Says what a person can do about a failure of that kind.
explain() { # KIND FILE_OF_MESSAGES
  [ ! -s "$2" ] || sed 's/^/  /' "$2" >&2
  case $1 in
    3) warn "the quota of $PROJECT does not allow it. Ask for less (--accelerator-type," \
      "--num-slices), another --zone, or --spot (a quota of its own); delete queued resources that" \
      "are SUSPENDED or FAILED, as they count (gcloud compute tpus queued-resources list" \
      "--project=$PROJECT --zone=$ZONE); or ask for more quota (Cloud TPU API, IAM & Admin > Quotas)." ;;
    4) warn "$NAME is there already: take another --name, go on with it (launch.sh, run.sh), or" \
      "delete it (delete.sh --name=$NAME)." ;;
    5) warn "there is no $NAME in $ZONE of $PROJECT: check --name, --zone and --project, or create" \
      "it (create.sh --name=$NAME)." ;;
    6) warn "not allowed: sign in (gcloud auth login), check --project=$PROJECT, and that the" \
      "account may use Cloud TPU there (roles/tpu.admin)." ;;
    7) warn "still failing after $RETRIES repetitions; try again later." ;;
  esac
}

# gcloud compute tpus ARGUMENTS: its output, with repetitions of what fails in passing. Returns
# failure_kind's number; messages of the last call are in $ERR.
tpus() {
  tpus_err=${ERR:-$TMP/err}
  if [ -n "$DRY_RUN" ]; then
    printf '%s\n' "$(quote gcloud compute tpus "$@" --project="$PROJECT" --zone="$ZONE" --quiet)" >&3
    return 0
  fi
  command -v gcloud >/dev/null || die 2 "gcloud is not installed: https://cloud.google.com/sdk"
  tpus_left=${TRIES:-$RETRIES} tpus_delay=$BACKOFF tpus_limit=
  [ "${1-}" != tpu-vm ] || ! command -v timeout >/dev/null || tpus_limit="timeout $SSH_TIMEOUT"
  while :; do
    tpus_status=0
    # shellcheck disable=SC2086 # two words or none
    $tpus_limit gcloud compute tpus "$@" --project="$PROJECT" --zone="$ZONE" --quiet \
      >"$tpus_err.out" 2>"$tpus_err" </dev/null || tpus_status=$?
    tpus_kind=0
    [ "$tpus_status" -eq 0 ] || tpus_kind=$(failure_kind "$tpus_status" "$tpus_err")
    [ "$tpus_kind" -eq 7 ] && [ "$tpus_left" -gt 0 ] || break
    tpus_left=$((tpus_left - 1))
    say "  gcloud failed in passing; again in $tpus_delay s ($tpus_left repetitions left)"
    pause "$tpus_delay"
    tpus_delay=$((tpus_delay * 2))
  done
  cat "$tpus_err.out"
  return "$tpus_kind"
}

# Sets STATE of the queued resource (NONE where there is none) and NODES, the names of its slices.
look_up() {
  NODES=$NAME STATE=ACTIVE
  if [ -n "$DRY_RUN" ]; then
    [ "$NUM_SLICES" -eq 1 ] || NODES=$(numbered "$NAME" "$NUM_SLICES")
    return 0
  fi
  look_kind=0
  look_row=$(tpus queued-resources describe "$NAME" --format='csv[no-heading,separator="|"](state.state,tpu.nodeSpec[].nodeId.list(separator=" "),tpu.nodeSpec[0].multisliceParams.nodeCount)') || look_kind=$?
  case $look_kind$PATIENT in
    0*) ;;
    5*) STATE=NONE NODES='' && return 0 ;;
    7yes) STATE=UNKNOWN NODES='' && return 0 ;;
    *) explain "$look_kind" "$TMP/err" && exit "$look_kind" ;;
  esac
  STATE=${look_row%%|*} look_count=${look_row##*|}
  look_ids=${look_row#*|} && look_ids=${look_ids%|*}
  if [ -n "$look_count" ]; then
    NODES=$(numbered "$NAME" "$look_count")
  elif [ -n "$look_ids" ] && [ "$look_ids" != None ]; then
    NODES=$look_ids
  fi
}

numbered() { # PREFIX COUNT: PREFIX-0 PREFIX-1 ...
  awk -v p="$1" -v n="$2" 'BEGIN {for (i = 0; i < n; i++) printf "%s%s-%d", (i ? " " : ""), p, i}'
}

# Why a queued resource failed, in Google's words.
failure_message() {
  tpus queued-resources describe "$NAME" --format='value(state.failedData.error.message)' || true
}

# ---- hosts

# Sets NODE_STATE, NODE_HEALTH and HOSTS (how many) of slice $1.
look_up_node() {
  NODE_STATE=READY NODE_HEALTH=HEALTHY HOSTS=1
  [ -z "$DRY_RUN" ] || return 0
  node_kind=0
  node_row=$(tpus tpu-vm describe "$1" --format='csv[no-heading,separator="|"](state,health,networkEndpoints.len(),networkConfigs.len())') || node_kind=$?
  case $node_kind$PATIENT in
    0*) ;;
    5*) NODE_STATE=NONE NODE_HEALTH='' HOSTS=0 && return 0 ;;
    7yes) NODE_STATE=UNKNOWN NODE_HEALTH='' HOSTS=0 && return 0 ;;
    *) explain "$node_kind" "$TMP/err" && exit "$node_kind" ;;
  esac
  NODE_STATE=${node_row%%|*} node_row=${node_row#*|}
  NODE_HEALTH=${node_row%%|*} node_row=${node_row#*|}
  HOSTS=${node_row%%|*} node_networks=${node_row#*|}
  [ "$node_networks" -le 1 ] || HOSTS=$((HOSTS / node_networks)) # an endpoint a network and host
}

ssh_flags() { # ssh or scp
  printf '%s' "--$1-flag=-oConnectTimeout=10${INTERNAL_IP:+ --internal-ip}"
}

# Runs a line of shell on hosts $2 (all, or a number) of slice $1.
on_hosts() {
  # shellcheck disable=SC2046 # words without spaces
  tpus tpu-vm ssh "$1" --worker="$2" $(ssh_flags ssh) --command="$3"
}

# Asks `host.sh $1` of all hosts of all slices. Lines `SLICE HOST ANSWER...` in file $2, with
# ANSWER = `silent` for hosts that said nothing, `bare` for those that are not set up. What is known of the slices is in $TMP/slices.
ask_hosts() {
  # Before setup.sh there is no host.sh. A host's number comes from where JAX reads it.
  # shellcheck disable=SC2016 # the hosts' shell is to expand this
  ask_command=$(printf 'if [ -f jaxlt_host/host.sh ]; then sh jaxlt_host/host.sh %s; else echo "jaxlt-host $(curl -sfm 5 -H Metadata-Flavor:Google http://metadata.google.internal/computeMetadata/v1/instance/attributes/agent-worker-number) bare"; fi' "$1")
  ask_file=$2
  : >"$ask_file" && : >"$TMP/slices"
  for ask_node in $NODES; do
    look_up_node "$ask_node"
    printf '  %s: %s%s, %s hosts\n' "$ask_node" "$NODE_STATE" "${NODE_HEALTH:+ $NODE_HEALTH}" \
      "$HOSTS" >>"$TMP/slices"
    : >"$TMP/answers"
    if [ "$NODE_STATE" = READY ]; then
      # What passes by itself is seen at the next look, so repetitions only where asked for.
      TRIES=$ASKING_RETRIES
      on_hosts "$ask_node" all "$ask_command" >"$TMP/answers" || true
      TRIES=
    fi
    awk -v node="$ask_node" -v hosts="$HOSTS" -v state="$NODE_STATE" '
      $1 == "jaxlt-host" {
        host = $2; sub(/^jaxlt-host [^ ]+ /, ""); if (!(host in said)) said[host] = $0
      }
      END {
        if (hosts == 0) print node, "-", "silent", state
        for (i = 0; i < hosts; i++) print node, i, ((i in said) ? said[i] : "silent " state)
      }' "$TMP/answers" >>"$ask_file"
  done
}

# Dies with a list unless every host of every slice is up; $1 = `ready` wants them set up and idle.
require_hosts() {
  look_up
  case $STATE in
    ACTIVE) ;;
    NONE) : >"$TMP/none" && explain 5 "$TMP/none" && exit 5 ;;
    *) die 8 "$NAME is $STATE, not ACTIVE: wait for it (create.sh --wait, watch.sh), or let run.sh" \
      "do all of it." ;;
  esac
  ASKING_RETRIES=$RETRIES
  ask_hosts ready "$TMP/ready"
  ASKING_RETRIES=0
  [ -z "$DRY_RUN" ] || return 0
  require_count=$(wc -l <"$TMP/ready" | tr -d ' ')
  refuse_hosts silent "of $require_count hosts do not answer" \
    "Wait until they are up (watch.sh), or delete and create anew (run.sh does)."
  [ "$1" = ready ] || return 0
  refuse_hosts bare "of $require_count hosts are not set up" "Run setup.sh --name=$NAME."
  refuse_hosts "busy" "of $require_count hosts run something else" \
    "Stop that first (stop.sh --name=$NAME --run=...)."
}

refuse_hosts() { # ANSWER WHAT ADVICE
  awk -v run="$RUN" -v answer="$1" '
    $3 == answer && !(answer == "busy" && $4 == run) {
      print "  " $1 ", host " $2 ($4 == "" ? "" : ": " $4)
    }' "$TMP/ready" >"$TMP/refused"
  [ -s "$TMP/refused" ] || return 0
  sed -n 1,40p "$TMP/refused" >&2
  die 8 "$(wc -l <"$TMP/refused" | tr -d ' ') $2; nothing was done. $3"
}

# Statuses of RUN on all hosts in $TMP/survey, and in one word in RUN_STATE: absent, running,
# done, stopped (by stop.sh), wrong (an error that repeating does not mend), saved (asked to go,
# exit status 75), crashed (as with 69: a host was lost, and the others have ended with it), partial
# (not launched on all hosts), winding (some have ended, others not yet), silent (some do not answer).
survey() {
  ask_hosts "status $RUN" "$TMP/survey"
  RUN_STATE=$(awk '
    {count[$3 == "bare" ? "absent" : $3]++}
    $3 == "exited" {codes[$4]++}
    END {
      alive = count["running"]
      wrong = codes[2] + codes[126] + codes[127]
      saved = codes[75] + count["interrupted"]
      if (count["stopped"] && !alive) print "stopped"
      else if (wrong && !alive) print "wrong"
      else if (codes[0] == NR) print "done"
      else if (count["silent"]) print "silent"
      else if (count["absent"] == NR) print "absent"
      else if (alive == NR) print "running"
      else if (alive) print count["absent"] ? "partial" : "winding"
      else if (saved == NR) print "saved"
      else print "crashed"
    }' "$TMP/survey")
}

print_survey() {
  awk '{
    line = $0; sub(/^[^ ]+ [^ ]+ /, "", line); print "  " $1 ", host " $2 ": " line
  }' "$TMP/survey"
}

# Adds what is new in the logs of the hosts that the survey found, to
# LOGS/NAME/RUN/SLICE-host-I.log; $1 = all, or 0 for the first host of each slice. Sixteen at a time.
gather_logs() {
  gather_folder=$LOGS/$NAME/$RUN
  [ -n "$DRY_RUN" ] || mkdir -p "$gather_folder"
  gather_going=0
  while read -r gather_node gather_host gather_answer _; do
    case $gather_answer in silent | absent | bare) continue ;; esac
    [ "$1" = all ] || [ "$gather_host" = "$1" ] || continue
    gather_one "$gather_node" "$gather_host" &
    gather_going=$((gather_going + 1))
    [ $((gather_going % 16)) -ne 0 ] || wait
  done <"$TMP/survey"
  wait
}

gather_one() { # SLICE HOST
  one_file=$gather_folder/$1-host-$2.log
  one_known='- 0' # which log it is, and how much of it is here
  [ ! -f "$one_file.at" ] || one_known=$(cat "$one_file.at")
  ERR=$TMP/log.$1.$2 TRIES=0
  on_hosts "$1" "$2" "sh jaxlt_host/host.sh log $RUN $one_known" >"$ERR.text" || return 0
  [ -z "$DRY_RUN" ] || return 0
  one_head=$(sed -n 's/^jaxlt-log //p;1q' "$ERR.text")
  [ -n "$one_head" ] || return 0
  sed 1d "$ERR.text" >>"$one_file"
  printf '%s\n' "$one_head" >"$one_file.at"
}
