//! Metrics, nearest neighbours, logistic regression and the linear probe against torch and scikit-learn.

use candle_core::{DType, Device, Tensor, Var};
use longmae_finetune::Pca;
use longmae_finetune::metrics::{Accuracy, ConfusionMatrix, best};
use longmae_finetune::probes::{
    Features, LinearProbe, LogisticConfig, LogisticRegression, Mode, Neighbours, Vote,
};
use longmae_ops::{Compute, Kernels, Params, backward};
use longmae_patching::PatchGrid;
use longmae_tests::{Fixture, assert_close, assert_relative};
use longmae_vit::{TowerConfig, Vit, VitConfig};

fn fixture() -> Fixture {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    Fixture::open(&folder.join("probes.safetensors"))
}

fn labels(tensor: &Tensor) -> Vec<u32> {
    tensor.to_dtype(DType::U32).and_then(|labels| labels.to_vec1()).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).unwrap()
}

/// The first `samples` and the rest.
fn halves(values: &Tensor, labels: &[u32], samples: usize, classes: usize) -> [Features; 2] {
    let rest = labels.len() - samples;
    [(0, samples), (samples, rest)].map(|(start, len)| {
        let values = values.narrow(0, start, len).unwrap();
        Features::new(values, labels[start..start + len].to_vec(), classes).unwrap()
    })
}

#[test]
fn metrics_are_torchs_and_scikit_learns() {
    let fixture = fixture();
    let labels = labels(fixture.get("metrics.labels"));
    let scores = numbers(fixture.get("metrics.scores"));
    let mut accuracy = Accuracy::default();
    accuracy.add(&scores, 8, &labels).unwrap();
    let found = [accuracy.top1() as f32, accuracy.top5() as f32];
    assert_eq!(found.as_slice(), numbers(fixture.get("metrics.top")));

    let predicted: Vec<u32> = scores.chunks(8).map(|scores| best(scores).unwrap() as u32).collect();
    let mut matrix = ConfusionMatrix::new(8);
    matrix.add(&labels, &predicted).unwrap();
    let expected: Vec<i64> =
        fixture.get("metrics.confusion").flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(matrix.counts().iter().map(|n| *n as i64).collect::<Vec<_>>(), expected);
    // The last class has no samples, and does not count.
    assert_eq!(matrix.per_class()[7], None);
    let balanced = numbers(fixture.get("metrics.balanced"))[0];
    assert!((matrix.mean_per_class() as f32 - balanced).abs() < 1e-6);
    assert!((matrix.accuracy() - accuracy.top1()).abs() < 1e-12);
}

#[test]
fn neighbours_are_scikit_learns() {
    let fixture = fixture();
    let all = labels(fixture.get("knn.labels"));
    let [known, asked] = halves(fixture.get("knn.values"), &all, 300, 7);
    let found = Neighbours::find(&known, &asked, 20).unwrap();
    let flat: Vec<(u32, f32)> = found.iter().flatten().collect();
    let indices: Vec<i64> = flat.iter().map(|(index, _)| i64::from(*index)).collect();
    let expected: Vec<i64> = fixture.get("knn.indices").flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(indices, expected);
    let cosines: Vec<f32> = flat.iter().map(|(_, cosine)| *cosine).collect();
    let cosines = Tensor::from_vec(cosines, (120, 20), &Device::Cpu).unwrap();
    assert_close("cosines", &cosines, fixture.get("knn.similarities"), 1e-6);
    for (vote, name) in
        [(Vote::Plain, "knn.plain"), (Vote::Weighted { temperature: 0.07 }, "knn.weighted")]
    {
        let votes = found.votes(vote).unwrap();
        let predicted: Vec<i64> =
            votes.chunks(7).map(|votes| best(votes).unwrap() as i64).collect();
        assert_eq!(predicted, fixture.get(name).to_vec1::<i64>().unwrap(), "{name}");
        let votes = Tensor::from_vec(votes, (120, 7), &Device::Cpu).unwrap();
        assert_close(name, &votes, fixture.get(&format!("{name}_votes")), 2e-5);
    }
}

