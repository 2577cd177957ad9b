//! Sums on NVIDIA GPUs: `cargo test -p longmae-train --features nccl --test nccl -- --ignored` where there are some.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::thread;

use candle_core::{DType, Device, Tensor, Var};
use longmae_train::nccl::Nccl;
use longmae_train::sockets::{Launch, Sockets};
use longmae_train::{Alone, Collective, USUAL_LIMIT};

/// Everything that goes right, on one rank.
fn talk(ranks: &dyn Collective, device: &Device) {
    let (rank, world) = (ranks.rank(), ranks.world());
    let all: f32 = (0..world).map(|rank| rank as f32).sum();
    for place in [device, &Device::Cpu] {
        let tensor = |i: usize| Tensor::full((rank + i) as f32, (2, 3), place).unwrap();
        let pending: Vec<_> = (0..4).map(|i| ranks.start_sum(tensor(i)).unwrap()).collect();
        for (i, pending) in pending.into_iter().enumerate() {
            let sum = pending.wait().unwrap();
            assert!(sum.device().same_device(place));
            let sum = sum.to_vec2::<f32>().unwrap();
            assert_eq!(sum, vec![vec![all + (world * i) as f32; 3]; 2]);
        }
        // A part of a tensor, which is all that is changed.
        let whole = Tensor::full(1.0_f32, 10, place).unwrap();
        let part = whole.narrow(0, 2, 3).unwrap();
        let sum = ranks.start_sum(part).unwrap().wait().unwrap();
        assert_eq!(sum.to_vec1::<f32>().unwrap(), [world as f32; 3]);
        assert_eq!(whole.to_vec1::<f32>().unwrap()[5..], [1.0; 5]);
        // A sum that nobody waits for takes its tensor with it.
        drop(ranks.start_sum(Tensor::zeros(1 << 20, DType::F32, place).unwrap()).unwrap());
        let var = Var::from_tensor(&tensor(5)).unwrap();
        ranks.broadcast(std::slice::from_ref(&var)).unwrap();
        assert_eq!(var.to_vec2::<f32>().unwrap(), vec![vec![5.0; 3]; 2]);
        let half = tensor(0).to_dtype(DType::BF16).unwrap();
        assert!(ranks.start_sum(half).err().unwrap().to_string().contains("BF16"));
    }
    let mut numbers = [1.0];
    ranks.sum(&mut numbers).unwrap();
    assert_eq!(numbers, [world as f64]);
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn one_rank_sums_its_own_numbers() {
    let device = Device::new_cuda_with_stream(0).unwrap();
    talk(&Nccl::connect(Arc::new(Alone), &device, USUAL_LIMIT).unwrap(), &device);
}

#[test]
#[ignore = "needs two NVIDIA GPUs"]
fn two_ranks_sum_on_their_gpus() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    thread::scope(|scope| {
        for rank in 0..2 {
            scope.spawn(move || {
                let launch = Launch::new(rank, 2, "127.0.0.1", port).unwrap();
                let sockets = Arc::new(Sockets::connect(&launch, USUAL_LIMIT).unwrap());
                let device = Device::new_cuda_with_stream(rank).unwrap();
                talk(&Nccl::connect(sockets, &device, USUAL_LIMIT).unwrap(), &device);
            });
        }
    });
}

#[test]
fn a_device_that_is_no_gpu_is_refused() {
    let refused = Nccl::connect(Arc::new(Alone), &Device::Cpu, USUAL_LIMIT).err().unwrap();
    assert!(refused.to_string().contains("expected an NVIDIA GPU"), "{refused}");
}
