//! Detection against PyTorch: backbone, pyramid, boxes, proposals, heads, losses; forward and gradients.

mod backbone;
mod boxes;
mod detector;
mod fixture;
mod maps;
