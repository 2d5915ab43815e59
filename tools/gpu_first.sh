#!/usr/bin/env bash
# First run on a machine with a GPU: what works there, and how fast it is. docs/gpu.md reads it.
#
#   tools/gpu_first.sh wheels [FOLDER]      build and fetch what such a machine lacks
#   tools/gpu_first.sh [OPTION...]          run, step by step, and archive what comes of it
#
#   --wheels FOLDER      install these first, beside the machine's own packages
#   --output FOLDER      summary.txt and gpu_first.tar.gz, written anew after each step
#   --work FOLDER        environment, cache, logs and results (.local/gpu_first)
#   --device D           cuda:0 (the default), cuda:N, or cpu with tiny sizes
#   --minutes M          end after so many (12)
#   --backend NAME       only this one; may be repeated
#   --step NAME          only this one; may be repeated
#   --photographs FOLDER adds the steps "published" and "published-large": cats_dogs.toml on these
#   --weights FILE       of VGG16, safetensors, for those steps
#
# PYTHON names the interpreter that has PyTorch and JAX (python3). Exit codes: 0 all steps passed or
# were left out, 1 one failed or ran out of time, 2 the request could not be understood.
set -u

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
self=$root/tools/gpu_first.sh
tools=$root/tools/gpu_first
python=$(command -v "${PYTHON:-python3}")

# An environment that sees the machine's packages behind its own: they may be an environment
# themselves, which --system-site-packages would pass over.
install() {
    local venv=$1 wheels=$2
    set -e
    rm -rf "$venv"
    "$python" -m venv --without-pip "$venv"
    "$python" - > "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/machine.pth" <<'PY'
import sysconfig
for folder in dict.fromkeys(map(sysconfig.get_path, ("purelib", "platlib"))):
    print(f"import site; site.addsitedir({folder!r})")
PY
    "$python" -m pip --python "$venv/bin/python" install --quiet --no-index --no-deps --no-compile \
        --disable-pip-version-check "$wheels"/*.whl
    "$venv/bin/python" -m benchharness list
    touch "$venv/ready"
    echo "$(find "$wheels" -name '*.whl' | wc -l) wheels of commit $(cat "$wheels/commit.txt")"
}

work=$root/.local/gpu_first output='' wheels='' device=cuda:0 minutes=12
photographs='' weights='' only_backends='' only_steps=''
case ${1:-} in
    wheels) exec "$python" "$tools/wheels.py" "${2:-$work/wheels}" ;;
    install) install "$2" "$3"; exit ;;
esac
while [ $# -gt 0 ]; do
    value=${2:-}
    [ -n "$value" ] || set -- --help
    case $1 in
        --wheels | --output | --work | --photographs | --weights)
            printf -v "${1#--}" %s "$(realpath -m "$value")" ;;
        --device | --minutes) printf -v "${1#--}" %s "$value" ;;
        --backend) only_backends+=" $value " ;;
        --step) only_steps+=" $value " ;;
        *) sed -n '3,/^set -u/s/^# \{0,1\}//p' "$self" >&2; exit 2 ;;
    esac
    shift 2
done
: "${output:=$work/output}"
suite=$root/suites/gpu_first.toml
kind=gpu profile=gpu
ceilings=(--device gpu --work fine_tune_150 --work simple_cnn_150 --threads 16 --rounds 5)
[ "$device" != cpu ] || kind=cpu profile=smoke ceilings=(--work head_small --rounds 1)
deadline=$((SECONDS + minutes * 60))
failures=0
mkdir -p "$work/logs" "$output"
# A second call goes on in the same folder.
summary=$work/summary.txt
export BENCHHARNESS_CACHE=$work/cache BENCHHARNESS_OFFLINE=1 PYTHONUNBUFFERED=1 COLUMNS=140

say() { printf '%s\n' "$*" | tee -a "$summary"; }

# What a machine's lender cuts off loses one step at most.
archive() {
    cp "$summary" "$output/"
    tar -czf "$output/.archive" -C "$work" --exclude='*.safetensors' --exclude='*.npy' \
        $(cd "$work" && ls -d summary.txt logs results ceilings trace 2> /dev/null)
    mv "$output/.archive" "$output/gpu_first.tar.gz"
}

tell() {  # STEP OUTCOME SECONDS NOTE
    say "$(printf '%-15s %-9s %4s s  %s' "$1" "$2" "$3" "$4")"
    archive
}

is_wanted() { [ -z "$only_steps" ] || [[ $only_steps == *" $1 "* ]]; }

leave_out() { ! is_wanted "$1" || tell "$1" 'left out' 0 "$2"; }  # STEP REASON

# What a log says of its proofs or trials, else its last line.
gist() {  # LOG
    local trials proofs
    trials=$(grep -c '^\[[0-9]*/[0-9]*\] ' "$1")
    proofs=$(grep -oE ': (proven|partial|not comparable)' "$1" | sort | uniq -c | tr -s ' :\n' ' ')
    if [ "$trials" -gt 0 ]; then
        echo "$(grep -c '^ *ok in ' "$1") of $trials trials are ok"
    elif [ -n "$proofs" ]; then
        echo "pairs:$proofs"
    else
        grep -v '^[[:space:]]*$' "$1" | tail -n 1 | tr -d '\r' | tr -s ' ' | cut -c 1-90
    fi
}

