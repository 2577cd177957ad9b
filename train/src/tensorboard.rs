//! Event files that TensorBoard reads: scalars and images.
//!
//! A file is a sequence of TFRecord frames, each holding one `Event` protocol buffer:
//!
//! ```text
//! length      u64, little-endian
//! length_crc  u32, masked CRC-32C of the eight bytes above
//! data        `length` bytes
//! data_crc    u32, masked CRC-32C of `data`
//! ```
//!
//! Only the fields that are written here are declared; their numbers are those of TensorFlow's
//! [`event.proto`](https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto)
//! and [`summary.proto`](https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/summary.proto).

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;

/// The first event of every file names this version of the format.
const FILE_VERSION: &str = "brain.Event:2";

/// Writes one TensorBoard event file.
///
/// Events are buffered: call [`flush`](Self::flush) to make them visible to a running TensorBoard.
/// Dropping the writer flushes too, but then an error goes unseen.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventWriter {
    /// Starts a new event file in `dir`, which is made if it is missing.
    ///
    /// The file is called `events.out.tfevents.SECONDS.longmae.PID`. An existing file is never
    /// touched: a resumed run adds a file beside the old ones, and TensorBoard joins them by step.
    ///
    /// # Errors
    ///
    /// If the folder or the file cannot be created or written.
    pub fn create(dir: impl AsRef<Path>) -> io::Result<Self> {
        let dir = dir.as_ref();
        fs::create_dir_all(dir)?;
        let now = wall_time();
        let (path, file) = create_new_file(dir, now.as_secs())?;
        let mut writer = Self { path, file: BufWriter::new(file) };
        writer.write(&Event {
            wall_time: now.as_secs_f64(),
            file_version: Some(FILE_VERSION.to_owned()),
            ..Event::default()
        })?;
        writer.flush()?;
        Ok(writer)
    }

    /// Starts a new event file, as [`create`](Self::create) does, for a run that goes on after `step` steps.
    ///
    /// It begins with a `SessionLog` `START` event of the step after: what earlier files hold of that step and later
    /// ones was lost to the run, and TensorBoard drops it (`_CheckForRestartAndMaybePurge` of its `event_accumulator`:
    /// everything whose step is not below the event's).
    ///
    /// # Errors
    ///
    /// If the folder or the file cannot be created or written.
    pub fn resume(dir: impl AsRef<Path>, step: u64) -> io::Result<Self> {
        let mut writer = Self::create(dir)?;
        writer.write(&Event {
            wall_time: wall_time().as_secs_f64(),
            step: signed(step.saturating_add(1)),
            session_log: Some(SessionLog { status: SESSION_START }),
            ..Event::default()
        })?;
        writer.flush()?;
        Ok(writer)
    }

    /// Where the events go.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds the point (`step`, `value`) to the curve `tag`, for example `train/loss`.
    ///
    /// The format keeps values in single precision; non-finite ones are allowed.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64) -> io::Result<()> {
        self.summary(step, Value { simple_value: Some(value as f32), ..Value::tagged(tag) })
    }

    /// Adds an encoded PNG of `width` x `height` pixels under `tag`.
    ///
    /// `channels` is 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGBA).
    ///
    /// # Errors
    ///
    /// If the number of channels is another one, or the file cannot be written.
    pub fn image_png(
        &mut self,
        tag: &str,
        step: u64,
        width: u32,
        height: u32,
        channels: u8,
        png_bytes: Vec<u8>,
    ) -> io::Result<()> {
        if !(1..=4).contains(&channels) {
            return Err(invalid_input(format!("image {tag}: 1 to 4 channels, not {channels}")));
        }
        let side = |name, pixels| {
            i32::try_from(pixels)
                .map_err(|_| invalid_input(format!("image {tag}: {name} of {pixels} pixels")))
        };
        let image = Image {
            height: side("height", height)?,
            width: side("width", width)?,
            colorspace: channels.into(),
            encoded_image_string: png_bytes,
        };
        self.summary(step, Value { image: Some(image), ..Value::tagged(tag) })
    }

    /// Hands everything written so far to the operating system.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn summary(&mut self, step: u64, value: Value) -> io::Result<()> {
        self.write(&Event {
            wall_time: wall_time().as_secs_f64(),
            step: signed(step),
            summary: Some(Summary { value: vec![value] }),
            ..Event::default()
        })
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        write_frame(&mut self.file, &event.encode_to_vec())
    }
}

/// A step as the format has it.
fn signed(step: u64) -> i64 {
    i64::try_from(step).unwrap_or(i64::MAX)
}

fn invalid_input(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// Time since 1970; zero on a clock that is set before it.
fn wall_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A file that did not exist before: a second writer of the same second gets a numbered name.
fn create_new_file(dir: &Path, seconds: u64) -> io::Result<(PathBuf, File)> {
    let name = format!("events.out.tfevents.{seconds}.longmae.{}", std::process::id());
    let mut path = dir.join(&name);
    let mut number = 0;
    loop {
        match File::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                number += 1;
                path = dir.join(format!("{name}.{number}"));
            }
            result => return result.map(|file| (path, file)),
        }
    }
}

