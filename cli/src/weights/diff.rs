//! `longmae weights diff`: two files, tensor by tensor.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::bail;
use candle_core::{DType, Device, Tensor};
use longmae_weights::Checkpoint;
use serde::Serialize;
use serde_json::json;

use super::reference::find;
use crate::exit::usage;
use crate::output::line;
use crate::terminal::plural;

#[derive(clap::Args)]
pub struct Args {
    /// A file, a folder of a run, of a checkpoint or of a model, or a model of the Hub
    #[arg(value_name = "A")]
    a: PathBuf,
    /// What it is compared with
    #[arg(value_name = "B")]
    b: PathBuf,
    /// The largest absolute difference between numbers that count as equal
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    tolerance: f64,
    /// Print everything as one JSON object
    #[arg(long)]
    json: bool,
}

/// A tensor of which the files have different forms.
#[derive(Serialize)]
struct Form {
    name: String,
    a: String,
    b: String,
}

/// How far apart the numbers of a tensor are.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Distance {
    name: String,
    /// The largest absolute difference, of finite numbers.
    max_abs: f64,
    /// Root of the squared differences' sum over that of A's squares; none where A is zero and B is not.
    relative_l2: Option<f64>,
    /// Pairs of which one is finite and the other not, or both not and not the same.
    not_finite: u64,
    #[serde(skip)]
    squares: [f64; 2],
}

/// All that differs.
#[derive(Default, Serialize)]
struct Differences {
    only_a: Vec<String>,
    only_b: Vec<String>,
    shapes: Vec<Form>,
    types: Vec<Form>,
    /// Tensors whose numbers differ by more than the tolerance.
    numbers: Vec<Distance>,
    /// Tensors whose numbers were compared.
    compared: usize,
    /// Over all that were compared.
    max_abs: f64,
    relative_l2: Option<f64>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    if !(args.tolerance >= 0.0 && args.tolerance.is_finite()) {
        return Err(usage(format!("--tolerance {}: expected 0 or more", args.tolerance)));
    }
    let open = |path| anyhow::Ok(Checkpoint::open(find(path)?)?);
    let (a, b) = (open(&args.a)?, open(&args.b)?);
    // Keys without a bias compute what keys with one of zeros do.
    let (a, b) = (a.with_key_bias_where(b.names()), b.with_key_bias_where(a.names()));
    let differences = Differences::between(&a, &b, args.tolerance)?;
    match args.json {
        true => line(
            json!({ "equal": differences.none(), "tolerance": args.tolerance, "differences": differences }),
        ),
        false => tell(&a, &b, &differences),
    }
    if !differences.none() {
        bail!("{} and {} differ", a.path().display(), b.path().display());
    }
    Ok(())
}

impl Differences {
    fn between(a: &Checkpoint, b: &Checkpoint, tolerance: f64) -> anyhow::Result<Self> {
        let names = |file: &Checkpoint| file.names().map(str::to_owned).collect::<BTreeSet<_>>();
        let (in_a, in_b) = (names(a), names(b));
        let only = |these: &BTreeSet<String>, those| these.difference(those).cloned().collect();
        let mut found =
            Self { only_a: only(&in_a, &in_b), only_b: only(&in_b, &in_a), ..Self::default() };
        let mut squares = [0.0; 2];
        for name in in_a.intersection(&in_b) {
            let (of_a, of_b) = (a.tensor(name, &Device::Cpu)?, b.tensor(name, &Device::Cpu)?);
            let form = |a: String, b: String| Form { name: name.clone(), a, b };
            if of_a.dims() != of_b.dims() {
                let shape = |tensor: &Tensor| format!("{:?}", tensor.dims());
                found.shapes.push(form(shape(&of_a), shape(&of_b)));
                continue;
            }
            if of_a.dtype() != of_b.dtype() {
                let dtype = |tensor: &Tensor| tensor.dtype().as_str().to_owned();
                found.types.push(form(dtype(&of_a), dtype(&of_b)));
            }
            let distance = Distance::between(name, &numbers(&of_a)?, &numbers(&of_b)?);
            found.compared += 1;
            found.max_abs = found.max_abs.max(distance.max_abs);
            squares = [0, 1].map(|i| squares[i] + distance.squares[i]);
            if distance.max_abs > tolerance || distance.not_finite > 0 {
                found.numbers.push(distance);
            }
        }
        found.relative_l2 = relative(squares);
        Ok(found)
    }

