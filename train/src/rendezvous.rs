//! How processes that torchrun started, or anything that sets the same variables, find each other.

use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// What a rank says first: this, then its version, the number of ranks, and its own.
const MAGIC: [u8; 8] = *b"longmae\n";
const VERSION: u32 = 1;
const HELLO: usize = 20;

/// Rank 0's answer to a rank that may join; else it is what is wrong, as text of a bounded length.
const WELCOME: u8 = 1;
const REFUSAL: u8 = 0;
const MOST_REASON: u64 = 1 << 10;

/// How long whoever connects to rank 0 has to say who it is: others may be waiting.
const HELLO_LIMIT: Duration = Duration::from_secs(5);

/// The pause between looks, and between attempts to connect.
const PAUSE: Duration = Duration::from_millis(50);

/// Which of how many processes this one is, and where rank 0 listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    rank: usize,
    world: usize,
    address: String,
    port: u16,
}

impl Launch {
    /// Rank `rank` of `world`; rank 0 listens on `port` of `address`, a name or a number.
    ///
    /// # Errors
    /// When there is no such rank.
    pub fn new(rank: usize, world: usize, address: &str, port: u16) -> Result<Self> {
        if world == 0 || u32::try_from(world).is_err() {
            return Err(Error::Launch(format!(
                "WORLD_SIZE is {world}, expected from 1 to 2^32 - 1"
            )));
        }
        if rank >= world {
            return Err(Error::Launch(format!(
                "RANK is {rank}, expected a number below WORLD_SIZE, which is {world}"
            )));
        }
        Ok(Self { rank, world, address: address.to_owned(), port })
    }

    /// What `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT` say, as torchrun sets them; none where neither of the
    /// first two is set.
    ///
    /// Where torchrun's agent itself listens on `MASTER_PORT` (`TORCHELASTIC_USE_AGENT_STORE` is `True`), rank 0 takes the
    /// port after it.
    ///
    /// # Errors
    /// When one of these is missing or makes no sense.
    pub fn from_env() -> Result<Option<Self>> {
        Self::read(|name| Some(env::var_os(name)?.to_string_lossy().into_owned()))
    }

