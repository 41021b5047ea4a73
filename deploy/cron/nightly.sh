#!/usr/bin/env bash
# Measure this machine, keep the last nights, and print only what is not right: cron mails what a job prints.
#
#   nightly.sh [OPTION ...]     options of `bnsuite`, such as --device cuda or -k batch_norm2d
#
# Variables:
#   BNSUITE           the command (default: bnsuite, from the PATH)
#   BNSUITE_NIGHTS    folder of the nights (default: ~/bnsuite-nights)
#   BNSUITE_KEEP      number of nights that are kept (default: 30)
#   BNSUITE_TEXTFILE  file of metrics for node_exporter's textfile collector, such as
#                     /var/lib/prometheus/node-exporter/bnsuite.prom (default: none; two jobs on a host need one each)
#
# Each night is a folder of results, named by the time in UTC, with nightly.log (what bnsuite printed) and progress.log
# beside run.json; `latest` links to the newest. The exit status is that of `bnsuite`: 0 nothing wrong, 1 a regression,
# 2 unusable input, 3 not measured as asked (also if the night before still runs).
set -euo pipefail

bnsuite=${BNSUITE:-bnsuite}
nights=${BNSUITE_NIGHTS:-$HOME/bnsuite-nights}
keep=${BNSUITE_KEEP:-30}

if ! [[ $keep =~ ^[1-9][0-9]*$ ]]; then
  echo "nightly.sh: BNSUITE_KEEP: '$keep' is not a positive whole number" >&2
  exit 2
fi
if ! command -v "$bnsuite" >/dev/null; then
  echo "nightly.sh: BNSUITE: there is no command $bnsuite; give its path" >&2
  exit 2
fi
mkdir -p "$nights"
exec 9>"$nights/.lock" # held until this script and bnsuite have ended
if ! flock --nonblock 9; then
  echo "nightly.sh: $nights: the night before still runs; nothing was measured" >&2
  exit 3
fi

night=$nights/$(date -u +%Y%m%dT%H%M%SZ)
mkdir "$night"
status=0
"$bnsuite" --profile full --out "$night" "$@" >"$night/nightly.log" 2>"$night/progress.log" || status=$?
ln -sfn "${night##*/}" "$nights/latest"

if [[ $status -ne 0 ]]; then
  echo "bnsuite on $(uname -n) ended with status $status; results in $night"
  echo
  if [[ -s $night/nightly.log ]]; then
    cat "$night/nightly.log"
  else # no verdicts: the reason is the last that was said
    tail -n 5 "$night/progress.log"
  fi
fi

if [[ -n ${BNSUITE_TEXTFILE:-} && -e $night/findings.json ]]; then
  # Replaced by a rename: node_exporter never reads half a file.
  if ! { "$bnsuite" export "$night" --openmetrics && cp "$night/bnsuite.prom" "$BNSUITE_TEXTFILE.new" &&
    mv "$BNSUITE_TEXTFILE.new" "$BNSUITE_TEXTFILE"; } >>"$night/progress.log" 2>&1; then
    echo "nightly.sh: $BNSUITE_TEXTFILE was not written; see $night/progress.log"
  fi
fi

# Drop old nights: only folders that are named as a night is.
mapfile -t kept < <(find "$nights" -mindepth 1 -maxdepth 1 -type d -regextype posix-extended \
  -regex '.*/[0-9]{8}T[0-9]{6}Z' | sort)
for ((i = 0; i < ${#kept[@]} - keep; i++)); do
  rm -rf -- "${kept[i]}"
done
exit "$status"
