//! The file that a command looks at.

use std::path::PathBuf;

use longmae_weights::Checkpoint;

use super::reference::find;

#[derive(clap::Args)]
pub struct Source {
    /// A file (safetensors, or PyTorch's .pth), a folder of a run, of a checkpoint or of a model, or a model of the Hub
    #[arg(value_name = "FILE|DIR|hf://ORG/NAME[@REV][/FILE]")]
    reference: PathBuf,
    /// Of a PyTorch file with several dicts of tensors, the one under this key
    #[arg(long, value_name = "KEY")]
    part: Option<String>,
}

impl Source {
    /// Finds, fetches and opens it.
    pub fn open(&self) -> anyhow::Result<Checkpoint> {
        let path = find(&self.reference)?;
        Ok(match &self.part {
            Some(part) => Checkpoint::open_part(path, part)?,
            None => Checkpoint::open(path)?,
        })
    }
}