step() {  # STEP SECONDS COMMAND...
    # Of a machine that others use, PATIENCE times as much is awaited.
    local name=$1 limit=$(($2 * ${PATIENCE:-1})) began=$SECONDS left=$((deadline - SECONDS)) code
    shift 2
    is_wanted "$name" || return 0
    if [ "$left" -lt 5 ]; then
        leave_out "$name" "the $minutes minutes are over"
        return 0
    fi
    [ "$limit" -le "$left" ] || limit=$left
    (cd "$work" && timeout --kill-after=15 "$limit" "$@") > "$work/logs/$name.txt" 2>&1
    code=$?
    local last outcome=passed
    last=$(gist "$work/logs/$name.txt")
    case $code in
        0) ;;
        124 | 137) outcome='timed out' last="after $limit s: $last" ;;
        *) outcome=failed last="exit $code: $last" ;;
    esac
    [ "$code" -eq 0 ] || failures=$((failures + 1))
    tell "$name" "$outcome" $((SECONDS - began)) "$last"
    return "$code"
}

has() {  # MODULE...
    "$python" -c 'import sys; from importlib.util import find_spec
sys.exit(any(find_spec(name) is None for name in sys.argv[1:]))' "$@"
}

say "benchharness on $device, $(date -u +%Y-%m-%dT%H:%M:%SZ), at most $minutes minutes"
if [ -n "$wheels" ] && [ ! -e "$work/venv/ready" ]; then
    only_steps=${only_steps:+$only_steps install } \
        step install 180 env PYTHON="$python" bash "$self" install "$work/venv" "$wheels" || exit 1
fi
[ ! -e "$work/venv/ready" ] || python=$work/venv/bin/python
bench=("$python" -P -m benchharness)

