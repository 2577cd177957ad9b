//! `longmae detect`: training, scoring and drawing.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::{fails, longmae_command, losses, records, small, succeeds};
use longmae_report::{RgbImage, write_png};
use serde_json::{Value, json};

/// A detector of seconds on pictures of 64 pixels, with everything that is random switched on.
const SMALL: [&str; 33] = [
    "detect",
    "--data",
    "coco:set",
    "--encoder-dim",
    "32",
    "--encoder-depth",
    "2",
    "--encoder-heads",
    "2",
    "--image-size",
    "64",
    "--window",
    "3",
    "--global-blocks",
    "1",
    "--pyramid-dim",
    "16",
    "--box-fc-dim",
    "32",
    "--box-convs",
    "1",
    "--mask-convs",
    "1",
    "--proposals",
    "32",
    "--roi-samples",
    "16",
    "--rpn-samples",
    "32",
    "--batch-size",
    "2",
    "--drop-path",
    "0.1",
];

fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = longmae_command(args);
    command.current_dir(folder).env("RAYON_NUM_THREADS", "1").output().unwrap()
}

fn detect(folder: &Path, args: &[&str]) -> Output {
    run(folder, &[&SMALL[..], &["--workers", "1", "--lr", "1e-3"], args].concat())
}

/// Pictures of one to three squares and triangles, which differ in colour.
const PICTURES: usize = 8;

/// The objects of a picture: x, y, side and whether it is a triangle.
fn objects(number: usize) -> Vec<(u32, u32, u32, bool)> {
    let place = |i: usize| {
        let (i, number) = (i as u32, number as u32);
        let side = 12 + 5 * ((number + i) % 3);
        (2 + 20 * i, 4 + (7 * number + 11 * i) % 24, side, (number + i) % 2 == 1)
    };
    (0..1 + number % 3).map(place).collect()
}

fn draw(number: usize) -> RgbImage {
    let mut image =
        RgbImage::from_fn(64, 48, |x, y| [(90 + x % 7) as u8, (90 + y % 5) as u8, 100].into());
    for (x, y, side, triangle) in objects(number) {
        for row in 0..side {
            for column in 0..if triangle { row } else { side } {
                let colour = if triangle { [20, 40, 230] } else { [230, 40, 20] };
                image.put_pixel(x + column, y + row, colour.into());
            }
        }
    }
    image
}

fn annotation(id: usize, image: usize, (x, y, side, triangle): (u32, u32, u32, bool)) -> Value {
    let (x, y, side) = (f64::from(x), f64::from(y), f64::from(side));
    let mut outline = vec![x, y, x + side, y + side, x, y + side];
    if !triangle {
        outline = vec![x, y, x + side, y, x + side, y + side, x, y + side];
    }
    json!({
        "id": id,
        "image_id": image,
        "category_id": if triangle { 9 } else { 4 },
        "bbox": [x, y, side, side],
        "area": side * side,
        "iscrowd": 0,
        "segmentation": [outline],
    })
}

fn annotations() -> Value {
    let image = |number: usize| json!({ "id": 10 + number, "file_name": format!("{number}.png"), "height": 48, "width": 64 });
    let all =
        (0..PICTURES).flat_map(|number| objects(number).into_iter().map(move |o| (number, o)));
    let all = all.enumerate().map(|(i, (number, object))| annotation(i + 1, 10 + number, object));
    json!({
        "images": (0..PICTURES).map(image).collect::<Vec<_>>(),
        "annotations": all.collect::<Vec<_>>(),
        "categories": [{ "id": 4, "name": "square" }, { "id": 9, "name": "triangle" }],
    })
}

/// A folder with the pictures laid out as COCO is.
fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("set/train2017");
    fs::create_dir_all(&images).unwrap();
    fs::create_dir_all(folder.path().join("set/annotations")).unwrap();
    for number in 0..PICTURES {
        write_png(images.join(format!("{number}.png")), &draw(number)).unwrap();
    }
    annotate(folder.path(), &annotations());
    folder
}

const ANNOTATIONS: &str = "set/annotations/instances_train2017.json";

