//! Connections among ranks over TCP: a star with rank 0 in its middle, which adds up in the order of ranks.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::AddAssign;
use std::time::Duration;

/// What is said in one exchange. Each message has it and the exchange's number, so that ranks which do different things
/// notice it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sum,
    Spread,
    Broadcast,
    Gather,
    /// In place of any other: why the sender ends.
    Failure,
}

/// Bytes before each message: kind, exchange, length.
const HEADER: usize = 16;

/// Bytes of a broadcast or of what is gathered; of a failure's reason.
const MOST: u64 = 1 << 28;
const MOST_REASON: u64 = 1 << 12;

/// Numbers that are sent, received and added at once.
const PIECE: usize = 1 << 16;

/// How long a rank that failed tries to say so.
const FAREWELL: Duration = Duration::from_secs(2);

/// What goes wrong between ranks, in words.
type Outcome<T> = Result<T, String>;

/// A number as it is sent: little-endian.
pub(crate) trait Number: Copy + Default + AddAssign {
    const BYTES: usize;
    fn append(self, bytes: &mut Vec<u8>);
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($type:ty) => {
        impl Number for $type {
            const BYTES: usize = size_of::<$type>();

            fn append(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }

            fn read(bytes: &[u8]) -> Self {
                let mut own = [0; Self::BYTES];
                own.copy_from_slice(bytes);
                Self::from_le_bytes(own)
            }
        }
    };
}

number!(f32);
number!(f64);

/// This rank's connections: rank 0's to all others in their order, or another's to rank 0.
pub(crate) struct Links {
    rank: usize,
    others: Vec<Link>,
    /// Exchanges so far.
    exchanges: u32,
    /// Why nothing more is said.
    failure: Option<String>,
    room: Vec<u8>,
}

struct Link {
    /// At the other end.
    rank: usize,
    stream: TcpStream,
}

