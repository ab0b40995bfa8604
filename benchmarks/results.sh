#!/usr/bin/env bash
# The committed results of the generated suites.
# Resumable: finished runs and stages are kept, give it again after an interruption.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1
all=naive,pcgrad,cgd,gradnorm,tsage,gradvac,mgda,cagrad,imtl_g,nash,aligned,upgrad,uw,dwa,famo
mtbench run --optimizer "$all" --suite mixed --seeds 0-4 --results results
mtbench run --optimizer naive,tsage --suite kilt --seeds 0-1 --results results
mtbench run --optimizer naive --suite kilt --seeds 0-2 --protocol multitask,per-task --start warmup --results results
mtbench run --optimizer naive --suite kilt --seeds 0 --protocol per-task --start warmup --set train.budget=batch --results results
mtbench leaderboard --suite kilt --write
mtbench leaderboard --suite mixed --write