    fn none(&self) -> bool {
        let Self { only_a, only_b, shapes, types, numbers, .. } = self;
        only_a.is_empty()
            && only_b.is_empty()
            && shapes.is_empty()
            && types.is_empty()
            && numbers.is_empty()
    }
}

impl Distance {
    fn between(name: &str, a: &[f64], b: &[f64]) -> Self {
        let mut found = Self { name: name.to_owned(), ..Self::default() };
        for (a, b) in a.iter().zip(b) {
            if a.is_finite() && b.is_finite() {
                found.max_abs = found.max_abs.max((a - b).abs());
                found.squares[0] += (a - b).powi(2);
                found.squares[1] += a.powi(2);
            } else if a != b && !(a.is_nan() && b.is_nan()) {
                found.not_finite += 1;
            }
        }
        found.relative_l2 = relative(found.squares);
        found
    }
}

/// The root of the quotient of two sums of squares.
fn relative([difference, a]: [f64; 2]) -> Option<f64> {
    match difference == 0.0 {
        true => Some(0.0),
        false => Some((difference / a).sqrt()).filter(|quotient| quotient.is_finite()),
    }
}

fn tell(a: &Checkpoint, b: &Checkpoint, found: &Differences) {
    for (side, checkpoint) in [("A", a), ("B", b)] {
        let layout = checkpoint.layout().map_or("no known layout".to_owned(), |l| l.to_string());
        line(format!("{side}: {} ({layout})", checkpoint.path().display()));
    }
    for (side, names) in [("A", &found.only_a), ("B", &found.only_b)] {
        names.iter().for_each(|name| line(format!("only in {side}: {name}")));
    }
    for (what, forms) in [("shape", &found.shapes), ("type", &found.types)] {
        for Form { name, a, b } in forms {
            line(format!("{what}: {name}: {a} in A, {b} in B"));
        }
    }
    for Distance { name, max_abs, relative_l2, not_finite, .. } in &found.numbers {
        let odd = match not_finite {
            0 => String::new(),
            count => format!(", {count} not finite in one of them"),
        };
        line(format!(
            "numbers: {name}: max abs {max_abs:.3e}, relative L2 {}{odd}",
            shown(*relative_l2)
        ));
    }
    line(format!(
        "{} compared, numbers differ in {}; over all max abs {:.3e}, relative L2 {}",
        plural(found.compared as u64, "tensor"),
        found.numbers.len(),
        found.max_abs,
        shown(found.relative_l2)
    ));
}

fn shown(relative: Option<f64>) -> String {
    relative.map_or("infinite (A is zero)".to_owned(), |value| format!("{value:.3e}"))
}

fn numbers(tensor: &Tensor) -> candle_core::Result<Vec<f64>> {
    tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let between = |a: &[f64], b: &[f64]| Distance::between("x", a, b);
        let found = between(&[3.0, 4.0], &[3.0, 4.5]);
        assert_eq!((found.max_abs, found.relative_l2, found.not_finite), (0.5, Some(0.1), 0));
        let nan = f64::NAN;
        assert_eq!(between(&[nan, 1.0], &[nan, 1.0]).not_finite, 0);
        assert_eq!(between(&[f64::INFINITY], &[f64::INFINITY]).not_finite, 0);
        assert_eq!(between(&[nan, 1.0, f64::INFINITY], &[1.0, nan, -f64::INFINITY]).not_finite, 3);
        assert_eq!(between(&[0.0], &[1.0]).relative_l2, None);
        assert_eq!(between(&[0.0], &[0.0]).relative_l2, Some(0.0));
    }
}