impl Links {
    /// Over these streams, each with the rank at its other end. `limit` is how long a rank waits for another.
    pub fn new(rank: usize, streams: Vec<(usize, TcpStream)>, limit: Duration) -> io::Result<Self> {
        for (_, stream) in &streams {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(limit))?;
            stream.set_write_timeout(Some(limit))?;
        }
        let others = streams.into_iter().map(|(rank, stream)| Link { rank, stream }).collect();
        Ok(Self { rank, others, exchanges: 0, failure: None, room: Vec::new() })
    }

    /// Other handles of the streams, by which another thread can end them.
    pub fn handles(&self) -> io::Result<Vec<TcpStream>> {
        self.others.iter().map(|link| link.stream.try_clone()).collect()
    }

    /// Replaces numbers by their sums over all ranks, added in the order of ranks.
    pub fn sum<T: Number>(&mut self, numbers: &mut [T]) -> Outcome<()> {
        self.exchange(|links| {
            let (rank, exchange) = (links.rank, links.exchanges);
            let Links { others, room, .. } = links;
            if rank > 0 {
                others[0].send_numbers((Kind::Sum, exchange), numbers, room)?;
                return others[0]
                    .take_numbers((Kind::Sum, exchange), numbers, room, |own, sum| *own = sum);
            }
            for link in others.iter_mut() {
                let add = |sum: &mut T, other| *sum += other;
                link.take_numbers((Kind::Sum, exchange), numbers, room, add)?;
            }
            others
                .iter_mut()
                .try_for_each(|link| link.send_numbers((Kind::Sum, exchange), numbers, room))
        })
    }

    /// Replaces numbers by those of rank 0.
    pub fn spread<T: Number>(&mut self, numbers: &mut [T]) -> Outcome<()> {
        self.exchange(|links| {
            let (rank, what) = (links.rank, (Kind::Spread, links.exchanges));
            let Links { others, room, .. } = links;
            others.iter_mut().try_for_each(|link| match rank {
                0 => link.send_numbers(what, numbers, room),
                _ => link.take_numbers(what, numbers, room, |own, first| *own = first),
            })
        })
    }

    /// The bytes of rank 0.
    pub fn broadcast(&mut self, bytes: Vec<u8>) -> Outcome<Vec<u8>> {
        self.exchange(|links| {
            let exchange = links.exchanges;
            if links.rank > 0 {
                return links.others[0].take_bytes(Kind::Broadcast, exchange, MOST);
            }
            bounded(bytes.len() as u64)?;
            for link in &mut links.others {
                link.send_bytes(Kind::Broadcast, exchange, &bytes)?;
            }
            Ok(bytes)
        })
    }

    /// Everyone's bytes.
    pub fn gather(&mut self, bytes: Vec<u8>) -> Outcome<Vec<Vec<u8>>> {
        self.exchange(|links| {
            let exchange = links.exchanges;
            if links.rank > 0 {
                links.others[0].send_bytes(Kind::Gather, exchange, &bytes)?;
                let all = links.others[0].take_bytes(Kind::Gather, exchange, MOST)?;
                return apart(&all).ok_or_else(|| "rank 0 sent garbled bytes".to_owned());
            }
            let mut all = vec![bytes];
            let mut left = MOST.saturating_sub(all[0].len() as u64);
            for link in &mut links.others {
                let bytes = link.take_bytes(Kind::Gather, exchange, left)?;
                left -= bytes.len() as u64;
                all.push(bytes);
            }
            let together = together(&all);
            bounded(together.len() as u64)?;
            for link in &mut links.others {
                link.send_bytes(Kind::Gather, exchange, &together)?;
            }
            Ok(all)
        })
    }

    /// One exchange with the others. After one that failed there is none: this rank tells the others why, if it can,
    /// and closes.
    fn exchange<R>(&mut self, talk: impl FnOnce(&mut Self) -> Outcome<R>) -> Outcome<R> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        self.exchanges = self.exchanges.wrapping_add(1);
        let outcome = talk(self);
        if let Err(problem) = &outcome {
            let reason = problem.as_bytes();
            let reason = &reason[..reason.len().min(MOST_REASON as usize)];
            for link in &mut self.others {
                // Those who cannot be told notice that the connection ends.
                let _ = link.stream.set_write_timeout(Some(FAREWELL));
                let _ = link.send_bytes(Kind::Failure, self.exchanges, reason);
                let _ = link.stream.shutdown(Shutdown::Both);
            }
            self.failure = Some(problem.clone());
        }
        outcome
    }
}

impl Link {
    fn send_numbers<T: Number>(
        &mut self,
        (kind, exchange): (Kind, u32),
        numbers: &[T],
        room: &mut Vec<u8>,
    ) -> Outcome<()> {
        room.clear();
        room.extend_from_slice(&header(kind, exchange, (numbers.len() * T::BYTES) as u64));
        for piece in numbers.chunks(PIECE) {
            piece.iter().for_each(|number| number.append(room));
            self.write(room)?;
            room.clear();
        }
        // The header of no numbers.
        self.write(room)
    }

    /// Receives as many numbers as there are, and does something with each pair of own and received ones.
    fn take_numbers<T: Number>(
        &mut self,
        (kind, exchange): (Kind, u32),
        numbers: &mut [T],
        room: &mut Vec<u8>,
        each: impl Fn(&mut T, T),
    ) -> Outcome<()> {
        let (length, own) = (self.take_header(kind, exchange)?, numbers.len() * T::BYTES);
        if length != own as u64 {
            return Err(format!(
                "rank {} has {length} bytes of numbers where this one has {own}: do all train the same model?",
                self.rank
            ));
        }
        for piece in numbers.chunks_mut(PIECE) {
            room.resize(piece.len() * T::BYTES, 0);
            self.read(room)?;
            let received = room.chunks_exact(T::BYTES).map(T::read);
            piece.iter_mut().zip(received).for_each(|(own, other)| each(own, other));
        }
        Ok(())
    }

    fn send_bytes(&mut self, kind: Kind, exchange: u32, bytes: &[u8]) -> Outcome<()> {
        self.write(&header(kind, exchange, bytes.len() as u64))?;
        self.write(bytes)
    }