    fn read(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        if get("RANK").is_none() && get("WORLD_SIZE").is_none() {
            return Ok(None);
        }
        let needed = |name: &str| {
            let missing = || {
                Error::Launch(format!(
                    "{name} is not set: RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT go together, as torchrun sets them"
                ))
            };
            get(name).ok_or_else(missing)
        };
        let number = |name: &str, most: u64| {
            let text = needed(name)?;
            match text.trim().parse::<u64>() {
                Ok(number) if number <= most => Ok(number),
                _ => Err(Error::Launch(format!(
                    "{name} is `{text}`, expected a whole number up to {most}"
                ))),
            }
        };
        let most = u64::from(u32::MAX);
        let (rank, world) = (number("RANK", most)? as usize, number("WORLD_SIZE", most)? as usize);
        // One process alone reaches nobody.
        if world == 1 {
            return Self::new(rank, world, "", 0).map(Some);
        }
        let address = needed("MASTER_ADDR")?;
        let port = number("MASTER_PORT", u64::from(u16::MAX))? as u16;
        let taken = get("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|said| said == "True");
        let port = match port.checked_add(u16::from(taken)) {
            Some(port) if port > 0 => port,
            _ => {
                return Err(Error::Launch(format!(
                    "MASTER_PORT is {port}, expected from 1 to {}",
                    u16::MAX - u16::from(taken)
                )));
            }
        };
        Self::new(rank, world, &address, port).map(Some)
    }

    /// The number of this process.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many processes there are.
    pub fn world(&self) -> usize {
        self.world
    }

    /// Streams to all others for rank 0, in their order, and to rank 0 for the others, within `limit`.
    pub(crate) fn join(&self, limit: Duration) -> Result<Vec<(usize, TcpStream)>> {
        let deadline = Instant::now() + limit;
        match (self.world, self.rank) {
            (1, _) => Ok(Vec::new()),
            (_, 0) => self.gather(deadline),
            _ => Ok(vec![(0, self.reach(deadline)?)]),
        }
    }

    fn place(&self) -> String {
        format!("{}:{}", self.address, self.port)
    }

    /// Rank 0: listens until all others are there.
    fn gather(&self, deadline: Instant) -> Result<Vec<(usize, TcpStream)>> {
        let listener = self.listen().and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = listener.map_err(|error| {
            Error::Connect(format!(
                "rank 0 cannot listen on port {} for the others: {error}",
                self.port
            ))
        })?;
        let mut streams: Vec<Option<TcpStream>> = (1..self.world).map(|_| None).collect();
        while streams.iter().any(Option::is_none) {
            if Instant::now() >= deadline {
                return Err(self.missing(&streams));
            }
            let Ok((stream, _)) = listener.accept() else {
                thread::sleep(PAUSE);
                continue;
            };
            let Some(hello) = hear(&stream) else { continue };
            let answer = self.answer(hello, &streams);
            let told = match &answer {
                Ok(_) => (&stream).write_all(&[WELCOME]),
                Err(refusal) => refuse(&stream, &refusal.to_string()),
            };
            let rank = answer?;
            if told.is_ok() {
                streams[rank - 1] = Some(stream);
            }
        }
        let streams = streams.into_iter().flatten();
        Ok(streams.enumerate().map(|(place, stream)| (place + 1, stream)).collect())
    }

    /// On loopback alone where the address is that, else on all networks: what a machine calls itself may lead elsewhere
    /// on it than on others.
    fn listen(&self) -> io::Result<TcpListener> {
        let number = match self.address.as_str() {
            "localhost" => return TcpListener::bind((self.address.as_str(), self.port)),
            address => address.parse::<IpAddr>().ok(),
        };
        let [all, all_old] = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
        let hosts = match number {
            Some(number) if number.is_loopback() => vec![number],
            Some(IpAddr::V4(_)) => vec![all_old],
            _ => vec![all, all_old],
        };
        let places: Vec<SocketAddr> =
            hosts.into_iter().map(|host| SocketAddr::new(host, self.port)).collect();
        TcpListener::bind(&places[..])
    }

    /// The rank that may join, or why it must not.
    fn answer(&self, hello: Hello, streams: &[Option<TcpStream>]) -> Result<usize> {
        let Hello { version, world, rank } = hello;
        let problem = if version != VERSION {
            format!(
                "it speaks version {version} and rank 0 {VERSION}: all ranks must run the same program"
            )
        } else if world as usize != self.world {
            format!("its WORLD_SIZE is {world}, and that of rank 0 {}", self.world)
        } else {
            match (rank as usize).checked_sub(1).and_then(|place| streams.get(place)) {
                Some(None) => return Ok(rank as usize),
                Some(Some(_)) => "there is one already".to_owned(),
                None => format!("expected from 1 to {}", self.world - 1),
            }
        };
        Err(Error::Connect(format!(
            "a process that calls itself rank {rank} cannot join: {problem}"
        )))
    }

    fn missing(&self, streams: &[Option<TcpStream>]) -> Error {
        let ranks: Vec<String> = (1..self.world)
            .filter(|rank| streams[rank - 1].is_none())
            .map(|rank| rank.to_string())
            .collect();
        Error::Connect(format!(
            "these ranks did not come to {}: {}",
            self.place(),
            ranks.join(", ")
        ))
    }

    /// Another rank: tries until rank 0 answers.
    fn reach(&self, deadline: Instant) -> Result<TcpStream> {
        loop {
            let problem = match self.try_to_reach(deadline) {
                Ok(stream) => return Ok(stream),
                Err(Attempt::Refused(reason)) => return Err(Error::Connect(reason)),
                Err(Attempt::Failed(error)) => error,
            };
            if Instant::now() + PAUSE >= deadline {
                return Err(Error::Connect(format!(
                    "rank {} does not reach rank 0 at {} (MASTER_ADDR, MASTER_PORT): {problem}",
                    self.rank,
                    self.place()
                )));
            }
            thread::sleep(PAUSE);
        }
    }

    fn try_to_reach(&self, deadline: Instant) -> std::result::Result<TcpStream, Attempt> {
        let left = || deadline.saturating_duration_since(Instant::now()).max(PAUSE);
        let mut last = io::Error::other("the name leads nowhere");
        for place in (self.address.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&place, left()) {
                Ok(stream) => return self.introduce(stream, left()),
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    /// Says who this is, and waits until rank 0 lets it in.
    fn introduce(
        &self,
        mut stream: TcpStream,
        limit: Duration,
    ) -> std::result::Result<TcpStream, Attempt> {
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(&hello(self.rank, self.world))?;
        let mut answer = [REFUSAL];
        stream.read_exact(&mut answer)?;
        match answer[0] {
            WELCOME => Ok(stream),
            REFUSAL => {
                let mut reason = String::new();
                stream.take(MOST_REASON).read_to_string(&mut reason)?;
                Err(Attempt::Refused(format!("rank 0 at {} says: {reason}", self.place())))
            }
            _ => Err(Attempt::Refused(format!(
                "what answers at {} is not rank 0 of longmae: is the port taken by something else?",
                self.place()
            ))),
        }
    }
}

/// Why rank 0 was not reached this time.
enum Attempt {
    /// It may be there later.
    Failed(io::Error),
    /// It will not do.
    Refused(String),
}

impl From<io::Error> for Attempt {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// What a rank says of itself.
struct Hello {
    version: u32,
    world: u32,
    rank: u32,
}

fn hello(rank: usize, world: usize) -> [u8; HELLO] {
    let mut hello = [0; HELLO];
    hello[..8].copy_from_slice(&MAGIC);
    // Both fit, by `Launch::new`.
    for (place, number) in [VERSION, world as u32, rank as u32].into_iter().enumerate() {
        hello[8 + 4 * place..12 + 4 * place].copy_from_slice(&number.to_le_bytes());
    }
    hello
}

/// What somebody says who connected; none if it is not one of us, whoever it may be.
fn hear(mut stream: &TcpStream) -> Option<Hello> {
    let deadline = Instant::now() + HELLO_LIMIT;
    stream.set_nonblocking(false).ok()?;
    let (mut hello, mut heard) = ([0; HELLO], 0);
    while heard < HELLO {
        let left = deadline.checked_duration_since(Instant::now())?;
        stream.set_read_timeout(Some(left.max(PAUSE))).ok()?;
        match stream.read(&mut hello[heard..]) {
            Ok(0) => return None,
            Ok(more) => heard += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
        // What begins otherwise need not be waited for.
        if !hello[..heard].starts_with(&MAGIC[..heard.min(8)]) {
            return None;
        }
    }
    let mut numbers = hello[8..]
        .chunks_exact(4)
        .map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    Some(Hello { version: numbers.next()?, world: numbers.next()?, rank: numbers.next()? })
}

fn refuse(mut stream: &TcpStream, reason: &str) -> io::Result<()> {
    stream.set_write_timeout(Some(HELLO_LIMIT))?;
    stream.write_all(&[REFUSAL])?;
    stream.write_all(reason.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(&str, &str); 4] =
        [("RANK", "1"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "node-0"), ("MASTER_PORT", "29500")];

    /// What variables mean, those of [`ALL`] with some others.
    fn read(others: &[(&str, Option<&str>)]) -> Result<Option<Launch>> {
        Launch::read(|name| {
            let other = others.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
            let usual = || ALL.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
            other.unwrap_or_else(usual).map(str::to_owned)
        })
    }

    #[test]
    fn the_variables_say_who_one_is() {
        let launch = read(&[]).unwrap().unwrap();
        assert_eq!(launch, Launch::new(1, 2, "node-0", 29500).unwrap());
        // The agent has the port itself.
        let agent = |said| ("TORCHELASTIC_USE_AGENT_STORE", Some(said));
        assert_eq!(read(&[agent("True")]).unwrap().unwrap().port, 29501);
        assert_eq!(read(&[agent("False")]).unwrap().unwrap().port, 29500);
        assert_eq!(read(&[("RANK", None), ("WORLD_SIZE", None)]).unwrap(), None);
        let alone = [("RANK", Some("0")), ("WORLD_SIZE", Some("1")), ("MASTER_PORT", None)];
        assert_eq!(read(&alone).unwrap().unwrap().world(), 1);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let agent = ("TORCHELASTIC_USE_AGENT_STORE", Some("True"));
        type Variable = (&'static str, Option<&'static str>);
        let cases: [(&[Variable], &str); 9] = [
            (&[("RANK", None)], "RANK is not set"),
            (&[("WORLD_SIZE", None)], "WORLD_SIZE is not set"),
            (&[("MASTER_ADDR", None)], "MASTER_ADDR is not set"),
            (&[("MASTER_PORT", None)], "MASTER_PORT is not set"),
            (&[("RANK", Some("-1"))], "RANK is `-1`, expected a whole number"),
            (&[("RANK", Some("2"))], "RANK is 2, expected a number below WORLD_SIZE, which is 2"),
            (&[("WORLD_SIZE", Some("0"))], "WORLD_SIZE is 0"),
            (&[("MASTER_PORT", Some("70000"))], "MASTER_PORT is `70000`"),
            (
                &[("MASTER_PORT", Some("65535")), agent],
                "MASTER_PORT is 65535, expected from 1 to 65534",
            ),
        ];
        for (others, expected) in cases {
            let problem = read(others).unwrap_err().to_string();
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