fn annotate(folder: &Path, annotations: &Value) {
    fs::write(folder.join(ANNOTATIONS), annotations.to_string()).unwrap();
}

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn objects_are_learnt_scored_and_drawn() {
    let folder = prepared();
    let folder = folder.path();
    let args = [
        "--val-data",
        "coco:set",
        "--val-every",
        "20",
        "--epochs",
        "40",
        "--layer-decay",
        "1",
        "--min-scale",
        "1",
        "--max-scale",
        "1",
        "--drop-path",
        "0",
        "--score-threshold",
        "0.01",
        "--warmup-epochs",
        "1",
        "--lr",
        "3e-3",
        "--anchor-size",
        "8",
        "--ema",
        "0.9",
        "--out",
        "run",
    ];
    let said = succeeds(&detect(folder, &args));
    assert!(
        said.contains("Mask R-CNN") && said.contains("8 images with objects of 2 categories"),
        "{said}"
    );
    let run_folder = folder.join("run");
    let all = losses(&run_folder);
    assert!(all.last().unwrap().1 < 0.5 * all[0].1, "{} to {}", all[0].1, all.last().unwrap().1);
    let evals = records(&run_folder, "eval");
    assert_eq!((evals.len(), records(&run_folder, "eval_ema").len()), (2, 2));
    let evaluation = json_of(&run_folder.join("evaluation.json"));
    let stat = |kind: &str, at: usize| evaluation[kind]["stats"][at].as_f64().unwrap();
    assert_eq!(evals[1]["box_ap50"], evaluation["bbox"]["stats"][1]);
    assert_eq!(evals[1]["mask_ap"], evaluation["segm"]["stats"][0]);
    assert!(stat("bbox", 1) > 0.3, "box AP50 {}", stat("bbox", 1));
    assert_eq!(evaluation["bbox"]["per_category"][1]["name"], "triangle");

    // What it writes scores the same elsewhere.
    for (kind, file) in [("bbox", "results.json"), ("segm", "results-segm.json")] {
        let results = format!("run/{file}");
        succeeds(&run(
            folder,
            &[
                "coco-eval",
                "--annotations",
                ANNOTATIONS,
                "--results",
                &results,
                "--iou-type",
                kind,
                "--json",
                "figures.json",
            ],
        ));
        assert_eq!(
            json_of(&folder.join("figures.json"))["stats"],
            evaluation[kind]["stats"],
            "{kind}"
        );
    }
    // The file alone says all of it again.
    let weights = "run/detector.safetensors";
    let again = ["detect", "--eval", weights, "--val-data", "coco:set", "--out", "again"];
    let said = succeeds(&run(folder, &again));
    assert_eq!(json_of(&folder.join("again/evaluation.json")), evaluation, "{said}");
    // So does its best checkpoint, and a folder of images with a file of annotations.
    let best = ["detect", "--eval", "--init-weights", "run", "--val-data"];
    let files = "coco:set/train2017#set/annotations/instances_train2017.json";
    succeeds(&run(folder, &[&best[..], &[files]].concat()));

    let predict = [
        "detect",
        "--init-weights",
        weights,
        "--predict",
        "set/train2017/0.png",
        "set/train2017/1.png",
        "--out",
        "drawn",
        "--min-score",
        "0.02",
    ];
    let said = succeeds(&run(folder, &predict));
    assert!(said.contains("predictions.json: 2 images"), "{said}");
    assert!(folder.join("drawn/0.png").is_file() && folder.join("drawn/1.png").is_file());
    let listed = json_of(&folder.join("drawn/predictions.json"));
    let listed = listed.as_array().unwrap();
    assert!(!listed.is_empty());
    // One image after the other, as it was drawn.
    let single = ["--val-data", "coco:set", "--batch-size", "1", "--out", "single"];
    succeeds(&run(folder, &[&["detect", "--eval", weights][..], &single].concat()));
    let results = json_of(&folder.join("single/results.json"));
    let of_first = |list: &[Value], key: &str, value: &Value| -> Vec<Value> {
        list.iter().filter(|one| one[key] == *value).map(|one| one["bbox"].clone()).collect()
    };
    assert_eq!(
        of_first(listed, "file_name", &"set/train2017/0.png".into()),
        of_first(results.as_array().unwrap(), "image_id", &10.into())
    );
    assert!(
        listed
            .iter()
            .all(|one| ["square", "triangle"].contains(&one["category"].as_str().unwrap()))
    );

    let said = succeeds(&run(folder, &["weights", "inspect", weights]));
    assert!(said.contains("detector") && said.contains("2: square, triangle"), "{said}");
    succeeds(&run(folder, &["weights", "verify", weights]));
    // Converted to its own layout, it is the same detector; to another one, what is no encoder's stays behind.
    succeeds(&run(
        folder,
        &["weights", "convert", weights, "copy.safetensors", "--to", "detectron2"],
    ));
    let copy = ["detect", "--eval", "copy.safetensors", "--val-data", "coco:set", "--out", "copy"];
    succeeds(&run(folder, &copy));
    assert_eq!(json_of(&folder.join("copy/evaluation.json")), evaluation);
    // As detectron2's files, which say nothing of themselves: the flags do, and the categories are the data's.
    let bare = |name: &str, more: &[&str]| {
        let bytes = fs::read(folder.join(weights)).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut tensors = file.tensors();
        let view = file.tensor("backbone.net.pos_embed").unwrap();
        tensors.extend(more.iter().map(|name| ((*name).to_owned(), view.clone())));
        fs::write(folder.join(name), safetensors::serialize(tensors, None).unwrap()).unwrap();
    };
    bare("bare.safetensors", &["pixel_mean"]);
    let sizes = ["--anchor-size", "8", "--score-threshold", "0.01", "--val-data", "coco:set"];
    let sizes = [&["detect"][..], &SMALL[3..], &sizes].concat();
    succeeds(&run(
        folder,
        &[&sizes[..], &["--eval", "bare.safetensors", "--out", "bare"]].concat(),
    ));
    assert_eq!(json_of(&folder.join("bare/evaluation.json")), evaluation);
    bare("more.safetensors", &["roi_heads.extra.weight"]);
    let refused = run(folder, &[&sizes[..], &["--eval", "more.safetensors"]].concat());
    fails(&refused, 1, &["more.safetensors", "roi_heads.extra.weight"]);
    let mae = ["weights", "convert", weights, "mae.safetensors", "--to", "mae", "--allow-partial"];
    assert!(succeeds(&run(folder, &mae)).contains("left in the file"));
}

