# `just` lists these; `just check` is what CI runs.

# What a contributor runs before a commit, cheapest first.
check: format lint docs test

# Formatting.
format:
    cargo fmt --all --check

# Clippy, warnings denied.
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Documentation, warnings denied.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Every test that runs on any machine.
test:
    cargo test --workspace --locked

# The programs on an x86-64-v2 processor, by emulation (needs Debian's `qemu-user`).
emulated:
    cargo build --locked --bin mae-pretrain
    cd "$(mktemp -d)" && RAYON_NUM_THREADS=2 qemu-x86_64 -cpu Nehalem \
        {{justfile_directory()}}/target/debug/mae-pretrain --max-steps 2 --workers 1

# The light crates check for AArch64 (needs `rustup target add aarch64-unknown-linux-gnu`).
aarch64:
    cargo check --locked --target aarch64-unknown-linux-gnu -p longmae-mae -p longmae-train -p longmae-data \
        --no-default-features --features longmae-data/codecs

# Decoding by libjpeg-turbo, built from source (needs a C compiler and Debian's `cmake` and `nasm`).
libjpeg-turbo:
    cargo test --locked -p longmae-data --features libjpeg-turbo --test part --test pillow --test torchvision \
        --test damaged --test mutations

# The page of `longmae report` in a real browser (needs Debian's `chromium`; without one the tests pass and say so).
browser:
    cargo test --locked -p longmae-report --test browser -- --nocapture

# What is written here, read by PyTorch, timm and transformers, and back; pycocotools' figures (see tests/interop/README.md for LONGMAE_PYTHON).
interop:
    cargo test --workspace --locked --test '*interop*' --test hub_card -- --nocapture

# Several processes that train together, by MPI (needs Debian's `libopenmpi-dev`, `openmpi-bin` and `libclang-dev`).
mpi:
    cargo clippy --locked -p longmae-train -p longmae --features longmae/mpi --all-targets -- -D warnings
    cargo test --locked -p longmae-train --features mpi --test mpi --test parallel
    cargo test --locked -p longmae --features mpi --test mpi

# The features for NVIDIA's GPUs (need CUDA's nvcc and libraries, and NCCL's header and library, but no GPU: docs/cuda.md).
cuda:
    cargo clippy --locked -p longmae-ops -p longmae-train -p longmae --features longmae/nccl -- -D warnings

# The fuzz targets compile.
fuzz-check:
    cargo check --manifest-path fuzz/Cargo.toml --target-dir target

# Every crate packs, and builds from what was packed.
package:
    cargo package --workspace --locked --allow-dirty

# Licences, sources and banned crates (needs `cargo install cargo-deny`).
deny:
    cargo deny check licenses bans sources

# The benchmarks.
bench:
    cargo bench --workspace --locked

# The fixtures again, from PyTorch (see tests/fixtures/README.md).
fixtures:
    for script in tests/fixtures/make_*.py; do python3 $script; done
