//! `--device`: where a model computes. Here names are read, and here devices are opened, once a process.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail};
use candle_core::Device;
use longmae_ops::{Compute, Kernels, Precision};

use crate::choice::unknown;
use crate::exit::usage;

/// Where launchers tell which of its machine's processes this one is: torchrun, Open MPI's mpirun, MPICH's, Slurm's srun.
const LOCAL_RANKS: [&str; 4] =
    ["LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"];

/// A device by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceName {
    /// `cpu`.
    #[default]
    Cpu,
    /// `cuda:N`, one of NVIDIA's GPUs. `cuda` is the first or, of several processes on a machine, each one's own.
    Cuda(Option<usize>),
    /// `metal:N`, one of Apple's GPUs; `metal` is the first.
    Metal(Option<usize>),
}

impl FromStr for DeviceName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (kind, number) = match text.split_once(':') {
            Some((kind, number)) => (kind, Some(number)),
            None => (text, None),
        };
        let number = || {
            let expected = || format!("device `{text}`: expected a number, such as {kind}:0");
            number.map(|number| number.parse().map_err(|_| usage(expected()))).transpose()
        };
        match kind {
            "cpu" if text == kind => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(number()?)),
            "metal" => Ok(Self::Metal(number()?)),
            // The nearest name would be another device.
            "gpu" | "mps" => Err(usage(format!(
                "unknown device `{text}`: say cuda for a GPU of NVIDIA's, metal for one of Apple's"
            ))),
            _ => Err(unknown("device", text, &["cpu", "cuda", "cuda:N", "metal", "metal:N"])),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, number) = match self {
            Self::Cpu => ("cpu", None),
            Self::Cuda(number) => ("cuda", *number),
            Self::Metal(number) => ("metal", *number),
        };
        f.write_str(kind)?;
        number.map_or(Ok(()), |number| write!(f, ":{number}"))
    }
}

impl DeviceName {
    /// An error if this program was built without what serves the device.
    pub fn check_built(self) -> anyhow::Result<()> {
        let (feature, built) = match self {
            Self::Cpu => return Ok(()),
            Self::Cuda(_) => ("cuda", cfg!(feature = "cuda")),
            Self::Metal(_) => ("metal", cfg!(feature = "metal")),
        };
        if built { Ok(()) } else { Err(without(self, feature)) }
    }

    /// An error if models cannot compute so there.
    pub fn check_compute(self, compute: Compute) -> anyhow::Result<()> {
        if let Self::Metal(_) = self { self.check_reference(compute) } else { Ok(()) }
    }

    /// The same for models that no device but the CPU has kernels for: elsewhere they run on the reference ones.
    pub fn check_reference(self, compute: Compute) -> anyhow::Result<()> {
        let refused = |what, instead| {
            Err(usage(format!(
                "device `{self}` runs the reference kernels here, {what}: say {instead}"
            )))
        };
        match compute {
            _ if self == Self::Cpu => Ok(()),
            Compute { precision: Precision::Bf16, .. } => {
                refused("which compute in fp32 alone", "--precision fp32")
            }
            Compute { grad_checkpoint: true, .. } => {
                refused("which have no grad_checkpoint", "--grad-checkpoint false")
            }
            _ => Ok(()),
        }
    }

    /// The kernels that run there, where these are asked for.
    pub fn kernels(self, wanted: Kernels) -> Kernels {
        if let Self::Metal(_) = self { Kernels::Reference } else { wanted }
    }

    /// Opens the device. A process does so once and hands it on: tensors of one that was opened twice do not mix.
    ///
    /// # Errors
    /// When the program was built without it, the machine lacks it, or its driver refuses.
    pub fn open(self) -> anyhow::Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(wanted) => {
                let there = gpus(self)?;
                let number = which(self, wanted, there, |name| std::env::var(name).ok())?;
                // With a stream that all threads share. `Device::new_cuda` takes CUDA's per-thread stream: the thread that
                // writes a checkpoint would read weights without waiting for the update that this one has begun.
                let device = Device::new_cuda_with_stream(number);
                device.with_context(|| format!("device cuda:{number} cannot be opened"))
            }
            Self::Metal(number) => metal(self, number.unwrap_or(0)),
        }
    }
}

/// What a program that was built without a device's feature says.
fn without(device: DeviceName, feature: &str) -> anyhow::Error {
    usage(format!(
        "device `{device}`: this program was built without it (cargo build --features {feature}, see docs/cuda.md)"
    ))
}

/// How many GPUs CUDA finds.
#[cfg(feature = "cuda")]
fn gpus(device: DeviceName) -> anyhow::Result<usize> {
    use candle_core::cuda_backend::cudarc::driver::CudaContext;

    let count = CudaContext::device_count();
    let count = count.with_context(|| format!("device `{device}`: CUDA finds no GPU"))?;
    Ok(usize::try_from(count)?)
}

#[cfg(not(feature = "cuda"))]
fn gpus(device: DeviceName) -> anyhow::Result<usize> {
    Err(without(device, "cuda"))
}

