//! Files of tensors: safetensors, and both of PyTorch's containers.
#![no_main]

mod file;

use candle_core::Device;
use libfuzzer_sys::fuzz_target;
use longmae_weights::Checkpoint;

fuzz_target!(|bytes: &[u8]| {
    file::in_file(bytes, |path| {
        let Ok(checkpoint) = Checkpoint::open(path) else { return };
        for name in checkpoint.names() {
            let tensor = checkpoint.tensor(name, &Device::Cpu).expect("a place that was checked");
            assert_eq!(Some(tensor.dims()), checkpoint.shape(name));
            assert!(tensor.elem_count() * tensor.dtype().size_in_bytes() <= bytes.len());
        }
    });
});
