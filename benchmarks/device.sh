#!/usr/bin/env bash
# What a machine with one NVIDIA GPU does, in under 8 minutes, on a bare machine: Python with PyTorch and transformers,
# no network. Every part has its own time limit, and what it found is written as it goes.
#
#   benchmarks/device.sh [OUT [PART ...]]           # OUT (.dlcr/device): device.json, a JSON a part, log.txt
#   benchmarks/device.sh --tiny [OUT [PART ...]]    # tiny sizes, with or without a GPU: its numbers say nothing
#   benchmarks/device.sh --wheels [HAVE ...]        # beforehand, where there is a network: fills wheels/
#
# Parts: smoke inpaint vision training memory compile; benchmarks/device/<part>.py says what each does.
# --wheels takes the packages that the machine may lack (benchmarks/device/packages.txt), but those that it HAVEs, for
# Python TARGET (default 3.12) on Linux x86-64. On the machine, what it lacks is installed from there into a temporary
# folder; nothing that it has is changed.
# Environment: PYTHON (python3), WHEELS (wheels), DEVICE_SECONDS (all parts together; 460).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
wheels=${WHEELS:-wheels}

if [ "${1:-}" = --wheels ]; then
  shift
  have=$(printf '%s\n' "$@")
  mapfile -t names < <(sed 's/#.*//' benchmarks/device/packages.txt | grep -v '^ *$' | grep -vxF -e "$have")
  "$python" -m pip download --quiet --no-deps --only-binary=:all: --implementation cp \
    --python-version "${TARGET:-3.12}" --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
    --platform manylinux2014_x86_64 --constraint constraints.txt --dest "$wheels" "${names[@]}"
  du -sh "$wheels"
  exit
fi

tiny=()
slower=1
if [ "${1:-}" = --tiny ]; then
  tiny=(--tiny)
  slower=5 # a busy CPU
  shift
fi
out=${1:-.dlcr/device${tiny:+-tiny}}
[ $# -gt 0 ] && shift
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(smoke inpaint vision training memory compile)
# Seconds that each part may take: 460 together, with what is between them under 8 minutes.
declare -A limits=([smoke]=130 [inpaint]=100 [vision]=80 [training]=40 [memory]=40 [compile]=70)
end=$((SECONDS + ${DEVICE_SECONDS:-460} * slower))

mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -f "$out"/device.json "$out"/log.txt
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
mapfile -t missing < <("$python" benchmarks/device/packages.py)
if [ ${#missing[@]} -gt 0 ]; then
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --find-links "$wheels" --target "$site" \
    "${missing[@]}" || echo "missing packages: ${missing[*]}; benchmarks/device.sh --wheels fetches them" >&2
fi
export PYTHONPATH="$PWD:$site${PYTHONPATH:+:$PYTHONPATH}"
export HF_HUB_OFFLINE=1 DVC_NO_ANALYTICS=1 PYTHONUNBUFFERED=1 TORCHINDUCTOR_CACHE_DIR="$site/inductor"

failed=0
for part in "${parts[@]}"; do
  rm -f "$out/$part.json"
  start=$SECONDS
  limit=$((${limits[$part]:-60} * slower))
  if [ $limit -gt $((end - start)) ] || [ "$part" = "${parts[-1]}" ]; then # the last one may take all that is left
    limit=$((end > start ? end - start : 0))
  fi
  code=0
  if [ $limit -gt 0 ]; then
    timeout --kill-after=5 $limit "$python" -m benchmarks.device "$part" "$out" "${tiny[@]}" \
      >"$out/$part.log" 2>&1 </dev/null || code=$?
  else
    code=skipped
  fi
  "$python" -m benchmarks.device.summary "$out" "$part" "$code" $((SECONDS - start)) $limit
  [ "$code" = 0 ] || failed=1
  echo "$part: exit code $code after $((SECONDS - start)) s"
done
exit $failed
