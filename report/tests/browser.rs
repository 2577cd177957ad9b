//! The page in a real browser: Chromium without a window, if there is one.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use image::{ImageFormat, Rgb, RgbImage};
use longmae_report::{History, Picture, Run, encode_png, page};

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
const PATIENCE: Duration = Duration::from_secs(120);
/// The first runs' colours (Okabe and Ito's blue and vermilion), in charts and legend.
const COLOURS: [Rgb<u8>; 2] = [Rgb([0, 114, 178]), Rgb([213, 94, 0])];
const LEFT: Rgb<u8> = Rgb([200, 0, 200]);
const RIGHT: Rgb<u8> = Rgb([30, 200, 30]);

/// Writes where everything is into the page, after it opened all that is folded.
const MEASURE: &str = r#"<pre id="measured"></pre><script>
document.querySelectorAll('details').forEach(d => d.open = true);
const lines = [`page ${document.documentElement.scrollWidth} ${innerWidth}`];
const add = (name, e) => {
    const r = e.getBoundingClientRect();
    lines.push([name, r.x, r.y + scrollY, r.width, r.height].join(' '));
};
document.querySelectorAll('.charts svg').forEach(e => add('chart', e));
document.querySelectorAll('.pictures img').forEach(e => add(e.naturalWidth ? 'picture' : 'broken', e));
const box = document.querySelector('.pictures input');
box.click();
add('zoomed', box.nextElementSibling);
document.getElementById('measured').textContent = lines.join('\n');
</script></body>"#;

/// The browser's program, if there is one.
fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut found = std::env::split_paths(&path)
        .flat_map(|folder| BROWSERS.map(|name| folder.join(name)))
        .filter(|program| answers(program));
    let program = found.next();
    if program.is_none() {
        eprintln!("skipped: none of {BROWSERS:?} is there to run");
    }
    program
}

/// Whether a program is a browser: what has its name may be a note on how to install it.
fn answers(program: &Path) -> bool {
    let answer = Command::new(program).arg("--version").output();
    answer.is_ok_and(|answer| String::from_utf8_lossy(&answer.stdout).contains("Chrom"))
}

/// Runs the browser on a file and gives its output and what it logged.
fn browse(browser: &Path, folder: &Path, args: &[String], file: &Path) -> (String, String) {
    let [out, log] = ["out.txt", "log.txt"].map(|name| folder.join(name));
    let mut child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .args(["--disable-dev-shm-usage", "--enable-logging=stderr"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .args(args)
        .arg(format!("file://{}", file.display()))
        .stdin(Stdio::null())
        .stdout(File::create(&out).unwrap())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the browser hangs: {}", fs::read_to_string(&log).unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    [out, log].map(|file| String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned()).into()
}

/// A rectangle in the page, in pixels.
#[derive(Debug, Clone, Copy)]
struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// What the page's own measure wrote: names and numbers.
fn measure(browser: &Path, folder: &Path, text: &str, width: u32) -> Vec<(String, Vec<f64>)> {
    // The page forbids scripts, by a line that the copy is without.
    let policy = "<meta http-equiv=\"Content-Security-Policy\"";
    assert!(text.contains(policy));
    let copy = text.replacen(policy, "<meta name=\"no-policy\"", 1).replacen("</body>", MEASURE, 1);
    let file = folder.join("measured.html");
    fs::write(&file, copy).unwrap();
    let args = [format!("--window-size={width},1000"), "--dump-dom".to_owned()];
    let (dom, log) = browse(browser, folder, &args, &file);
    let begin = dom.find("id=\"measured\">").unwrap_or_else(|| panic!("no measure: {dom}\n{log}"));
    let lines = dom[begin..].split(['>', '<']).nth(1).unwrap();
    let parse = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next().unwrap().to_owned();
        (name, words.map(|word| word.parse().unwrap()).collect())
    };
    lines.lines().map(parse).collect()
}

fn areas(measured: &[(String, Vec<f64>)], name: &str) -> Vec<Area> {
    let found = measured.iter().filter(|(other, _)| other == name);
    found.map(|(_, v)| Area { x: v[0], y: v[1], width: v[2], height: v[3] }).collect()
}

fn screenshot(browser: &Path, folder: &Path, file: &Path, width: u32, dark: bool) -> RgbImage {
    let picture = folder.join("screenshot.png");
    let mut args =
        vec![format!("--window-size={width},6000"), format!("--screenshot={}", picture.display())];
    if dark {
        args.push("--blink-settings=preferredColorScheme=0".to_owned());
    }
    let (_, log) = browse(browser, folder, &args, file);
    // Nothing was refused by the page's policy, and nothing else went wrong in it.
    assert!(!log.contains("CONSOLE"), "{log}");
    let bytes = fs::read(&picture).unwrap_or_else(|_| panic!("no screenshot: {log}"));
    fs::remove_file(picture).unwrap();
    image::load_from_memory_with_format(&bytes, ImageFormat::Png).unwrap().into_rgb8()
}

fn near(Rgb(a): Rgb<u8>, Rgb(b): Rgb<u8>) -> bool {
    a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 24)
}

/// Pixels of about this colour in an area.
fn count(picture: &RgbImage, area: Area, colour: Rgb<u8>) -> usize {
    let (x, y) = (area.x as u32, area.y as u32);
    let pixels =
        (y..y + area.height as u32).flat_map(|y| (x..x + area.width as u32).map(move |x| (x, y)));
    pixels
        .filter(|(x, y)| picture.get_pixel_checked(*x, *y).is_some_and(|p| near(*p, colour)))
        .count()
}