#[test]
fn neither_workers_nor_an_interruption_change_a_run() {
    let folder = prepared();
    let folder = folder.path();
    let steps = ["--max-steps", "6", "--save-every", "3", "--keep", "9", "--ema", "0.9"];
    succeeds(&detect(folder, &[&steps[..], &["--out", "one"]].concat()));
    succeeds(&detect(folder, &[&steps[..], &["--out", "three", "--workers", "3"]].concat()));
    let one = folder.join("one");
    assert_eq!(losses(&one).len(), 6);
    assert_eq!(losses(&one), losses(&folder.join("three")));
    let bytes = |run: &str| fs::read(folder.join(run).join("detector.safetensors")).unwrap();
    let whole = bytes("one");
    assert!(whole == bytes("three"), "the same file");
    // As if it had been cut off after its first checkpoint.
    let before = losses(&one);
    fs::remove_dir_all(one.join("checkpoints/step-00000006")).unwrap();
    fs::remove_file(one.join("detector.safetensors")).unwrap();
    succeeds(&run(folder, &["detect", "--resume", "one"]));
    assert_eq!(losses(&one), before);
    assert!(bytes("one") == whole, "the same file");
    // The sizes of what is in its checkpoints stay.
    let other = run(
        folder,
        &["detect", "--resume", "one", "--pyramid-dim", "32", "--allow-changes", "pyramid_dim"],
    );
    fails(&other, 2, &["pyramid_dim"]);
}