#[test]
fn logistic_regression_is_scikit_learns() {
    let fixture = fixture();
    for (name, classes, standardise) in
        [("plain", 6, false), ("standard", 6, true), ("loose", 6, true), ("two", 2, true)]
    {
        let get = |what: &str| fixture.get(&format!("logistic.{name}.{what}"));
        let [train, test] = halves(get("values"), &labels(get("labels")), 400, classes);
        let c = f64::from(numbers(get("c"))[0]);
        // In f32 the gradient of features of any size is not known to more digits.
        let tolerance = if standardise { 1e-5 } else { 1e-4 };
        let config = LogisticConfig { c, standardise, tolerance, ..LogisticConfig::default() };
        let model = LogisticRegression::fit(&train, &config).unwrap();
        let fit = model.result();
        assert!(fit.converged && fit.iterations < 60, "{name}: {fit:?}");
        let objective = f64::from(numbers(get("objective"))[0]);
        assert!((fit.objective / objective - 1.0).abs() < 1e-5, "{name}: {fit:?}, {objective}");

        let scores = model.logits(test.values()).unwrap();
        let probabilities = longmae_ops::reference::softmax(&scores).unwrap();
        assert_close(name, &probabilities, get("probabilities"), 2e-3);
        let mut accuracy = Accuracy::default();
        accuracy.add(&numbers(&scores), classes, test.labels()).unwrap();
        let expected = f64::from(numbers(get("accuracy"))[0]);
        assert!((accuracy.top1() - expected).abs() <= 0.002 + 1e-6, "{name}");

        // Of two classes scikit-learn keeps the difference; of more, the weights that it has are unique.
        let (mut weight, bias) = (model.affine().weight.clone(), &model.affine().bias);
        let mut shifted =
            (bias - bias.mean_all().unwrap().to_scalar::<f32>().unwrap() as f64).unwrap();
        if classes == 2 {
            let difference = |tensor: &Tensor| {
                (tensor.narrow(0, 1, 1).unwrap() - tensor.narrow(0, 0, 1).unwrap()).unwrap()
            };
            (weight, shifted) = (difference(&weight), difference(bias));
        }
        assert_relative(name, &weight, get("weight"), 2e-3);
        assert_close(name, &shifted, get("bias"), 5e-3);

        // As a linear probe that was never trained.
        let probe = LinearProbe::new(12, classes, &Params::new(0, &Device::Cpu)).unwrap();
        model.copy_to(&probe).unwrap();
        let again = probe.forward(test.values(), Mode::Evaluate).unwrap();
        assert_close(name, &again, &scores, 1e-6);
    }
}

#[test]
fn the_fit_does_not_depend_on_what_runs_beside_it() {
    let fixture = fixture();
    let get = |what: &str| fixture.get(&format!("logistic.standard.{what}"));
    let [train, _] = halves(get("values"), &labels(get("labels")), 400, 6);
    let fit = || LogisticRegression::fit(&train, &LogisticConfig::default()).unwrap();
    let (first, second) = (fit(), fit());
    assert!(first.result().converged && first.result() == second.result());
    assert_eq!(numbers(&first.affine().weight), numbers(&second.affine().weight));
    let few = LogisticConfig { max_iterations: 3, ..LogisticConfig::default() };
    let few = LogisticRegression::fit(&train, &few).unwrap().result();
    assert!(!few.converged && few.iterations == 3 && few.objective > first.result().objective);
}

#[test]
fn classes_are_needed() {
    let values = Tensor::ones((4, 2), DType::F32, &Device::Cpu).unwrap();
    let one = Features::new(values.clone(), vec![1; 4], 3).unwrap();
    let message = LogisticRegression::fit(&one, &LogisticConfig::default()).unwrap_err();
    assert!(message.to_string().contains("one class"), "{message}");
    assert!(Features::new(values.clone(), vec![3; 4], 3).is_err());
    assert!(Features::new(values.clone(), vec![0; 3], 3).is_err());
    let broken = (values / 0.0).unwrap();
    let message = Features::new(broken, vec![0; 4], 3).unwrap_err().to_string();
    assert!(message.contains("not finite in sample 0"), "{message}");
    // Equal features of two classes: nothing can be learnt, and nothing breaks.
    let values = Tensor::ones((4, 2), DType::F32, &Device::Cpu).unwrap();
    let features = Features::new(values, vec![0, 1, 0, 1], 2).unwrap();
    let fit = LogisticRegression::fit(&features, &LogisticConfig::default()).unwrap().result();
    assert!(fit.converged && (fit.objective - 2f64.ln()).abs() < 1e-6, "{fit:?}");
}

