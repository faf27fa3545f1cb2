#!/bin/sh
# Makes the store beside this file, VERSION.tar.xz, with the code of the commit that is checked out: a table and digits, a study
# of each, without the mirror. 0.1.0.tar.xz was made at commit 52c92bcc.
#
#   make.sh PYTHON CODE TARGET.tar.xz      CODE: the working tree of that commit
#
# Values that depend on the machine (times, the processor) differ from one making to the next; the rows, the weights and the
# settings are those of the seeds. The host is named "host", and no path is absolute.
set -eu
python=$(realpath -s "$1") code=$(realpath "$2") target=$(realpath "$3") here=$(mktemp -d)
export PYTHONPATH="$code" VAEEXP_CACHE="$here/cache" OMP_NUM_THREADS=1 HOME="$here" USER=user
unset VAEEXP_DATA MLFLOW_TRACKING_URI
mkdir "$here/store" && cd "$here/store"
"$python" - "$code/vaeexp/data/digits.gz" <<'DATA'
import gzip
import sys

import numpy as np

raw = np.frombuffer(gzip.open(sys.argv[1]).read()[16:], np.uint8).reshape(10, 500, 28, 28)
kept = raw[:, :24, 2:26, 2:26].reshape(240, 8, 3, 8, 3).mean((2, 4)).astype(np.uint8)
np.savez_compressed("digits.npz", images=kept, labels=np.repeat(np.arange(10), 24))
codes = np.random.default_rng(0).normal(size=(240, 2))
rows = codes @ np.random.default_rng(1).normal(size=(2, 6))
rows += np.random.default_rng(2).normal(scale=0.1, size=rows.shape)
np.savetxt("sizes.csv", rows, "%.4f", ",", header="a,b,c,d,e,f", comments="")
DATA
mkdir studies
cat > studies/digits.yaml <<'STUDY'
question: Which β and latent size explain small digits best?
data: {dataset: arrays}
model: {hidden: [8]}
train: {epochs: 2, batch_size: 16, learning_rate: 0.01}
evaluation: {importance_samples: 10}
search:
  beta: {low: 0.3, high: 3, log: true}
  latent_size: {low: 2, high: 4}
seed: 0
sampler: {name: tpe, startup_trials: 2}
pruner: none
budget: {trials: 3}
confirm: {top: 1, seeds: 1}
STUDY
cat > studies/sizes.yaml <<'STUDY'
question: Which learning rate explains the sizes best?
data: {dataset: arrays, binarisation: none, scale: standard, scale_per: feature}
model: {hidden: [8], latent_size: 2, likelihood: gaussian_learned}
train: {epochs: 10, batch_size: 8}
evaluation: {importance_samples: 10}
search:
  learning_rate: {low: 0.01, high: 0.03, log: true}
seed: 0
sampler: {name: tpe, startup_trials: 2}
pruner: none
budget: {trials: 3}
confirm: {top: 1, seeds: 1}
STUDY
for study in digits:npz sizes:csv; do
    unshare --uts sh -c 'hostname host; exec "$@"' - "$python" -m vaeexp sweep --study "${study%:*}" \
        --data "${study%:*}.${study#*:}" --reports mlruns/reports --device cpu
done
rm -rf mlruns/reports mlruns/mlflow.db* mlruns/artifacts mlruns/logs mlruns/journal/*.lock mlruns/journal/*.origin
cd "$here" && tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cJf "$target" store
rm -rf "$here"
