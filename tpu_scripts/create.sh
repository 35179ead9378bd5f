#!/bin/sh
# Asks Google Cloud for one TPU slice, or for several that train together.
set -eu

TAKES="name project zone accelerator-type runtime-version num-slices spot create-flags internal-ip wait every retries backoff dry-run"
NEEDS="name project zone accelerator-type"
usage() {
  cat <<'HELP'
create.sh --name=NAME --project=PROJECT --zone=ZONE --accelerator-type=TYPE [--spot] [--wait]
Puts a request for TPU slices in the queue (gcloud compute tpus queued-resources create). It is
served when there are chips; it costs money from then until delete.sh.
HELP
}

# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

# The runtime version that goes with an accelerator type.
runtime_version() {
  case $ACCELERATOR_TYPE in
    v6e*) echo v2-alpha-tpuv6e ;;
    v5p*) echo v2-alpha-tpuv5 ;;
    v5e* | v5lite*) echo v2-alpha-tpuv5-lite ;;
    v2* | v3* | v4*) echo tpu-ubuntu2204-base ;;
    *) die 2 "no --runtime-version is known for --accelerator-type=$ACCELERATOR_TYPE: give one." ;;
  esac
}

# The accelerator type as gcloud wants it: topologies of v4 and older ones as such, those of v5p by
# the number of cores (two a chip), v5e and v6e by the number of chips.
accelerator() {
  chips=$(printf '%s' "${ACCELERATOR_TYPE#*:}" | awk -F x '{n = 1; for (i = 1; i <= NF; i++) n *= $i; print n}')
  case $ACCELERATOR_TYPE in
    *:*[!0-9x]* | *:x* | *x | *xx*) die 2 "--accelerator-type=$ACCELERATOR_TYPE has no topology like 16x16 or 4x4x4." ;;
    v5e:*x* | v5litepod:*x*) printf '%s' "--accelerator-type=v5litepod-$chips" ;;
    v6e:*x*) printf '%s' "--accelerator-type=v6e-$chips" ;;
    v5p:*x*x*) printf '%s' "--accelerator-type=v5p-$((chips * 2))" ;;
    v[234]:*x*) printf '%s' "--type=${ACCELERATOR_TYPE%%:*} --topology=${ACCELERATOR_TYPE#*:}" ;;
    v5e-*) die 2 "gcloud calls --accelerator-type=$ACCELERATOR_TYPE v5litepod-${ACCELERATOR_TYPE#*-}." ;;
    v[2-9]*-[1-9]*) printf '%s' "--accelerator-type=$ACCELERATOR_TYPE" ;;
    *) die 2 "--accelerator-type is like v5litepod-256, v4-512, v6e-256, v5e:16x16 or v4:8x8x4, not '$ACCELERATOR_TYPE'." ;;
  esac
}

# Waits until the slices are there; fails where they will not come.
wait_until_active() {
  while look_up && [ "$STATE" != ACTIVE ]; do
    case $STATE in
      FAILED | SUSPENDED | SUSPENDING | NONE)
        failure_message >"$TMP/why"
        explain "$(failure_kind 1 "$TMP/why")" "$TMP/why"
        die 9 "$NAME is $STATE; delete.sh --name=$NAME clears it away."
        ;;
    esac
    say "$NAME is $STATE"
    pause "$POLL"
  done
  say "$NAME is ACTIVE: $NODES"
}

parse_flags "$@"
[ -z "$COMMAND" ] || die 2 "nothing follows '--' here; the command is launch.sh's or run.sh's."
[ -n "$RUNTIME_VERSION" ] || RUNTIME_VERSION=$(runtime_version)
accelerator_flags=$(accelerator)
if [ "$NUM_SLICES" -eq 1 ]; then
  node_flags=--node-id=$NAME
else
  node_flags="--node-count=$NUM_SLICES --node-prefix=$NAME" # sets up MEGASCALE between them
fi
kind=0
# shellcheck disable=SC2086 # these are several flags in one text
tpus queued-resources create "$NAME" $accelerator_flags $node_flags \
  --runtime-version="$RUNTIME_VERSION" ${SPOT:+--spot} ${INTERNAL_IP:+--internal-ips} \
  $CREATE_FLAGS --async || kind=$?
if [ "$kind" -ne 0 ]; then
  explain "$kind" "$TMP/err"
  exit "$kind"
fi
[ -n "$DRY_RUN" ] || say "$NAME is asked for."
[ -z "$WAIT" ] || wait_until_active
