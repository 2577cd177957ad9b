//! `longmae`: everything around masked autoencoders. See the crate `longmae`.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    longmae_cli::keep_freed_memory();
    longmae_cli::longmae(std::env::args_os())
}
