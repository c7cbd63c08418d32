#!/usr/bin/env bash
# Remakes the figures of docs/results.md: one data folder from real logs, two runs of the mini preset that differ in what may
# be masked, their evaluation under both kinds of mask, and the curves.
#
#     SECENCODER_LOGS=/path/to/logs scripts/results/run.sh OUT [STEPS]
#
# Each stage that stands is left as it is, so the script can be stopped and started again.
set -euo pipefail
: "${SECENCODER_LOGS:?name the folder of logs in SECENCODER_LOGS}"
out=${1:?usage: run.sh OUT [STEPS]}
steps=${2:-8000}
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$out"
(cd "$root" && CGO_ENABLED=0 go build -o "$out/secencoder" ./cmd/secencoder)
secencoder=$out/secencoder

[ -d "$out/data" ] || "$secencoder" data build --in "$SECENCODER_LOGS" --source-depth 2 --out "$out/data" --tokenizer train \
  --exclude labelled/ 'loghub/**/*.csv' loghub/HDFS loghub/BGL loghub/Thunderbird windows-evtx/raw LICENSES README.md manifest.tsv \
  --max-source-bytes 32MB --odts loghub/OpenSSH loghub/Mac loghub/Android syslog/plaso zeek/rita k8s | tee "$out/data.txt"

for mask in content all; do
  run=$out/run-$mask
  if [ -d "$run" ]; then
    "$secencoder" pretrain --out "$run" --resume
  else
    "$secencoder" pretrain --data "$out/data" --out "$run" --size mini --steps "$steps" --checkpoint-every 1000 --mask "$mask"
  fi
done

"$secencoder" eval intrinsic --model "$out/run-content" "$out/run-all" --data "$out/data" --pieces 5000 --csv "$out/results.csv" | tee "$out/results.txt"
(cd "$root/scripts/plot" && go run . --out "$out/curve.png" "content=$out/run-content" "all=$out/run-all")