/// A cascade, fewer masks, and rates that drop.
#[test]
fn cascades_steps_and_boxes_alone() {
    let folder = prepared();
    let folder = folder.path();
    // Of outlines, only boxes are left.
    let mut boxes = annotations();
    for one in boxes["annotations"].as_array_mut().unwrap() {
        one.as_object_mut().unwrap().remove("segmentation");
    }
    annotate(folder, &boxes);
    fails(
        &detect(folder, &["--out", "masks"]),
        1,
        &["annotation 1 of", "no segmentation", "--masks false"],
    );
    let small: Vec<&str> =
        SMALL.iter().copied().filter(|arg| !["--mask-convs"].contains(arg)).collect();
    let at = small.iter().position(|arg| *arg == "--proposals").unwrap();
    let small = [&small[..at - 1], &small[at..]].concat();
    let cascade = [
        "--cascade",
        "--masks",
        "false",
        "--box-loss",
        "giou",
        "--val-data",
        "coco:set",
        "--workers",
        "1",
    ];
    let schedule = [
        "--epochs",
        "5",
        "--warmup-epochs",
        "1",
        "--lr",
        "1e-3",
        "--lr-drops",
        "0.5,0.8",
        "--out",
        "run",
    ];
    let said = succeeds(&run(folder, &[&small[..], &cascade, &schedule].concat()));
    assert!(said.contains("Cascade Faster R-CNN"), "{said}");
    let rates: Vec<f64> =
        records(&folder.join("run"), "train").iter().map(|r| r["lr"].as_f64().unwrap()).collect();
    let near = |at: usize, rate: f64| assert!((rates[at] - rate).abs() < 1e-9, "{at}: {rates:?}");
    // Steps of 4 an epoch: 20 in all, 4 of warm-up.
    [(0, 1e-6), (4, 1e-3), (9, 1e-3), (10, 1e-4), (15, 1e-4), (16, 1e-5), (19, 1e-5)]
        .into_iter()
        .for_each(|(at, rate)| near(at, rate));
    let evaluation = json_of(&folder.join("run/evaluation.json"));
    assert!(evaluation["bbox"].is_object() && evaluation.get("segm").is_none());
    assert!(!folder.join("run/results-segm.json").exists());
}

#[test]
fn an_encoder_is_taken_over_strictly() {
    let folder = prepared();
    let folder = folder.path();
    let tower = ["--encoder-dim", "32", "--encoder-depth", "2", "--encoder-heads", "2"];
    let pretrain = [
        "--data",
        "demo",
        "--max-steps",
        "1",
        "--out",
        "mae",
        "--patch-size",
        "16",
        "--image-size",
        "96",
    ];
    succeeds(&small(folder, &[&tower[..], &pretrain].concat()));
    let start = [
        "--init-weights",
        "mae/encoder.safetensors",
        "--max-steps",
        "1",
        "--lr",
        "1e-12",
        "--out",
        "run",
    ];
    let said = succeeds(&detect(folder, &start));
    assert!(said.contains("new in the detector"), "{said}");
    // The positions are those of 6 x 6 patches, and nothing was made to fit.
    let recipe = fs::read_to_string(folder.join("run/recipe.toml")).unwrap();
    assert!(recipe.contains("pretrain_size = 96"), "{recipe}");
    assert!(!said.contains("adapted from"), "{said}");
    let tensors = |path: &str| {
        let bytes = fs::read(folder.join(path)).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let get = |name: &str| file.tensor(name).unwrap().data().to_vec();
        let prefix = if path.contains("detector") { "backbone.net." } else { "" };
        [
            "pos_embed",
            "patch_embed.proj.weight",
            "blocks.1.mlp.fc2.weight",
            "blocks.0.attn.qkv.weight",
        ]
        .map(|name| get(&format!("{prefix}{name}")))
    };
    // A rate of 1e-12 changes no f32 of order one by more than its last bits.
    let (before, after) = (tensors("mae/encoder.safetensors"), tensors("run/detector.safetensors"));
    for (before, after) in before.iter().zip(&after) {
        let numbers = |bytes: &[u8]| -> Vec<f32> {
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
        };
        let (before, after) = (numbers(before), numbers(after));
        assert_eq!(before.len(), after.len());
        assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-6));
    }
    // Another width fits in no way.
    let other =
        ["--init-weights", "mae/encoder.safetensors", "--encoder-dim", "64", "--out", "other"];
    fails(&detect(folder, &other), 1, &["encoder.safetensors", "blocks.0"]);
    // A whole detector goes on as what it was; one with other categories only in part.
    let whole =
        ["--data", "coco:set", "--init-weights", "run/detector.safetensors", "--workers", "1"];
    let more = ["--image-size", "64", "--batch-size", "2", "--lr", "1e-3", "--max-steps", "1"];
    succeeds(&run(folder, &[&["detect"][..], &whole, &more, &["--out", "next"]].concat()));
    let mut three = annotations();
    three["categories"].as_array_mut().unwrap().push(json!({ "id": 11, "name": "circle" }));
    annotate(folder, &three);
    let strict = run(folder, &[&["detect"][..], &whole, &more, &["--out", "strict"]].concat());
    fails(&strict, 1, &["cls_score"]);
    let part = [&["detect"][..], &whole, &more, &["--allow-partial", "--out", "part"]].concat();
    let said = succeeds(&run(folder, &part));
    assert!(said.contains("left at its initial value") && said.contains("cls_score"), "{said}");
    // And it cannot be scored on a category that it never saw.
    let unknown =
        run(folder, &["detect", "--eval", "run/detector.safetensors", "--val-data", "coco:set"]);
    fails(&unknown, 1, &["circle", "not among those trained on"]);
    // What is no detector is none.
    let none =
        run(folder, &["detect", "--eval", "mae/encoder.safetensors", "--val-data", "coco:set"]);
    fails(&none, 1, &["holds no detector"]);
}

