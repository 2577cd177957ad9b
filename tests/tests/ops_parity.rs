//! Norm, softmax, GELU and linear against PyTorch, forward and backward.

use candle_core::{Tensor, Var};
use longmae_ops::{Compute, Kernels, gelu, layer_norm, linear, reference::softmax};
use longmae_tests::{Fixture, assert_close, assert_relative, fixtures};

const OUTPUT: f64 = 2e-5;
const GRADIENT: f64 = 1e-4;

/// Runs an operation on the fixture's inputs and compares its output and every input's gradient.
fn check(fixture: &Fixture, op: &str, inputs: &[&str], run: impl Fn(&[Tensor]) -> Tensor) {
    let get = |part: &str| fixture.get(&format!("{op}.{part}"));
    let vars: Vec<Var> = inputs.iter().map(|name| Var::from_tensor(get(name)).unwrap()).collect();
    let plain: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    // The same values from a transposed layout: non-contiguous input must not lose a gradient.
    let turned: Vec<Tensor> = plain.iter().map(turn_twice).collect();
    for arguments in [plain, turned] {
        let y = run(&arguments);
        assert_close(&format!("{op}.y"), &y, get("y"), OUTPUT);
        let gradients = (y * get("dy")).unwrap().sum_all().unwrap().backward().unwrap();
        for (name, var) in inputs.iter().zip(&vars) {
            let found =
                gradients.get(var).unwrap_or_else(|| panic!("{op}: no gradient for {name}"));
            assert_relative(&format!("{op}.d{name}"), found, get(&format!("d{name}")), GRADIENT);
        }
    }
}

fn turn_twice(tensor: &Tensor) -> Tensor {
    if tensor.rank() < 2 {
        return tensor.clone();
    }
    let turned = tensor.transpose(0, 1).unwrap().contiguous().unwrap().transpose(0, 1).unwrap();
    assert!(!turned.is_contiguous() || turned.dims().contains(&1));
    turned
}

#[test]
fn ops_are_pytorchs() {
    let fused = Compute::default();
    let both = [fused, Compute { kernels: Kernels::Reference, ..fused }];
    for (fixture, compute) in fixtures("ops").iter().flat_map(|f| both.map(|c| (f, c))) {
        for op in ["layer_norm", "layer_norm_constant"] {
            check(fixture, op, &["x", "weight", "bias"], |x| {
                layer_norm(&x[0], &x[1], &x[2], 1e-6, compute).unwrap()
            });
        }
        check(fixture, "softmax", &["x"], |x| softmax(&x[0]).unwrap());
        check(fixture, "gelu", &["x"], |x| gelu(&x[0], compute).unwrap());
        check(fixture, "linear", &["x", "weight", "bias"], |x| {
            linear(&x[0], &x[1], Some(&x[2]), compute).unwrap()
        });
    }
}
