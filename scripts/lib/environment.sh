# shellcheck shell=bash
# Shell functions that train, test and bench share: a virtual environment with an MPI, made once.

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 python; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "mpitrain needs Python 3.11 or later, and there is none on the PATH (set PYTHON to name one)" >&2
    return 1
}

# pip_install PYTHON ARGUMENTS of pip install: install, with a line for each package and stage, since pip may take
# minutes. On a terminal each line takes the place of the one before.
pip_install() {
    local python=$1 line format='  %s\n'
    shift
    [ -t 2 ] && format='\r  %.70s\033[K'
    "$python" -m pip install --disable-pip-version-check --progress-bar off "$@" | while IFS= read -r line; do
        line=${line#"${line%%[! ]*}"}
        case $line in
        Collecting*) line=${line%% (from *} ;;
        *started) line=${line%: started} ;; # build dependencies, metadata, the wheel with the kernels in C
        Installing\ collected*) line="Installing ${line#*: }" ;;
        *) continue ;;
        esac
        # shellcheck disable=SC2059
        printf "$format" "$line" >&2
    done
    local result=${PIPESTATUS[0]}
    [ -t 2 ] && printf '\r\033[K' >&2
    return "$result"
}

sources() { cat setup.cfg setup.py kernels/cpu/* | cksum; } # the extension in C is built while installing

# make_environment DIR EXTRAS [OPTIONS of pip install]: install the package in editable form with EXTRAS (may be empty)
# into DIR. A stamp of what was installed lets the next call do nothing.
make_environment() {
    local dir=$1 extras=$2 python stamp
    stamp="$(sources) $extras"
    [ "$(cat "$dir/.installed" 2>/dev/null || true)" = "$stamp" ] && return
    echo "installing into $dir, which takes a few minutes and happens once" >&2
    if [ ! -x "$dir/bin/python" ]; then
        python=$(find_python) || return 1
        echo "  making a virtual environment with $python" >&2
        "$python" -m venv "$dir" || {
            echo "cannot make a virtual environment in $dir (on Debian: apt install python3-venv)" >&2
            return 1
        }
    fi
    pip_install "$dir/bin/python" "${@:3}" -e ".${extras:+[$extras]}" || return 1
    echo "$stamp" >"$dir/.installed"
}

# make_test_environment MPI: make .venv-MPI, which tests, docs and benchmarks share: with other extras each would install
# anew what the one before it did. The extension in C lies in the tree, where one environment's is the other's too.
# pip compiles no Python, since tests keep theirs elsewhere.
make_test_environment() {
    local cpu=${MPITRAIN_CPU:-}
    case $1 in
    mpich) make_environment .venv-mpich mpich,test,test-monitors,docs --no-compile ;;
    *) # the site is built on MPICH alone, and monitors are tested there
        [[ "$(cat .venv-mpich/.installed 2>/dev/null)" = "$(sources) "* ]] && cpu=numpy
        MPITRAIN_CPU=$cpu make_environment ".venv-$1" "$1,test" --no-compile
        ;;
    esac
}

# use_packed: use what `scripts/test gpu --pack` has put into build/gpu, if it is there: Python packages, an MPI library
# (where no mpirun is), built kernels.
use_packed() {
    local packed=$PWD/build/gpu
    export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
    if [ -d "$packed/kernels" ]; then export MPITRAIN_KERNELS="$packed/kernels"; fi
    if [ -d "$packed/packages" ]; then
        export PYTHONPATH="$PYTHONPATH:$packed/packages"
        if ! command -v mpirun >/dev/null; then
            export PATH="$PATH:$packed/packages/bin" MPI4PY_LIBMPI="$packed/packages/lib/libmpi.so.12"
        fi
    fi
}

# use_gpu_environment EXTRAS: put a python3 with CuPy, NVRTC and all else that mpitrain needs first on the PATH. One that
# is there already is taken (a module, a container), with what is packed; otherwise .venv-gpu is made, with EXTRAS.
# Returns 2 without a GPU.
use_gpu_environment() {
    local version
    if ! version=$(nvidia-smi 2>/dev/null | grep -o 'CUDA Version: [0-9]*' | grep -o '[0-9]*$'); then
        echo "this needs an NVIDIA GPU, and nvidia-smi shows none here" >&2
        return 2
    fi
    use_packed
    if ! python3 -c 'import cupy, mpi4py, rich, safetensors, threadpoolctl, tomli_w, tyro' 2>/dev/null; then
        make_environment .venv-gpu "$1,cuda$((version < 13 ? 12 : 13))" || return 1
        export PATH="$PWD/.venv-gpu/bin:$PATH"
    fi
}

# can_launch PYTHON: does the mpirun on the PATH belong to the MPI library that mpi4py loads in PYTHON?
can_launch() {
    local sizes
    command -v mpirun >/dev/null || return 1
    sizes=$(timeout 60 mpirun -n 2 "$1" -c 'from mpi4py import MPI; print(MPI.COMM_WORLD.size)' 2>/dev/null)
    # shellcheck disable=SC2086
    [ "$(echo $sizes | tr -d ' ')" = 22 ] # two lines, or one: the ranks write at the same time
}

# Open MPI must be allowed explicitly to run as root, and more ranks than cores; MPICH does not look at these.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export PRTE_MCA_rmaps_default_mapping_policy=${PRTE_MCA_rmaps_default_mapping_policy:-:oversubscribe}
export OMPI_MCA_rmaps_base_oversubscribe=${OMPI_MCA_rmaps_base_oversubscribe:-1}
