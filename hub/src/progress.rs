/// How far a file has come on its way; given to the closures of [`Hub::fetch_with`](crate::Hub::fetch_with) and
/// [`Hub::push_with`](crate::Hub::push_with) after each piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The file in the repository.
    pub path: &'a str,
    /// Bytes done so far: of a download those on the disk, of an earlier attempt too; of an upload those sent. Goes back
    /// where something has to be done again.
    pub done: u64,
    /// Bytes of the whole file, if they are known; of an upload they are.
    pub total: Option<u64>,
}