    fn take_bytes(&mut self, kind: Kind, exchange: u32, most: u64) -> Outcome<Vec<u8>> {
        let length = self.take_header(kind, exchange)?;
        if length > most {
            return Err(format!(
                "rank {} sends {length} bytes, expected at most {most}",
                self.rank
            ));
        }
        self.take_exactly(length)
    }

    /// Memory grows with what comes, and not by what was announced.
    fn take_exactly(&mut self, length: u64) -> Outcome<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = (&self.stream).take(length).read_to_end(&mut bytes);
        match read {
            Ok(read) if read as u64 == length => Ok(bytes),
            Ok(_) => Err(self.trouble(&ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(self.trouble(&error)),
        }
    }

    /// The length of a message of this exchange.
    fn take_header(&mut self, kind: Kind, exchange: u32) -> Outcome<u64> {
        let mut header = [0; HEADER];
        self.read(&mut header)?;
        let (kind_byte, found, length) = parts(header);
        if kind_byte == Kind::Failure as u8 {
            return Err(self.reason(length));
        }
        if kind_byte != kind as u8 || found != exchange {
            return Err(format!(
                "rank {} is at another exchange ({kind_byte}, {found}) than this one ({}, {exchange}): do all run \
                 the same program with the same settings?",
                self.rank, kind as u8
            ));
        }
        Ok(length)
    }

    fn write(&mut self, bytes: &[u8]) -> Outcome<()> {
        let written = self.stream.write_all(bytes);
        written.map_err(|error| self.said_before(&error))
    }

    fn read(&mut self, bytes: &mut [u8]) -> Outcome<()> {
        let read = self.stream.read_exact(bytes);
        read.map_err(|error| self.trouble(&error))
    }

    /// Why a message could not be sent: what the other end said last, if it did.
    fn said_before(&mut self, error: &io::Error) -> String {
        let mut header = [0; HEADER];
        let _ = self.stream.set_read_timeout(Some(FAREWELL));
        match self.stream.read_exact(&mut header) {
            Ok(()) if header[0] == Kind::Failure as u8 => self.reason(parts(header).2),
            _ => self.trouble(error),
        }
    }

    /// What the other end says of its failure.
    fn reason(&mut self, length: u64) -> String {
        match self.take_exactly(length.min(MOST_REASON)) {
            Ok(reason) => {
                format!("rank {} said: {}", self.rank, String::from_utf8_lossy(&reason))
            }
            Err(problem) => problem,
        }
    }

    fn trouble(&self, error: &io::Error) -> String {
        let rank = self.rank;
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!("nothing from rank {rank} within the limit; it hangs or has ended")
            }
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected => {
                format!("rank {rank} closed its connection; it failed or was killed")
            }
            _ => format!("talking to rank {rank}: {error}"),
        }
    }
}

fn header(kind: Kind, exchange: u32, length: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[0] = kind as u8;
    header[4..8].copy_from_slice(&exchange.to_le_bytes());
    header[8..].copy_from_slice(&length.to_le_bytes());
    header
}

/// Kind, exchange and length.
fn parts(header: [u8; HEADER]) -> (u8, u32, u64) {
    let [kind, _, _, _, e0, e1, e2, e3, length @ ..] = header;
    (kind, u32::from_le_bytes([e0, e1, e2, e3]), u64::from_le_bytes(length))
}

fn bounded(length: u64) -> Outcome<()> {
    match length <= MOST {
        true => Ok(()),
        false => Err(format!("{length} bytes to send to all ranks, at most {MOST} can be")),
    }
}

/// Each one's length and bytes.
fn together(all: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for own in all {
        bytes.extend_from_slice(&(own.len() as u64).to_le_bytes());
        bytes.extend_from_slice(own);
    }
    bytes
}

/// What [`together`] put together; none if it is something else.
fn apart(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (own, rest) = rest.split_at_checked(length)?;
        all.push(own.to_vec());
        bytes = rest;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_apart_as_they_were() {
        let all = vec![vec![], vec![1, 2, 3], vec![0; 9]];
        let bytes = together(&all);
        assert_eq!(apart(&bytes), Some(all));
        assert_eq!(apart(&bytes[..bytes.len() - 1]), None);
        assert_eq!(apart(&[255; 12]), None);
    }
}
