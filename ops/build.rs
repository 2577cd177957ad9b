//! Compiles the CUDA kernels to PTX where the feature `cuda` is on.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    cuda::compile()?;
    Ok(())
}

#[cfg(feature = "cuda")]
mod cuda {
    use std::error::Error;
    use std::path::PathBuf;

    pub fn compile() -> Result<(), Box<dyn Error>> {
        println!("cargo::rerun-if-changed=src/cuda/kernels");
        let out = PathBuf::from(std::env::var("OUT_DIR")?).join("kernels.rs");
        let ptx = cudaforge::KernelBuilder::new()
            .source_files(["src/cuda/kernels/kernels.cu"])
            .watch(["src/cuda/kernels"])
            .args(["-std=c++17", "-O3", "--generate-line-info"])
            .build_ptx()?;
        ptx.write(&out)?;
        Ok(())
    }
}