/// A change of the annotations, what they are refused with; or a run of two steps.
fn with_change(change: impl FnOnce(&mut Value), refused: &[&str]) {
    let folder = prepared();
    let folder = folder.path();
    let mut all = annotations();
    change(&mut all);
    annotate(folder, &all);
    let output = detect(folder, &["--max-steps", "2", "--out", "run"]);
    if refused.is_empty() {
        succeeds(&output);
        assert_eq!(losses(&folder.join("run")).len(), 2);
    } else {
        fails(&output, 1, refused);
        assert!(!folder.join("run").exists());
    }
}

#[test]
fn annotations_that_contradict_themselves_are_refused_by_name() {
    let set =
        |key: &'static str, value: Value| move |all: &mut Value| all["annotations"][2][key] = value;
    with_change(set("image_id", json!(99)), &["annotation 3 is of image 99"]);
    with_change(set("category_id", json!(5)), &["annotation 3 of image", "category 5"]);
    with_change(set("bbox", json!([1, 2, -3, 4])), &["annotation 3", "-3 wide"]);
    with_change(set("segmentation", json!([[1, 2, 3, 4, 5]])), &["annotation 3", "5 coordinates"]);
    let runs = json!({ "size": [10, 10], "counts": [50, 50] });
    with_change(set("segmentation", runs), &["annotation 3", "10 x 10", "48 x 64"]);
    let runs = json!({ "size": [48, 64], "counts": [50, 50] });
    with_change(set("segmentation", runs), &["annotation 3", "100 pixels"]);
    with_change(|all| all["categories"] = json!([]), &["annotation 1", "category"]);
    with_change(|all| all["annotations"] = json!([]), &["none of its 8 images has an object"]);
    with_change(|all| all["images"][0]["height"] = json!(0), &["image 10", "0 rows"]);
    with_change(|all| all["images"][0]["file_name"] = json!("../0.png"), &["../0.png"]);
}

/// As detectron2: objects without a visible part, polygons of two points and crowds are left out, and images without objects
/// are not trained on.
#[test]
fn objects_that_are_nothing_are_left_out() {
    with_change(|all| all["annotations"][2]["bbox"] = json!([10, 10, 0, 0]), &[]);
    with_change(|all| all["annotations"][2]["bbox"] = json!([1000, 1000, 20, 20]), &[]);
    with_change(|all| all["annotations"][2]["segmentation"] = json!([[1, 2, 9, 9]]), &[]);
    let outside = json!([[500, 500, 520, 500, 520, 520]]);
    with_change(|all| all["annotations"][2]["segmentation"] = outside, &[]);
    with_change(
        |all| {
            for one in all["annotations"].as_array_mut().unwrap() {
                if one["image_id"] != 10 && one["image_id"] != 11 {
                    one["iscrowd"] = json!(1);
                }
            }
        },
        &[],
    );
    // Of all objects nothing is left: there are still losses.
    with_change(
        |all| {
            for one in all["annotations"].as_array_mut().unwrap() {
                one["segmentation"] = json!([[500, 500, 520, 500, 520, 520]]);
            }
        },
        &[],
    );
    let folder = prepared();
    let mut all = annotations();
    all["annotations"]
        .as_array_mut()
        .unwrap()
        .retain(|one| one["image_id"] == 10 || one["image_id"] == 11);
    annotate(folder.path(), &all);
    let said = succeeds(&detect(folder.path(), &["--dry-run"]));
    assert!(said.contains("2 x 1 an epoch"), "{said}");
    let said = succeeds(&detect(folder.path(), &["--dry-run", "--keep-empty"]));
    assert!(said.contains("8 x 1 an epoch"), "{said}");
}

