//! Several ranks, as threads of one process: gradients, what ranks tell each other, failures.

mod model;
mod reducer;
mod sockets;
mod status;
mod threads;
mod trainer;
