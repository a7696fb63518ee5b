#!/bin/bash
# Seeds to adapter as four Slurm jobs: generate and curate on processors, sft and evaluate on a GPU.
#
#   scripts/slurm-chain.sh RUNS RECIPE [other arguments of `synth run RECIPE`]
#   scripts/slurm-chain.sh runs/may self-instruct --teacher openai:gpt-5-mini
#
# RUNS gets one run directory a stage. Each job starts only when the one before it ended with 0. A
# job that queues itself again (75) has not ended, so the next one goes on waiting; any other end
# makes the rest impossible, and Slurm removes it from the queue. The same command again goes on
# from there: a stage that is done ends with 0 in seconds and asks nothing.

set -euo pipefail

# What a stage needs of the cluster; what stands here wins over the lines in slurm.sh.
cpu=(--cpus-per-task=4 --mem=16G)
gpu=(--cpus-per-task=8 --mem=64G --gres=gpu:1)

if (($# < 2)); then
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
runs=$1 recipe=$2
shift 2
job=$(cd "$(dirname "$0")" && pwd)/slurm.sh

previous='' submitted=()

# Half a chain is not left behind.
take_back() {
    local code=$?
    if ((code != 0 && ${#submitted[@]} > 0)); then
        scancel "${submitted[@]}"
        printf 'slurm-chain.sh: taken back: %s\n' "${submitted[*]}" >&2
    fi
}
trap take_back EXIT

stage() { # stage NAME cpu|gpu ARGUMENTS-OF-SYNTH-RUN...
    local name=$1 options=(--parsable "--job-name=synth-$1")
    case $2 in
        cpu) options+=("${cpu[@]}") ;;
        gpu) options+=("${gpu[@]}") ;;
    esac
    shift 2
    if [[ -n $previous ]]; then
        options+=("--dependency=afterok:$previous" --kill-on-invalid-dep=yes)
    fi
    previous=$(sbatch "${options[@]}" "$job" "$@" --out "$runs/$name")
    previous=${previous%%;*} # on several clusters: number;cluster
    submitted+=("$previous")
    printf '%s\t%s\n' "$previous" "$name"
}

stage generate cpu "$recipe" "$@"
stage curate cpu curate --input "$runs/generate"
stage sft gpu sft --input "$runs/curate"
stage evaluate gpu evaluate --input "$runs/sft"
