//! Ranks over TCP, as threads of one process.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor, Var};
use longmae_train::sockets::{Launch, Sockets};
use longmae_train::{Collective, Error, Result};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);

const HOST: &str = "127.0.0.1";

/// A port that nobody has.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn connect(port: u16, rank: usize, world: usize, limit: Duration) -> Result<Sockets> {
    Sockets::connect(&Launch::new(rank, world, HOST, port)?, limit)
}

/// Runs `work` on each rank at once, and gives what each made. The later ranks come first.
pub fn connected<R: Send>(world: usize, work: impl Fn(Arc<dyn Collective>) -> R + Sync) -> Vec<R> {
    let port = free_port();
    thread::scope(|scope| {
        let start = |rank| {
            let work = &work;
            scope.spawn(move || work(Arc::new(connect(port, rank, world, LIMIT).unwrap())))
        };
        let mut threads: Vec<_> = (0..world).rev().map(start).collect();
        threads.reverse();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn all_ranks_hear_each_other() {
    for world in [1, 2, 3] {
        connected(world, |ranks| {
            let rank = ranks.rank();
            assert_eq!(ranks.world(), world);
            let all: f32 = (0..world).map(|rank| rank as f32).sum();
            let tensor = |i: usize| Tensor::full((rank + i) as f32, (2, 3), &Device::Cpu).unwrap();
            let pending: Vec<_> = (0..4).map(|i| ranks.start_sum(tensor(i)).unwrap()).collect();
            for (i, pending) in pending.into_iter().enumerate() {
                let sum = pending.wait().unwrap().to_vec2::<f32>().unwrap();
                assert_eq!(sum, vec![vec![all + (world * i) as f32; 3]; 2]);
            }
            let mut numbers = [rank as f64, 1e-9];
            ranks.sum(&mut numbers).unwrap();
            assert_eq!(numbers[0], f64::from(all));
            let own = Tensor::new(&[5.0 + rank as f32, -0.0], &Device::Cpu).unwrap();
            let var = Var::from_tensor(&own).unwrap();
            ranks.broadcast(std::slice::from_ref(&var)).unwrap();
            let bits: Vec<u32> =
                var.to_vec1::<f32>().unwrap().iter().map(|x| x.to_bits()).collect();
            assert_eq!(bits, [5.0_f32.to_bits(), (-0.0_f32).to_bits()]);
            let bytes = ranks.broadcast_bytes(vec![rank as u8; 3 + rank]).unwrap();
            assert_eq!(bytes, [0, 0, 0]);
            let gathered = ranks.gather_bytes(vec![rank as u8; rank]).unwrap();
            assert_eq!(gathered, (0..world).map(|rank| vec![rank as u8; rank]).collect::<Vec<_>>());
            let wide = tensor(0).to_dtype(DType::F64).unwrap();
            assert!(ranks.start_sum(wide).err().unwrap().to_string().contains("F64"));
        });
    }
}

#[test]
fn sums_are_added_in_the_order_of_ranks() {
    // Sizes around that of a piece, and more than a socket holds.
    for count in [0, 1, 65_536, 65_537, 2_000_003] {
        let number = |rank: usize, i: usize| ((i * 7919 + rank * 31) % 10_007) as f32 * 1e-3 - 3.3;
        let sums = connected(3, |ranks| {
            let own: Vec<f32> = (0..count).map(|i| number(ranks.rank(), i)).collect();
            let own = Tensor::from_vec(own, count, &Device::Cpu).unwrap();
            // Ranks come at different times.
            thread::sleep(Duration::from_millis(20 * (3 - ranks.rank() as u64)));
            ranks.start_sum(own).unwrap().wait().unwrap().to_vec1::<f32>().unwrap()
        });
        let expected: Vec<f32> =
            (0..count).map(|i| number(0, i) + number(1, i) + number(2, i)).collect();
        assert!(sums.iter().all(|sum| *sum == expected), "{count}");
    }
}

#[test]
fn a_rank_that_ends_is_lost_to_all() {
    let errors = connected(3, |ranks| {
        if ranks.rank() == 1 {
            return String::new();
        }
        let error = ranks.sum(&mut [1.0]).unwrap_err();
        assert!(error.lost());
        // Nothing more is tried.
        assert!(ranks.broadcast_bytes(Vec::new()).unwrap_err().lost());
        error.to_string()
    });
    let closed = "rank 1 closed its connection";
    assert!(errors[0].starts_with("rank 0 of 3 lost the others: ") && errors[0].contains(closed));
    assert!(errors[2].contains(&format!("rank 0 said: {closed}")), "{}", errors[2]);
}

#[test]
fn a_silent_rank_is_lost_after_the_limit() {
    let (port, limit) = (free_port(), Duration::from_secs(1));
    let silent = Duration::from_secs(4);
    thread::scope(|scope| {
        scope.spawn(move || {
            let ranks = connect(port, 1, 2, LIMIT).unwrap();
            thread::sleep(silent);
            drop(ranks);
        });
        let ranks = connect(port, 0, 2, LIMIT.min(limit)).unwrap();
        let began = Instant::now();
        let error = ranks.sum(&mut [1.0]).unwrap_err();
        assert!(error.lost() && began.elapsed() < silent, "{error}");
        let text = error.to_string();
        assert!(text.contains("hangs or has ended"), "{text}");
    });
}

#[test]
fn ranks_that_do_different_things_notice_it() {
    let errors = connected(2, |ranks| match ranks.rank() {
        0 => ranks.sum(&mut [1.0]).unwrap_err(),
        _ => ranks.gather_bytes(vec![1]).unwrap_err(),
    });
    assert!(errors.iter().all(Error::lost));
    assert!(errors[0].to_string().contains("another exchange"), "{}", errors[0]);
    let errors = connected(2, |ranks| {
        let own = Tensor::zeros(3 + ranks.rank(), DType::F32, &Device::Cpu).unwrap();
        ranks.start_sum(own).unwrap().wait().unwrap_err().to_string()
    });
    let expected = "rank 1 has 16 bytes of numbers where this one has 12";
    assert!(errors.iter().all(|error| error.contains(expected)), "{errors:?}");
}

#[test]
fn what_is_not_a_rank_is_passed_over() {
    let port = free_port();
    thread::scope(|scope| {
        let first = scope.spawn(move || connect(port, 0, 2, LIMIT));
        let stranger = || loop {
            match TcpStream::connect((HOST, port)) {
                Ok(stream) => return stream,
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        };
        let mut web = stranger();
        web.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut nothing = Vec::new();
        // It is hung up on, by an end or a reset.
        let heard = web.read_to_end(&mut nothing);
        assert!(heard.is_err() || nothing.is_empty());
        drop(stranger());
        let second = connect(port, 1, 2, LIMIT).unwrap();
        let first = scope.spawn(move || first.join().unwrap().unwrap().sum(&mut [1.0]));
        second.sum(&mut [1.0]).unwrap();
        first.join().unwrap().unwrap();
    });
}

#[test]
fn ranks_that_do_not_fit_together_are_refused_on_both_sides() {
    for (rank, world, expected) in
        [(1, 3, "its WORLD_SIZE is 3, and that of rank 0 2"), (2, 3, "its WORLD_SIZE is 3")]
    {
        let port = free_port();
        thread::scope(|scope| {
            let first = scope.spawn(move || connect(port, 0, 2, LIMIT).err().unwrap().to_string());
            let own = connect(port, rank, world, LIMIT).err().unwrap().to_string();
            let first = first.join().unwrap();
            assert!(own.contains(expected) && first.contains(expected), "{own}\n{first}");
        });
    }
    // The same rank twice.
    let port = free_port();
    thread::scope(|scope| {
        let first = scope.spawn(move || connect(port, 0, 3, LIMIT).err().unwrap().to_string());
        let start = || scope.spawn(move || connect(port, 1, 3, LIMIT).err());
        let twins = [start(), start()].map(|twin| twin.join().unwrap());
        let refused: Vec<String> = twins.iter().flatten().map(ToString::to_string).collect();
        assert_eq!(refused.len(), 1);
        assert!(refused[0].contains("there is one already"), "{refused:?}");
        assert!(first.join().unwrap().contains("there is one already"));
    });
}

#[test]
fn whoever_does_not_come_is_named() {
    let limit = Duration::from_millis(300);
    let port = free_port();
    let own = connect(port, 1, 2, limit).err().unwrap().to_string();
    assert!(own.contains(&format!("rank 1 does not reach rank 0 at {HOST}:{port}")), "{own}");
    let own = connect(port, 0, 3, limit).err().unwrap().to_string();
    assert!(own.contains("did not come") && own.ends_with(": 1, 2"), "{own}");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let own = connect(port, 0, 2, limit).err().unwrap().to_string();
    assert!(own.contains(&format!("cannot listen on port {port}")), "{own}");
}

#[test]
fn what_a_rank_announces_is_not_allocated() {
    let port = free_port();
    thread::scope(|scope| {
        let first = scope.spawn(move || {
            let ranks = connect(port, 0, 2, LIMIT).unwrap();
            ranks.gather_bytes(Vec::new()).unwrap_err().to_string()
        });
        let mut liar = loop {
            match TcpStream::connect((HOST, port)) {
                Ok(stream) => break stream,
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        };
        let mut words = b"longmae\n".to_vec();
        [1_u32, 2, 1].iter().for_each(|number| words.extend_from_slice(&number.to_le_bytes()));
        liar.write_all(&words).unwrap();
        liar.read_exact(&mut [0]).unwrap();
        // The first exchange, all bytes there are.
        let gather = 3;
        liar.write_all(&[gather, 0, 0, 0, 1, 0, 0, 0]).unwrap();
        liar.write_all(&u64::MAX.to_le_bytes()).unwrap();
        let problem = first.join().unwrap();
        assert!(problem.contains("expected at most 268435456"), "{problem}");
    });
}