# Those whose framework is here, and which are asked for: as options of a command.
backends=() plugins=() missing=''
for entry in torch:torch:torch torch-compiled:torch:torch jax:jax,flax,optax:jax \
    keras-jax:keras,jax:keras keras-torch:keras,torch:keras; do
    IFS=: read -r name modules package <<< "$entry"
    [ -z "$only_backends" ] || [[ $only_backends == *" $name "* ]] || continue
    # shellcheck disable=SC2086
    if has ${modules//,/ } "benchharness_$package"; then
        backends+=(--backend "$name")
        [ "$name" = torch-compiled ] || plugins+=(--backend "$name")
    else
        missing+=" $name"
    fi
done
[ -z "$missing" ] || say "without, because a package is missing:$missing"
is_here() { [[ " ${backends[*]} " == *" $1 "* ]]; }

step machine 60 "$python" -P "$tools/machine.py" --device "$device"
if [ ${#backends[@]} -eq 0 ]; then
    say 'no backend is here: nothing can be run'
    exit 1
fi
step doctor 90 "${bench[@]}" doctor "$suite" --profile "$profile" --device "$device"
if has torch; then
    step peak 60 "$python" -P "$tools/peak.py" --device "$kind"
else
    leave_out peak 'PyTorch is missing'
fi
for name in torch jax; do
    if is_here "$name"; then
        step "check-$name" 150 "${bench[@]}" plugin check "$name" --device "$kind"
    else
        leave_out "check-$name" "no backend $name"
    fi
done
if [ ${#plugins[@]} -gt 2 ]; then
    step proof-smoke 180 "${bench[@]}" certify "$root/suites/smoke.toml" --device "$device" \
        "${plugins[@]}"
    step proof-150px 180 "${bench[@]}" certify "$suite" --profile "$profile" --device "$device" \
        --benchmark fine_tune "${plugins[@]}"
else
    leave_out proof-smoke 'one backend, and none to compare it with'
    leave_out proof-150px 'one backend, and none to compare it with'
fi
timing=("${bench[@]}" run "$suite" --profile "$profile" --device "$device" --results "$work/results"
    --no-proof --timeout $((120 * ${PATIENCE:-1})))
for name in fine_tune bottleneck simple_cnn; do
    step "time-$name" 200 "${timing[@]}" --benchmark "$name" "${backends[@]}"
done
if is_here torch; then
    step trace 60 "$python" -P "$tools/trace.py" --device "$kind" --output "$work/trace"
else
    leave_out trace 'no backend torch'
fi
measured=()
for name in torch jax; do
    ! is_here "$name" || measured+=(--backend "$name")
done
if [ ${#measured[@]} -gt 0 ]; then
    step time-meters 120 "${timing[@]}" --benchmark meters "${measured[@]}"
    step meters 30 "$python" -P "$tools/meters.py" "$work/results/gpu_first" --device "$kind"
else
    for name in time-meters meters; do
        leave_out "$name" 'neither torch nor jax'
    done
fi
tests=$(grep -l 'pytest.mark.gpu' "$root"/tests/test_*.py)
if [ "$kind" = cpu ]; then
    leave_out tests 'no GPU'
elif [ -z "$tests" ]; then
    leave_out tests 'no test is marked gpu'
else
    # The step proof-smoke has proven the smoke suite.
    # shellcheck disable=SC2086
    step tests 150 "$python" -P -m pytest -c "$root/pyproject.toml" --rootdir "$root" -m gpu \
        -k 'not smoke_suite_is_proven' -p no:cacheprovider -q $tests
fi
if [ ${#measured[@]} -gt 0 ]; then
    step ceilings 240 "$python" -P "$root/tests/benchmarks/ceilings/run.py" --restarts 1 \
        --output "$work/ceilings" "${measured[@]}" "${ceilings[@]}"
else
    leave_out ceilings 'neither torch nor jax'
fi
if [ -n "$photographs" ]; then
    mkdir -p "$work/weights"
    [ -z "$weights" ] || ln -sf "$weights" "$work/weights/vgg16_notop_imagenet.safetensors"
    publishing=(env BENCHHARNESS_WEIGHTS="$work/weights" "${bench[@]}" run "$root/suites/cats_dogs.toml"
        --profile "$profile" --device "$device" --trials 1 --no-proof --data "$photographs"
        --results "$work/results" --timeout 120 "${measured[@]}")
    if [ "$kind" = cpu ]; then
        step published 600 "${publishing[@]}"
    else
        step published 600 "${publishing[@]}" --benchmark dataset --benchmark simple_cnn \
            --benchmark bottleneck_published --benchmark fine_tune_published \
            --benchmark bottleneck --benchmark fine_tune
        # 698 million parameters, at four batch sizes and augmented.
        step published-large 600 "${publishing[@]}" --benchmark simple_cnn_published \
            --benchmark simple_cnn_augmented_published
    fi
fi
say "$failures failed or ran out of time; $output/gpu_first.tar.gz"
archive
[ "$failures" -eq 0 ]
