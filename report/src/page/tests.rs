use super::*;
use crate::{RgbImage, encode_png};

/// A run of `steps` steps that has everything a page shows.
fn run(name: &str, steps: u64, recipe: &[(&str, &str)]) -> Run {
    let mut text = String::new();
    for step in 1..=steps {
        let (epoch, loss) = (step as f64 / 10.0, 2.0 / step as f64);
        text.push_str(&format!(
            "{{\"kind\":\"train\",\"step\":{step},\"epoch\":{epoch},\"loss\":{loss},\"lr\":0.1,\"grad_norm\":2,\
             \"step_seconds\":0.9,\"data_seconds\":0.1,\"images_per_second\":8.0,\"rss_mb\":1500.0}}\n"
        ));
    }
    text.push_str(&format!("{{\"kind\":\"eval\",\"step\":{steps},\"epoch\":1,\"loss\":0.25}}\n"));
    text.push_str("{\"kind\":\"probe\",\"step\":5,\"epoch\":0.5,\"knn_top1\":0.5}\n");
    text.push_str("{\"kind\":\"probe\",\"step\":9,\"epoch\":0.9,\"knn_top1\":0.5}\n");
    text.push_str("{\"kind\":\"resume\",\"step\":5,\"epoch\":0.5,\"changes\":[\"lr was <1>\"]}\n");
    let recipe = recipe.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Run {
        name: name.to_owned(),
        facts: vec![("model".to_owned(), "vit-nano".to_owned())],
        planned_steps: Some(2 * steps),
        recipe: recipe.collect(),
        history: History::read(text.as_bytes()).unwrap(),
        pictures: vec![Picture { step: steps, png: encode_png(&RgbImage::new(9, 9)).unwrap() }],
    }
}

/// Addresses in a page beside the name of SVG.
fn addresses(page: &str) -> Vec<&str> {
    let rest = page.split("://").skip(1);
    let found = rest.map(|rest| &rest[..rest.len().min(30)]);
    found.filter(|address| !address.starts_with("www.w3.org/2000/svg\"")).collect()
}

#[test]
fn a_page_has_all_of_every_run_and_needs_nothing_else() {
    let runs = [
        run("first", 100, &[("lr", "0.1"), ("seed", "0")]),
        run("second", 70, &[("lr", "0.2"), ("seed", "0")]),
    ];
    let page = page(&runs).unwrap();
    for part in [
        "2 runs",
        "first",
        "second",
        "vit-nano",
        "100 of 200 (50%)",
        "70 of 140 (50%)",
        "Training loss",
        "Validation loss",
        "probe: knn_top1",
        "50.00% at step 5<",
        "Gradient norm",
        "Learning rate",
        "Throughput",
        "Waiting for data",
        "Memory",
        "10.0%",
        "1,500 MB",
        "0.250 at step 100",
        "1 min 40 s",
        "lr was &lt;1&gt;",
        "data:image/png;base64,",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("<svg width=\"580\"").count(), 8);
    assert!(addresses(&page).is_empty(), "{:?}", addresses(&page));
    for absent in ["<script", "@import", "url(", "src=\"/", "href="] {
        assert!(!page.contains(absent), "{absent}");
    }
}

#[test]
fn only_settings_that_differ_are_among_the_differences() {
    let runs = [
        run("a", 3, &[("lr", "0.1"), ("seed", "0"), ("only", "x")]),
        run("b", 3, &[("lr", "0.2"), ("seed", "0")]),
    ];
    let text = recipes::differences(&runs).unwrap().into_string();
    assert!(text.contains("<code>lr</code>") && text.contains("<code>only</code>"));
    assert!(!text.contains("seed"));
    let equal = recipes::differences(&[runs[0].clone(), runs[0].clone()]).unwrap().into_string();
    assert!(equal.contains("equal"));
    assert!(recipes::differences(&runs[..1]).is_none());
}

#[test]
fn everything_from_files_is_escaped() {
    let evil = "<img src=x onerror=alert(1)>&\"'";
    let mut bad = run(evil, 3, &[(evil, evil)]);
    bad.facts = vec![(evil.to_owned(), evil.to_owned())];
    let evaluation =
        format!("{{\"kind\":{0},\"step\":1,\"epoch\":1,{0}:1.0}}", serde_json::json!(evil));
    let mut history = History::read(evaluation.as_bytes()).unwrap();
    history.events = bad.history.events.clone();
    history.events[0].note = evil.to_owned();
    bad.history = history;
    for runs in [vec![bad.clone()], vec![bad, run("good", 3, &[])]] {
        let page = page(&runs).unwrap();
        assert!(!page.contains("<img src=x"));
        assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;&amp;"));
    }
}

#[test]
fn a_run_that_has_just_begun_has_a_page() {
    let page = page(&[Run { name: "new".to_owned(), ..Run::default() }]).unwrap();
    assert!(page.contains("no finite value yet"));
    assert!(!page.contains("Reconstructions") && !page.contains("Differences"));
    assert!(matches!(super::page(&[]), Err(crate::Error::Shape(_))));
}

#[test]
fn a_page_of_long_runs_stays_small() {
    let runs = vec![run("a", 20_000, &[]); 12];
    let page = page(&runs).unwrap();
    assert!(page.len() < 3_000_000, "{}", page.len());
}
