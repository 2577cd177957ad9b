#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod cache;
mod client;
mod download;
mod environment;
mod error;
mod fetch;
mod http;
mod info;
mod list;
mod lock;
mod metadata;
mod partial;
mod path;
mod pattern;
mod progress;
mod push;
mod reference;
mod refusal;
mod repo;
mod retry;
mod submit;
mod token;
mod tree;

pub use client::{Hub, HubBuilder};
pub use error::{Error, Result};
pub use info::RepoInfo;
pub use list::{FileEntry, Listing, ListingOrigin};
pub use progress::Progress;
pub use push::{Outcome, PushOptions, PushReport, Pushed, Upload};
pub use reference::Reference;
pub use repo::{Repo, RepoKind};
