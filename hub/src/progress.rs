/// How far a download has come; given to the closure of [`Hub::fetch_with`](crate::Hub::fetch_with) after each piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The file in the repository.
    pub path: &'a str,
    /// Bytes on the disk so far, those of an earlier attempt included; goes back if the server cannot resume.
    pub done: u64,
    /// Bytes of the whole file, if the server says so.
    pub total: Option<u64>,
}