/// Which of the GPUs that are there: the one that was asked for, or this process's own, as `variable` tells.
fn which(
    device: DeviceName,
    wanted: Option<usize>,
    there: usize,
    variable: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<usize> {
    let has = match there {
        0 => "none".to_owned(),
        1 => "1, cuda:0".to_owned(),
        _ => format!("{there}, cuda:0 to cuda:{}", there - 1),
    };
    if let Some(number) = wanted {
        if number >= there {
            bail!("device `{device}`: there is no such GPU (this machine has {has})");
        }
        return Ok(number);
    }
    let local = LOCAL_RANKS.iter().find_map(|name| Some((name, variable(name)?)));
    let number = match &local {
        // Slurm can show each process its own GPU alone.
        Some(_) if there == 1 => 0,
        Some((name, text)) => text
            .parse()
            .map_err(|_| anyhow::anyhow!("{name} is `{text}`: expected this process's number"))?,
        None => 0,
    };
    if number >= there {
        let of = local.map_or(String::new(), |(name, _)| format!(" for number {number} ({name})"));
        bail!("device `{device}`: there is no GPU{of} (this machine has {has})");
    }
    Ok(number)
}

#[cfg(feature = "metal")]
fn metal(device: DeviceName, number: usize) -> anyhow::Result<Device> {
    // candle takes the device out of a list without a look at its length, which panics.
    match std::panic::catch_unwind(|| Device::new_metal(number)) {
        Ok(opened) => opened.with_context(|| format!("device `{device}` cannot be opened")),
        Err(_) => bail!("device `{device}`: there is no such GPU"),
    }
}

#[cfg(not(feature = "metal"))]
fn metal(device: DeviceName, _number: usize) -> anyhow::Result<Device> {
    Err(without(device, "metal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<DeviceName, String> {
        text.parse().map_err(|error: anyhow::Error| error.to_string())
    }

    #[test]
    fn names_are_read_and_written() {
        for (text, device) in [
            ("cpu", DeviceName::Cpu),
            ("cuda", DeviceName::Cuda(None)),
            ("cuda:0", DeviceName::Cuda(Some(0))),
            ("cuda:11", DeviceName::Cuda(Some(11))),
            ("metal", DeviceName::Metal(None)),
            ("metal:1", DeviceName::Metal(Some(1))),
        ] {
            assert_eq!(parsed(text), Ok(device));
            assert_eq!(device.to_string(), text);
        }
        for (text, said) in [
            ("tpu", "unknown device `tpu`"),
            ("cpu:0", "unknown device `cpu:0`"),
            ("cud", "did you mean `cuda`"),
            ("gpu", "say cuda"),
            ("mps", "metal"),
            ("cuda:", "expected a number, such as cuda:0"),
            ("cuda:-1", "expected a number, such as cuda:0"),
            ("metal:first", "expected a number, such as metal:0"),
            ("", "unknown device ``"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn the_gpu_is_the_one_asked_for_or_the_processs_own() {
        let which = |text: &str, there, variables: &[(&str, &str)]| {
            let device: DeviceName = text.parse().unwrap();
            let DeviceName::Cuda(wanted) = device else { panic!("{text}") };
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            which(device, wanted, there, variable).map_err(|error| error.to_string())
        };
        let torchrun = [("LOCAL_RANK", "3")];
        let open_mpi = [("OMPI_COMM_WORLD_LOCAL_RANK", "1")];
        assert_eq!(which("cuda", 8, &[]), Ok(0));
        assert_eq!(which("cuda", 8, &torchrun), Ok(3));
        assert_eq!(which("cuda", 8, &open_mpi), Ok(1));
        assert_eq!(which("cuda:5", 8, &torchrun), Ok(5), "a number goes before the rank's");
        assert_eq!(which("cuda", 1, &torchrun), Ok(0), "the only one that is visible");
        for (text, there, variables, parts) in [
            ("cuda", 0, &[][..], ["no GPU", "none"]),
            ("cuda:0", 0, &[], ["`cuda:0`", "none"]),
            ("cuda:1", 1, &[], ["`cuda:1`", "has 1, cuda:0"]),
            ("cuda:8", 8, &[], ["`cuda:8`", "has 8, cuda:0 to cuda:7"]),
            ("cuda", 2, &torchrun, ["number 3 (LOCAL_RANK)", "has 2, cuda:0 to cuda:1"]),
            ("cuda", 2, &[("LOCAL_RANK", "one")], ["LOCAL_RANK is `one`", "number"]),
        ] {
            let error = which(text, there, variables).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }

    #[test]
    fn what_only_fused_kernels_have_is_refused_without_them() {
        let metal = DeviceName::Metal(None);
        let bf16 = Compute { precision: Precision::Bf16, ..Compute::default() };
        let checkpointing = Compute { grad_checkpoint: true, ..Compute::default() };
        for (compute, said) in [(bf16, "fp32 alone"), (checkpointing, "no grad_checkpoint")] {
            let error = metal.check_compute(compute).unwrap_err().to_string();
            assert!(error.contains("`metal`") && error.contains(said), "{error}");
            DeviceName::Cuda(None).check_compute(compute).unwrap();
            DeviceName::Cuda(None).check_reference(compute).unwrap_err();
            DeviceName::Cpu.check_reference(compute).unwrap();
        }
        metal.check_compute(Compute::default()).unwrap();
        assert_eq!(metal.kernels(Kernels::Fused), Kernels::Reference);
    }

    #[test]
    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    fn what_was_not_built_in_is_refused() {
        for (name, said) in [("cuda", "--features cuda"), ("metal:1", "--features metal")] {
            let device: DeviceName = name.parse().unwrap();
            for refused in [device.check_built(), device.open().map(drop)] {
                let error = refused.unwrap_err();
                assert!(error.is::<crate::exit::UsageError>() && error.to_string().contains(said));
            }
        }
        assert!(DeviceName::Cpu.open().unwrap().is_cpu());
    }
}
