//! Threads as ranks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use candle_core::{Tensor, Var};
use longmae_train::{Collective, Error, Pending, Result};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);

/// What each rank gave to each exchange, in order.
#[derive(Default)]
struct Board {
    posts: Mutex<Vec<Vec<Option<Vec<u8>>>>>,
    news: Condvar,
}

pub struct Rank {
    rank: usize,
    world: usize,
    board: Arc<Board>,
    exchanges: AtomicUsize,
    sums: AtomicUsize,
}

/// Runs `work` on each rank at once, and gives what each made.
pub fn ranks<R: Send>(world: usize, work: impl Fn(Arc<Rank>) -> R + Sync) -> Vec<R> {
    let board = Arc::new(Board::default());
    std::thread::scope(|scope| {
        let start = |rank| {
            let (board, work) = (board.clone(), &work);
            let (exchanges, sums) = (AtomicUsize::new(0), AtomicUsize::new(0));
            scope.spawn(move || work(Arc::new(Rank { rank, world, board, exchanges, sums })))
        };
        let threads: Vec<_> = (0..world).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

impl Rank {
    /// Sums of tensors begun so far.
    pub fn sums(&self) -> usize {
        self.sums.load(Ordering::SeqCst)
    }

    /// Gives bytes to this rank's next exchange, whose number it is.
    fn post(&self, bytes: Vec<u8>) -> usize {
        let exchange = self.exchanges.fetch_add(1, Ordering::SeqCst);
        let mut posts = self.board.posts.lock().unwrap();
        if posts.len() <= exchange {
            posts.resize(exchange + 1, vec![None; self.world]);
        }
        posts[exchange][self.rank] = Some(bytes);
        self.board.news.notify_all();
        exchange
    }

    fn exchange(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        let exchange = self.post(bytes);
        self.board.wait(exchange, self.rank)
    }
}

impl Board {
    fn wait(&self, exchange: usize, rank: usize) -> Result<Vec<Vec<u8>>> {
        let posts = self.posts.lock().unwrap();
        let missing = |posts: &mut Vec<Vec<Option<Vec<u8>>>>| posts[exchange].contains(&None);
        let (posts, waited) = self.news.wait_timeout_while(posts, LIMIT, missing).unwrap();
        if waited.timed_out() {
            let problem = format!("nothing came to exchange {exchange}");
            return Err(Error::Lost { rank, world: posts[exchange].len(), problem });
        }
        Ok(posts[exchange].iter().flatten().cloned().collect())
    }
}

fn numbers<const N: usize, T>(bytes: &[u8], of: fn([u8; N]) -> T) -> Vec<T> {
    bytes.chunks_exact(N).map(|chunk| of(chunk.try_into().unwrap())).collect()
}

impl Collective for Rank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.world
    }

    fn start_sum(&self, tensor: Tensor) -> Result<Pending> {
        self.sums.fetch_add(1, Ordering::SeqCst);
        let own = tensor.flatten_all()?.to_vec1::<f32>()?;
        let exchange = self.post(own.iter().flat_map(|x| x.to_le_bytes()).collect());
        let (board, rank) = (self.board.clone(), self.rank);
        Ok(Pending::new(move || {
            let mut sum = vec![0.0; tensor.elem_count()];
            for bytes in board.wait(exchange, rank)? {
                let other = numbers(&bytes, f32::from_le_bytes);
                assert_eq!(other.len(), sum.len(), "ranks sum different buckets");
                sum.iter_mut().zip(other).for_each(|(sum, x)| *sum += x);
            }
            Ok(Tensor::from_vec(sum, tensor.shape(), tensor.device())?)
        }))
    }

    fn sum(&self, values: &mut [f64]) -> Result<()> {
        let all = self.exchange(values.iter().flat_map(|x| x.to_le_bytes()).collect())?;
        values.fill(0.0);
        for bytes in all {
            let other = numbers(&bytes, f64::from_le_bytes);
            assert_eq!(other.len(), values.len(), "ranks sum different numbers");
            values.iter_mut().zip(other).for_each(|(sum, x)| *sum += x);
        }
        Ok(())
    }

    fn broadcast(&self, vars: &[Var]) -> Result<()> {
        for var in vars {
            let own = var.flatten_all()?.to_vec1::<f32>()?;
            let bytes = self.broadcast_bytes(own.iter().flat_map(|x| x.to_le_bytes()).collect())?;
            let first = numbers(&bytes, f32::from_le_bytes);
            var.set(&Tensor::from_vec(first, var.shape(), var.device())?)?;
        }
        Ok(())
    }

    fn broadcast_bytes(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        Ok(self.exchange(bytes)?.swap_remove(0))
    }

    fn gather_bytes(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        self.exchange(bytes)
    }

    fn abort(&self) -> ! {
        panic!("rank {} aborts", self.rank)
    }
}
