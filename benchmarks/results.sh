#!/usr/bin/env bash
# The committed results: fifteen optimizers on both generated suites, three seeds, five for the five named optimizers.
# Resumable: finished runs and stages are kept, give it again after an interruption. Two cores: one suite on each.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1
named=naive,pcgrad,cgd,gradnorm,tsage
others=gradvac,mgda,cagrad,imtl_g,nash,aligned,upgrad,uw,dwa,famo
suite() {
  mtbench run --optimizer "$named" --suite "$1" --seeds 0-4
  mtbench run --optimizer "$others" --suite "$1" --seeds 0-2
}
suite kilt &
suite mixed
wait
mtbench leaderboard --suite kilt --write
mtbench leaderboard --suite mixed --write