fn write_frame(out: &mut impl Write, data: &[u8]) -> io::Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked_crc(&length).to_le_bytes())?;
    out.write_all(data)?;
    out.write_all(&masked_crc(data).to_le_bytes())
}

/// TFRecord's masked CRC-32C: rotated and offset, so that the CRC of data that itself holds CRCs
/// stays sound.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// `tensorflow.Event`. Its `what` is a one-of, which is the same on the wire as optional fields.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

/// `START` of `tensorflow.SessionLog.SessionStatus`.
const SESSION_START: i32 = 1;

/// `tensorflow.SessionLog`; the enumeration is an integer on the wire.
#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `tensorflow.Summary`.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

/// `tensorflow.Summary.Value`, with two of the cases of its one-of.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "4")]
    image: Option<Image>,
}

impl Value {
    fn tagged(tag: &str) -> Self {
        Self { tag: tag.to_owned(), ..Self::default() }
    }
}

/// `tensorflow.Summary.Image`; the colour space is the number of channels.
#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded_image_string: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits a file into events, checking both CRCs of every frame.
    fn read_events(path: &Path) -> Vec<Event> {
        let bytes = fs::read(path).unwrap();
        let mut rest = bytes.as_slice();
        let mut take = |n: usize| {
            let (head, tail) = rest.split_at_checked(n)?;
            rest = tail;
            Some(head)
        };
        let mut events = Vec::new();
        while let Some(length) = take(8) {
            let crc = take(4).unwrap();
            assert_eq!(crc, masked_crc(length).to_le_bytes(), "length CRC");
            let data = take(u64::from_le_bytes(length.try_into().unwrap()) as usize).unwrap();
            assert_eq!(take(4).unwrap(), masked_crc(data).to_le_bytes(), "data CRC");
            events.push(Event::decode(data).unwrap());
        }
        assert!(rest.is_empty(), "{} bytes after the last frame", rest.len());
        events
    }

    /// What `tensorboard.summary.writer.record_writer.RecordWriter` makes of
    /// `Event(wall_time=1.5, file_version="brain.Event:2")`.
    #[test]
    fn a_frame_equals_tensorboards_own() {
        let event = Event {
            wall_time: 1.5,
            file_version: Some(FILE_VERSION.to_owned()),
            ..Event::default()
        };
        let mut frame = Vec::new();
        write_frame(&mut frame, &event.encode_to_vec()).unwrap();
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c"
        );
    }

    #[test]
    fn events_read_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(dir.path().join("logs")).unwrap();
        writer.scalar("train/loss", 3, 0.25).unwrap();
        writer.scalar("train/loss", u64::MAX, f64::NAN).unwrap();
        writer.image_png("reconstruction", 4, 20, 10, 3, vec![1, 2, 3]).unwrap();
        writer.flush().unwrap();

        let events = read_events(writer.path());
        assert_eq!(events.len(), 4);
        assert_eq!(events[0].file_version.as_deref(), Some(FILE_VERSION));
        assert!(events.iter().all(|event| event.wall_time > 1.6e9));

        let value = |event: &Event| event.summary.clone().unwrap().value.remove(0);
        assert_eq!(events[1].step, 3);
        assert_eq!(value(&events[1]).tag, "train/loss");
        assert_eq!(value(&events[1]).simple_value, Some(0.25));
        assert_eq!(events[2].step, i64::MAX);
        assert!(value(&events[2]).simple_value.unwrap().is_nan());
        let image = value(&events[3]).image.unwrap();
        assert_eq!((image.width, image.height, image.colorspace), (20, 10, 3));
        assert_eq!(image.encoded_image_string, [1, 2, 3]);
    }

    /// The bytes are those of TensorBoard's own `Event(wall_time=1.5, step=13, session_log=SessionLog(status=START))`.
    #[test]
    fn a_run_that_goes_on_says_from_where() {
        let start = Event {
            wall_time: 1.5,
            step: 13,
            session_log: Some(SessionLog { status: SESSION_START }),
            ..Event::default()
        };
        let hex: String = start.encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "09000000000000f83f100d3a020801");

        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::resume(dir.path(), 12).unwrap();
        writer.scalar("train/loss", 13, 0.5).unwrap();
        writer.flush().unwrap();
        let events = read_events(writer.path());
        let started = |event: &Event| event.session_log.as_ref().map(|log| log.status);
        assert_eq!(events.iter().map(started).collect::<Vec<_>>(), [None, Some(1), None]);
        assert_eq!((events[1].step, events[2].step), (13, 13));
    }

    #[test]
    fn a_second_writer_gets_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let first = create_new_file(dir.path(), 7).unwrap().0;
        let second = create_new_file(dir.path(), 7).unwrap().0;
        assert_ne!(first, second);
        assert!(second.to_string_lossy().contains("tfevents"));
    }

    #[test]
    fn an_image_of_five_channels_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(dir.path()).unwrap();
        let error = writer.image_png("x", 0, 1, 1, 5, Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("not 5"));
    }
}
