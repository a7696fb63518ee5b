#!/bin/bash
# One `synth run` as a Slurm job that queues itself again until the run is done:
#
#   sbatch scripts/slurm.sh RECIPE --out runs/first [other arguments of `synth run`]
#   sbatch --time=12:00:00 --partition=cpu scripts/slurm.sh ...     options win over the lines below
#
# Only exit code 75 (interrupted, or the teacher stays away) queues the job again; any other code
# ends it with that code. scripts/SCHEDULING.md says the rest.

#SBATCH --job-name=synth
#SBATCH --output=%x-%j.out
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --time=04:00:00

# USR1 sixty seconds before the time is up. A run then asks nothing more, gives the requests in
# flight 20 s and ends with 75 within 22 s; Slurm may be up to a minute early with it. "B:" sends
# it to this shell. Without "B:" it goes to job steps only, and with no `srun` here there is none.
# This is the only way back into the queue when the time is up: once the limit itself has passed,
# the job has the final state TIMEOUT, whatever code it ends with.
#SBATCH --signal=B:USR1@60

# Slurm may start the job again by itself after a preemption or the loss of its node, and the job
# itself may ask for that.
#SBATCH --requeue

# A job that starts again writes below what it has written, not over it.
#SBATCH --open-mode=append

set -euo pipefail

# The virtual environment and the teacher's key come with the shell that calls sbatch, or from a
# file that only you can read (chmod 600), with lines like  PATH=/opt/synth/bin:$PATH
if [[ -n ${SYNTH_ENV:-} ]]; then
    set -a
    # shellcheck source=/dev/null
    source "$SYNTH_ENV"
    set +a
fi

# Give up after so many tries in a row that `synth` ended with 75 without a signal from Slurm: the
# teacher stays away (a try waits half an hour for it), and nothing is gained by asking for ever.
# SLURM_RESTART_COUNT would not do: it also counts the times that Slurm took the machine away.
max_tries=${SYNTH_MAX_TRIES:-10}
tries_file=$PWD/synth-$SLURM_JOB_ID.tries

say() { printf 'slurm.sh: %s\n' "$*" >&2; }

# In the background: in the foreground bash would run the trap only after `synth` has ended. Where
# Slurm signals every process of the job, `synth` gets TERM twice, which does no harm.
child='' signalled=''
# shellcheck disable=SC2317,SC2329 # called by the traps
pass_on() {
    signalled=$1
    [[ -z $child ]] || kill -s "$1" "$child" 2>/dev/null || true
}
trap 'pass_on USR1' USR1
trap 'pass_on TERM' TERM

synth run "$@" &
child=$!

code=0
wait "$child" || code=$?
trap '' USR1 TERM # one is enough

# A signal ends `wait` as well, so wait again for the child. A code above 127 then says that `synth`
# died of the signal before it could drain, or that bash has mixed up signal and child (5.2 does
# where they come within a millisecond). The run was ended early then, and if it was not, the same
# command ends at once with the code that it had.
if [[ -n $signalled ]]; then
    code=0
    wait "$child" || code=$?
    ((code >= 0 && code <= 127)) || code=75
fi

if ((code != 75)); then
    rm -f "$tries_file"
    exit "$code"
fi

if [[ -n $signalled ]]; then
    say "the run was ended by $signalled"
    rm -f "$tries_file"
else
    tries=''
    [[ ! -r $tries_file ]] || read -r tries <"$tries_file" || true
    [[ $tries =~ ^[0-9]{1,6}$ ]] || tries=0
    tries=$((10#$tries + 1))
    say "the run ended by itself, try $tries of $max_tries"
    if ((tries >= max_tries)); then
        rm -f "$tries_file"
        say "not queued again; submit the same command once the teacher answers"
        exit "$code"
    fi
    echo "$tries" >"$tries_file" || exit "$code"
fi

# `scancel` sends TERM as well, and Slurm would take back a job that somebody has cancelled. Slurm
# queues a preempted job again itself. In both cases the job is no longer RUNNING by now.
state=$(scontrol show job --oneliner "$SLURM_JOB_ID") || true
if [[ " $state " != *" JobState=RUNNING "* ]]; then
    say "Slurm ends this job; left to it"
    exit "$code"
fi

# Now, while the job still runs: one that has ended with 75 has failed for good for the jobs that
# wait for it (afterok), even if it is queued again later.
if scontrol requeue "$SLURM_JOB_ID"; then
    say "queued again"
else
    say "Slurm does not queue the job again"
fi
exit "$code"
