//! Pickles in an archive that is otherwise whole, where the fuzzer would not get past the zip's lengths.
#![no_main]

mod file;

use libfuzzer_sys::fuzz_target;
use longmae_weights::StoredFile;
use std::io::{Cursor, Write};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fuzz_target!(|bytes: &[u8]| {
    file::in_file(&archive(bytes).expect("an archive in memory"), |path| {
        let Ok(stored) = StoredFile::open(path) else { return };
        for name in stored.names() {
            let tensor = stored.get(name).expect("a name of the table");
            stored.read(tensor).expect("a place that was checked");
        }
    });
});

fn archive(pickle: &[u8]) -> zip::result::ZipResult<Vec<u8>> {
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in [("a/data.pkl", pickle), ("a/data/0", &[1; 64]), ("a/data/1", &[2; 3])] {
        zip.start_file(name, options)?;
        zip.write_all(bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}