/// Mean cross-entropy in plain candle.
fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Tensor {
    let probabilities = longmae_ops::reference::softmax(logits).unwrap();
    let own = probabilities.gather(&labels.unsqueeze(1).unwrap(), 1).unwrap();
    own.log().unwrap().mean_all().unwrap().neg().unwrap()
}

#[test]
fn a_linear_probe_is_trained_as_in_torch() {
    let fixture = fixture();
    let params = Params::new(0, &Device::Cpu);
    let probe = LinearProbe::new(10, 4, &params).unwrap();
    let set = |prefix: &str| {
        for param in params.all() {
            let value = fixture.get(&format!("{prefix}.{}", param.name));
            param.var.set(&value.to_dtype(param.var.dtype()).unwrap()).unwrap();
        }
    };
    set("probe.before");
    assert_eq!(params.all().len(), 5);
    assert_eq!(params.trainable().len(), 2);
    for step in 0..3 {
        let get = |what: &str| fixture.get(&format!("probe.{step}.{what}"));
        let x = Var::from_tensor(get("x")).unwrap();
        let logits = probe.forward(x.as_tensor(), Mode::Train).unwrap();
        assert_close("logits", &logits, get("logits"), 2e-5);
        let loss = cross_entropy(&logits, get("labels"));
        assert_close("loss", &loss.reshape(1).unwrap(), get("loss"), 1e-5);
        let gradients = backward(&loss).unwrap();
        assert_relative("dx", gradients.get(&x).unwrap(), get("dx"), 1e-4);
        for param in params.trainable() {
            let gradient = gradients.get(&param.var).unwrap();
            assert_relative(&param.name, gradient, get(&format!("grad.{}", param.name)), 1e-4);
            let moved = (param.var.as_detached_tensor() - (gradient * 0.1).unwrap()).unwrap();
            param.var.set(&moved).unwrap();
        }
        for param in params.all() {
            let expected = get(&format!("after.{}", param.name));
            assert_close(&param.name, param.var.as_tensor(), expected, 2e-6);
        }
    }
    let x = fixture.get("probe.evaluate.x");
    let logits = probe.forward(x, Mode::Evaluate).unwrap();
    assert_close("evaluation", &logits, fixture.get("probe.evaluate.logits"), 2e-5);
    // Evaluation leaves the running statistics alone, and one sample has no variance.
    for param in params.all() {
        let expected = fixture.get(&format!("probe.2.after.{}", param.name));
        assert_close(&param.name, param.var.as_tensor(), expected, 2e-6);
    }
    let one = x.narrow(0, 0, 1).unwrap();
    assert!(probe.forward(&one, Mode::Train).unwrap_err().to_string().contains("batch is 1"));
}

#[test]
fn principal_components_are_scikit_learns() {
    let fixture = fixture();
    let values = fixture.get("pca.values");
    let pca = Pca::fit(values, 3).unwrap();
    assert_close("components", pca.components(), fixture.get("pca.components"), 2e-5);
    let variances = Tensor::new(pca.variances(), &Device::Cpu).unwrap();
    assert_relative("variances", &variances, fixture.get("pca.variances"), 1e-5);
    let projected = pca.project(values).unwrap();
    assert_relative("projected", &projected, fixture.get("pca.projected"), 1e-5);
    assert!(Pca::fit(&values.narrow(0, 0, 1).unwrap(), 3).is_err());
    assert!(Pca::fit(values, 13).is_err() && Pca::fit(values, 0).is_err());
    let broken = (values / 0.0).unwrap();
    assert!(Pca::fit(&broken, 3).unwrap_err().to_string().contains("not finite"));
}

#[test]
fn the_class_tokens_attention_is_timms() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let fixture = Fixture::open(&folder.join("attention.safetensors"));
    for kernels in Kernels::ALL {
        let compute = Compute { kernels: *kernels, ..Compute::default() };
        let params = Params::new(0, &Device::Cpu).computing(compute);
        let grid = PatchGrid::new((12, 20), 4).unwrap();
        let config = VitConfig { grid, channels: 2, tower: TowerConfig::new(24, 3, 3) };
        let vit = Vit::new(config, &params).unwrap();
        for param in params.all() {
            param.var.set(fixture.get(&format!("weights.{}", param.name))).unwrap();
        }
        let attention = vit.class_attention(fixture.get("imgs")).unwrap();
        assert_close("attention", &attention, fixture.get("attention"), 2e-5);
        let sums = attention.sum(2).unwrap();
        assert_close("sums", &sums, &sums.ones_like().unwrap(), 1e-5);
    }
}