#[test]
fn images_that_cannot_be_read_are_named() {
    let folder = prepared();
    let folder = folder.path();
    fs::remove_file(folder.join("set/train2017/3.png")).unwrap();
    fs::write(folder.join("set/train2017/4.png"), b"").unwrap();
    write_png(folder.join("set/train2017/5.png"), &RgbImage::new(48, 64)).unwrap();
    // In training the next good image takes the place, up to a limit.
    let args = ["--max-steps", "8", "--out", "run"];
    let said = succeeds(&detect(folder, &args));
    let log = fs::read_to_string(folder.join("run/log.txt")).unwrap();
    for name in ["3.png", "4.png", "5.png"] {
        assert!(log.contains(name), "{name}: {log}\n{said}");
    }
    let strict = ["--max-corrupt", "0", "--max-steps", "8", "--out", "strict"];
    assert_eq!(detect(folder, &strict).status.code(), Some(1));
    // Figures without an image would be others.
    let eval = ["detect", "--eval", "run/detector.safetensors", "--val-data", "coco:set"];
    fails(&run(folder, &eval), 1, &["3.png"]);
}

#[test]
fn mistakes_of_the_arguments_end_with_code_2() {
    let folder = prepared();
    let folder = folder.path();
    for (args, parts) in [
        (&["--crop", "random"][..], &["crop", "--min-scale"][..]),
        (&["--val-share", "0.1"], &["val_share", "--val-data"]),
        (&["--decode", "scaled"], &["decode"]),
        (&["--min-lr", "1e-6"], &["min_lr", "cosine"]),
        (&["--lr-schedule", "cosine", "--lr-drops", "0.5,0.6"], &["lr_drops"]),
        (&["--lr-schedule", "stairs"], &["lr_schedule", "stairs"]),
        (&["--lr-drops", "0.9,0.5"], &["lr_drops", "smaller one first"]),
        (&["--patch-size", "32", "--image-size", "32"], &["image_size", "two patches"]),
        (&["--patch-size", "12", "--image-size", "72"], &["patch_size 12", "power of two"]),
        (&["--image-size", "64x96"], &["64x96", "square"]),
        (&["--global-blocks", "3"], &["global_blocks 3", "2 blocks"]),
        (&["--cascade", "--agnostic-boxes", "false"], &["agnostic_boxes"]),
        (&["--masks", "false"], &["mask_convs", "--masks false"]),
        (&["--box-loss", "l2"], &["box_loss", "l2"]),
        (&["--min-scale", "0"], &["scale"]),
        (&["--roi-samples", "0"], &["roi_samples 0"]),
        (&["--layer-decay", "2"], &["layer_decay 2"]),
        (&["--eval", "x.safetensors", "--val-data", "coco:set"], &["leave --data away"]),
        (&["--predict", "x.png"], &["--out"]),
        (&["--min-score", "0.5"], &["--predict"]),
    ] {
        let output = detect(folder, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", common::stderr(&output));
        let text = common::stderr(&output);
        assert!(parts.iter().all(|part| text.contains(part)), "{args:?}: {text}");
    }
    // What is no dataset of objects is told from its name; what is looked at, with code 1.
    fails(&detect(folder, &["--data", "demo"]), 1, &["images with boxes", "coco:FOLDER"]);
    fails(&detect(folder, &["--data", "coco:set#val2017"]), 1, &["val2017"]);
    fails(&detect(folder, &["--data", "coco:set/train2017#none.json"]), 1, &["none.json"]);
}