/// A run with noisy curves and two pictures: one small, and one that the page has to reduce.
fn run(name: &str, height: f64) -> Run {
    let line = |step: u64| {
        let noise = (step * 7919 % 101) as f64 / 1000.0;
        let (epoch, loss) = (step as f64 / 50.0, height / (1.0 + step as f64 / 100.0) + noise);
        let kind = if step == 77 { "skip" } else { "train" };
        format!(
            "{{\"kind\":\"{kind}\",\"step\":{step},\"epoch\":{epoch},\"loss\":{loss},\"lr\":{},\"grad_norm\":{loss},\
             \"step_seconds\":0.5,\"data_seconds\":{},\"images_per_second\":{},\"rss_mb\":{}}}\n",
            loss / 100.0,
            noise * height,
            50.0 * height - noise,
            800.0 * height + step as f64
        )
    };
    let mut text: String = (1..=400).map(line).collect();
    for step in [100, 200, 300, 400] {
        let loss = height / (1.0 + f64::from(step) / 90.0);
        text.push_str(&format!(
            "{{\"kind\":\"eval\",\"step\":{step},\"epoch\":1.0,\"loss\":{loss}}}\n"
        ));
    }
    text.push_str("{\"kind\":\"resume\",\"step\":200,\"epoch\":4.0}\n");
    let picture = |step, width, height, noise: u32| {
        let pixel = |x: u32, y: u32| {
            let Rgb([red, green, blue]) = if x < width / 2 { LEFT } else { RIGHT };
            let bits = (x * 31 + y * 17).wrapping_mul(2_654_435_761) >> 8;
            Rgb([red, green, blue.saturating_add((bits % (noise + 1)) as u8)])
        };
        Picture { step, png: encode_png(&RgbImage::from_fn(width, height, pixel)).unwrap() }
    };
    Run {
        name: name.to_owned(),
        facts: vec![("model".to_owned(), "vit-nano".to_owned())],
        planned_steps: Some(800),
        recipe: vec![
            ("data".to_owned(), format!("/a/long/path/{}", name.repeat(4))),
            ("lr".to_owned(), height.to_string()),
        ],
        history: History::read(text.as_bytes()).unwrap(),
        pictures: vec![picture(100, 60, 40, 0), picture(400, 1500, 1500, 15)],
    }
}

/// A page of two runs, one with a name that no line can hold, in a folder of its own.
fn example() -> (tempfile::TempDir, String, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let text = page(&[run("short", 1.0), run(&"long-name-".repeat(12), 2.0)]).unwrap();
    let file = folder.path().join("page.html");
    fs::write(&file, &text).unwrap();
    (folder, text, file)
}

#[test]
fn nothing_is_wider_than_the_window() {
    let Some(browser) = browser() else { return };
    let (folder, text, _) = example();
    for width in [500, 1280] {
        let measured = measure(&browser, folder.path(), &text, width);
        let (scroll_width, window) = (measured[0].1[0], measured[0].1[1]);
        assert_eq!(measured[0].0, "page");
        assert!((window - f64::from(width)).abs() <= 30.0, "the window is {window}, not {width}");
        assert!(scroll_width <= window, "{scroll_width} is wider than {window}");
        let charts = areas(&measured, "chart");
        assert_eq!(charts.len(), 7);
        let columns = charts.iter().filter(|chart| (chart.y - charts[0].y).abs() < 1.0).count();
        assert_eq!(columns, if width == 500 { 1 } else { 2 });
        for chart in charts {
            assert!(chart.width > 300.0 && chart.x + chart.width <= window, "{chart:?}");
            assert!((chart.width / chart.height - 580.0 / 320.0).abs() < 0.02, "{chart:?}");
        }
        assert_eq!((areas(&measured, "picture").len(), areas(&measured, "broken").len()), (4, 0));
        let zoomed = areas(&measured, "zoomed")[0];
        assert!(zoomed.width == window && zoomed.height > 500.0, "{zoomed:?}");
    }
}

#[test]
fn curves_and_pictures_are_drawn_in_light_and_in_dark() {
    let Some(browser) = browser() else { return };
    let (folder, text, file) = example();
    let measured = measure(&browser, folder.path(), &text, 1280);
    let (charts, pictures) = (areas(&measured, "chart"), areas(&measured, "picture"));
    let mut papers = Vec::new();
    for dark in [false, true] {
        let shot = screenshot(&browser, folder.path(), &file, 1280, dark);
        assert_eq!(shot.width(), 1280);
        for chart in &charts {
            for colour in COLOURS {
                let found = count(&shot, *chart, colour);
                assert!(found > 100, "{found} pixels of {colour:?} in {chart:?}");
            }
            // The chart's corner is paper: the same in every chart, another in the dark.
            papers.push(*shot.get_pixel(chart.x as u32 + 2, chart.y as u32 + 2));
        }
        for picture in &pictures {
            let half = Area { width: picture.width / 2.0 - 4.0, ..*picture };
            let area = half.width * half.height;
            assert!(count(&shot, half, LEFT) as f64 > 0.9 * area, "{picture:?}");
            let right = Area { x: picture.x + picture.width / 2.0 + 4.0, ..half };
            assert!(count(&shot, right, RIGHT) as f64 > 0.9 * area, "{picture:?}");
        }
    }
    let (light, dark) = papers.split_at(charts.len());
    assert!(light.iter().all(|paper| *paper == Rgb([255; 3])), "{light:?}");
    assert!(
        dark.iter().all(|paper| *paper == dark[0] && paper.0.iter().all(|c| *c < 64)),
        "{dark:?}"
    );
}
